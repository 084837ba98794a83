"""Peaks of devices over each transport, and the experiment that compares operators with them, on tiny."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from devices.deployment.built_runner import BuiltRunner
from devices.inventory.entry import DeviceEntry
from reports.model.peaks import CACHE, MEMORY, Peaks
from suite.display import Display
from suite.home import Home
from suite.profiling.peaks import latest_peaks, measure_peaks
from tests.support.devices.loopback_daemons import LINKS, loopback_daemon
from tests.support.end_to_end.suite_runs import Bench
from tests.support.twins.twin_boards import RASPBERRY_PI_5
from tests.support.twins.twin_ssh import SshTwin


def check_peaks(found: Peaks, entry: DeviceEntry, home: Home) -> None:
    """Asserts what holds for every device."""
    assert (found.device, found.kind, found.emulated) == (entry.name, entry.kind, entry.emulated)
    assert found.threads == (entry.threads or len(os.sched_getaffinity(0)))  # emulated boards too are this machine
    assert (found.gflops_per_s("float32") or 0) > 0
    assert (found.gflops_per_s("int8") or 0) > 0
    assert found.gb_per_s(MEMORY) > 0
    assert found.gb_per_s(CACHE) > 0
    assert latest_peaks(entry.name, home) == found


@pytest.fixture
def home(request: pytest.FixtureRequest, tmp_path: Path) -> Home:
    """A home with the runners of all tests, and nothing else."""
    cache = request.config.cache
    assert cache is not None
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "runner").symlink_to(cache.mkdir("runner"))
    return Home(tmp_path / "home")


@pytest.mark.parametrize("link", LINKS)
def test_peaks_come_over_a_link(link: str, home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with loopback_daemon(link, tmp_path / "daemon") as daemon:
        for name, value in daemon.environ.items():
            monkeypatch.setenv(name, value)
        entry = daemon.entry(workdir=str(daemon.folder / "edge 'suite'"), threads=1)
        check_peaks(measure_peaks(entry, home, Display()), entry, home)
        assert not list(daemon.folder.glob("edge 'suite'/jobs/*"))


def test_peaks_come_from_an_emulated_aarch64_board(home: Home, aarch64_runner: BuiltRunner, tmp_path: Path) -> None:
    with SshTwin(tmp_path / "twin", RASPBERRY_PI_5, busybox=True) as twin:
        entry = DeviceEntry(name="board", transport="ssh", workdir="edge-suite", **twin.entry(kind="linux"))
        found = measure_peaks(entry, home, Display())
    check_peaks(found, entry, home)
    assert (found.machine["machine"], found.peaks[0].by) == ("aarch64", "asimd")
    assert aarch64_runner.hash.startswith(str(found.machine["runner"]))


def test_the_experiment_says_what_holds_a_step_up_and_checks_its_advice(bench: Bench) -> None:
    ran = bench("experiment", "bottleneck", "--quick", "--json")
    assert ran.code == 0, ran.err
    found = ran.document
    assert [part["name"] for part in found["parts"]] == ["profile, local", "peaks, local", "verify, local"]
    answer = found["answers"]["local"]
    assert "of that roof" in answer["sentence"]
    assert "is forecast to do the same work" in answer["sentence"]
    assert "was not measured" not in answer["sentence"]
    assert answer["missing"] == []
    titles = [table["title"] for table in answer["evidence"]]
    assert titles[0] == "The roof of each group of operators"
    assert all(table["rows"] for table in answer["evidence"])
    page = (bench.home / "experiments" / found["experiment_id"] / "experiment.html").read_text()
    assert "Operators under the roofs of the device" in page
