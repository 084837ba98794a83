"""`suite run` over SSH and adb: a real daemon on this machine, so the runner is real too."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from tests.support.devices.loopback_daemons import LINKS, LoopbackDaemon, loopback_daemon
from tests.support.end_to_end.suite_runs import SHAPE, Bench, by_setting, is_running, kill, wait_for, wait_for_line

RUN = ("run", "--device", "board", *SHAPE, "--quant", "fp32")


@pytest.fixture(params=LINKS)
def daemon(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LoopbackDaemon]:
    with loopback_daemon(request.param, tmp_path / "daemon") as running:
        for name, value in running.environ.items():
            monkeypatch.setenv(name, value)
        yield running


@pytest.fixture
def workdir(bench: Bench, daemon: LoopbackDaemon) -> Path:
    """The device's folder, with a name that needs quotes."""
    workdir = daemon.folder / "edge 'suite'"
    entry = daemon.entry(workdir=str(workdir)).model_dump(exclude_unset=True, exclude={"name"})
    YAML().dump({"devices": {"board": entry}}, bench.folder / "inventory.yaml")
    return workdir


def test_a_device_over_a_link_is_measured_as_a_real_one(bench: Bench, workdir: Path, daemon: LoopbackDaemon) -> None:
    ran = bench(*RUN, "--quick", "--json")
    assert ran.code == 0, ran.err
    item = by_setting(ran.document)["fp32"]
    assert (item["device"], item["status"], item["emulated"]) == ("board", "ok", False), item["reason"]
    assert item["latency_ms"]["median"] > 0
    assert item["loss"]["reference_steps"] >= 3
    assert not (workdir / "runner.pid").exists()
    assert list((workdir / "jobs").iterdir()) == []
    wait_for(lambda: not daemon.connections(), "the end of all connections")
    again = bench(*RUN, "--quick")
    assert again.code == 0
    assert "nothing pushed" in again.err


def test_no_runner_stays_on_a_device_whose_run_was_killed(bench: Bench, workdir: Path) -> None:
    process = bench.start(*RUN, "--steps", "100000")
    try:
        assert process.stderr is not None
        wait_for_line(process.stderr, "pushed")
        pid = wait_for(lambda: _pid(workdir / "runner.pid"), "the start of the runner")
    finally:
        kill(process.pid)
        process.communicate()
    wait_for(lambda: not is_running(pid), "the end of the runner")


def test_a_run_goes_on_over_a_new_connection_when_the_daemon_is_started_again(
    bench: Bench, workdir: Path, daemon: LoopbackDaemon
) -> None:
    process = bench.start(*RUN, "--quick", "--json")
    try:
        assert process.stderr is not None
        wait_for_line(process.stderr, "pushed")
        pid = wait_for(lambda: _pid(workdir / "runner.pid"), "the start of the runner")
        daemon.kill()
        daemon.start()
        out, err = process.communicate(timeout=300)
    finally:
        process.kill()
    assert not is_running(pid)
    item = by_setting(json.loads(out))["fp32"]
    assert item["status"] in ("ok", "unstable"), err
    assert "connecting again" in err


def test_a_device_over_ssh_that_is_not_enrolled_is_refused_with_the_command(bench: Bench, tmp_path: Path) -> None:
    with loopback_daemon("ssh", tmp_path / "daemon") as server:
        entry = server.entry().model_dump(exclude_unset=True, exclude={"name", "host_keys"})
        YAML().dump({"devices": {"board": entry}}, bench.folder / "inventory.yaml")
        ran = bench(*RUN, "--quick")
    assert ran.code != 0
    assert "suite devices enroll board" in ran.err + ran.out


def test_a_training_whose_link_breaks_reaches_the_same_losses_as_an_undisturbed_one(
    bench: Bench, shared: Path, workdir: Path, daemon: LoopbackDaemon
) -> None:
    shutil.copytree(shared / "evaluation", bench.home / "artifacts", dirs_exist_ok=True)
    inventory = YAML().load(bench.folder / "inventory.yaml")
    YAML().dump({"devices": {**inventory["devices"], "local": {"kind": "local"}}}, bench.folder / "inventory.yaml")
    steps = ("--steps", "400", "--eval-every", "200", "--checkpoint-every", "100", "--examples", "24", "--lr", "1e-2")
    train = (*SHAPE, "--quant", "nf4", *steps, "--json")
    process = bench.start("train", "--device", "board", *train)
    try:
        assert process.stderr is not None
        wait_for_line(process.stderr, "step 0: accuracy")
        wait_for(lambda: _pid(workdir / "runner.pid"), "a runner that trains")
        daemon.kill()
        daemon.start()
        out, err = process.communicate(timeout=300)
    finally:
        process.kill()
    assert "connecting again" in err
    (broken,), (plain,) = (
        json.loads(document)["trainings"] for document in (out, bench("train", "--device", "local", *train).out)
    )
    assert (broken["device"], broken["status"], broken["steps"]) == ("board", "finished", 400), err
    found, expected = ([point["loss"] for point in each["evaluations"]] for each in (broken, plain))
    assert found == expected
    assert len(set(found)) == 3


def _pid(path: Path) -> int | None:
    try:
        return int(json.loads(path.read_text())["pid"])
    except (OSError, ValueError):
        return None
