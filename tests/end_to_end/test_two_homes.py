"""Two homes, as on two hosts of a lab, that share a board: real OpenSSH, real adbd, a runner that is a script."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from tests.support.end_to_end.suite_runs import SHAPE, Bench, Ran, kill
from tests.support.end_to_end.twin_runs import runners_in, scripted_runner
from tests.support.twins.twin_devices import LINKS, Twin, make_twin, revive
from tests.support.twins.twin_ssh import SshTwin

pytestmark = pytest.mark.twins

WORKDIR = "edge-training-suite"
START_S = 300.0  # deploying to an emulated board on a very busy host


@pytest.fixture(scope="module", params=LINKS)
def twin(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Twin]:
    with make_twin(request.param, tmp_path_factory.mktemp(request.param), emulated=False) as running:
        yield running


@pytest.fixture
def first(bench: Bench, twin: Twin, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """The home that measures; the board runs, whatever the test before has done to it."""
    revive(twin)
    for name, value in twin.environ.items():
        monkeypatch.setenv(name, value)
    _write_inventory(bench, twin, runner=str(scripted_runner(bench, twin, steps=5000)))
    return bench


@pytest.fixture
def second(first: Bench, twin: Twin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """The other home, which commands in this process use."""
    other = Bench(tmp_path / "second", first.capture)
    other.folder.mkdir()
    _write_inventory(other, twin)
    monkeypatch.setenv("SUITE_HOME", str(other.home))
    monkeypatch.chdir(other.folder)
    return other


def _write_inventory(bench: Bench, twin: Twin, **more: Any) -> None:
    own: dict[str, Any] = {"kind": "linux", "threads": 1} if isinstance(twin, SshTwin) else {}
    YAML().dump({"devices": {"board": twin.entry(**own, **more)}}, bench.folder / "inventory.yaml")


@contextmanager
def measuring(first: Bench, twin: Twin) -> Iterator[subprocess.Popen[str]]:
    """A run of the first home, in the middle of a session."""
    process = first.start("run", "--device", "board", *SHAPE, "--quant", "fp32", "--steps", "5000")
    try:
        end_s = time.monotonic() + START_S
        while runner_of(twin) is None and process.poll() is None:
            assert time.monotonic() < end_s, f"no runner was started within {START_S:g} s"
            time.sleep(0.05)
        assert process.poll() is None, process.communicate()
        yield process
    finally:
        if process.poll() is None:
            kill(process.pid)
        process.communicate()


def runner_of(twin: Twin) -> Any:
    """Returns the contents of the pid file."""
    try:
        return json.loads((twin.workdir / WORKDIR / "runner.pid").read_text())
    except (OSError, ValueError):
        return None


def connection(ran: Ran) -> str | None:
    """Returns why the only device of `devices check --json` was not checked, None if it was."""
    (inspection,) = ran.document
    rows = {row["item"]: row for row in inspection["rows"]}
    assert "connection" in rows or "workdir" in rows
    return f"{rows['connection']['detail']}; {rows['connection']['remedy']}" if "connection" in rows else None


def test_a_board_that_another_home_measures_is_in_use_and_stays_untouched(
    first: Bench, second: Bench, twin: Twin
) -> None:
    with measuring(first, twin) as process:
        runner = runner_of(twin)
        (job,) = (twin.workdir / WORKDIR / "jobs").iterdir()
        looked = second("devices", "check", "board", "--json")
        assert looked.code == 1
        refusal = connection(looked)
        assert refusal is not None
        assert f"'board' is in use by process {process.pid} (" in refusal
        assert f"wait for it or end process {process.pid} on " in refusal
        cleared = second("gc", "--device", "board", "--keep-artifacts-days", "0", "--yes")
        assert cleared.code == 4
        assert f"in use by process {process.pid}" in cleared.out
        assert process.poll() is None
        assert runner_of(twin) == runner
        assert job.exists()
        assert len(twin.machine.named("job.json")) >= 1


def test_a_suite_that_was_killed_leaves_the_board_to_the_other_home(first: Bench, second: Bench, twin: Twin) -> None:
    with measuring(first, twin) as process:
        kill(process.pid)
        process.communicate()
        assert connection(second("devices", "check", "board", "--json")) is None
    assert not runners_in(twin)


def test_a_restarted_board_is_held_by_nobody(first: Bench, second: Bench, twin: Twin) -> None:
    with measuring(first, twin) as process:
        held = {path.name: path.read_text() for path in (twin.workdir / WORKDIR / "hold").iterdir()}
        twin.stop()  # before the holder ends, or the board may notice and free itself in time
        kill(process.pid)
    assert len(held) == 1
    folder = twin.workdir / WORKDIR / "hold"
    assert {path.name: path.read_text() for path in folder.iterdir()} == held
    twin.start()
    assert connection(second("devices", "check", "board", "--json")) is None
