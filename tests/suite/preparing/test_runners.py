"""Which runner a device gets, when it is built, and what a host that can't build one can still measure."""

from __future__ import annotations

import io
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from devices.deployment.built_runner import BuiltRunner
from devices.errors import DeployError
from devices.inventory.entry import DeviceEntry
from devices.runner_builds.build import RunnerBuildError
from suite.display import Display
from suite.preparing import runners as module
from suite.preparing.runners import Runners

NO_COMPILER = "no C++ compiler was found: install one with `sudo apt install g++`."


def entry(name: str, **values: Any) -> DeviceEntry:
    usual = {"kind": "linux", "transport": "ssh", "workdir": "w", "host": "board.example"}
    return DeviceEntry.model_validate({"name": name, **usual, **values})


LOCAL = entry("local", kind="local", transport="local", host=None)
JETSON, PI = entry("jetson", kind="jetson"), entry("pi", kind="raspberrypi")


class Builds:
    """Stands in for the builders, and remembers who asked for what."""

    def __init__(self) -> None:
        self.built: list[str] = []
        self.error: RunnerBuildError | None = None
        self.begun = threading.Event()

    def _build(self, machine: str) -> BuiltRunner:
        self.built.append(machine)
        self.begun.set()
        if self.error is not None:
            raise self.error
        return BuiltRunner(Path(), f"of {machine}", machine, ())

    def runner_for(self, machine: str, _home: Path, _notify: Any, own: Path | None = None) -> BuiltRunner:
        return self._build(machine if own is None else str(own))

    def build_runner(self, *_arguments: Any) -> BuiltRunner:
        return self._build("native")


@pytest.fixture
def builds(monkeypatch: pytest.MonkeyPatch) -> Builds:
    made = Builds()
    monkeypatch.setattr(module, "runner_for", made.runner_for)
    monkeypatch.setattr(module, "build_runner", made.build_runner)
    return made


@pytest.fixture
def output() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def runners(tmp_path: Path, output: io.StringIO) -> Runners:
    return Runners(tmp_path, Display(Console(file=output, width=200)))


def test_a_run_on_remote_devices_alone_builds_nothing_for_this_host(runners: Runners, builds: Builds) -> None:
    runners.build_ahead([JETSON, PI])
    assert builds.built == []
    assert runners.runner_of(JETSON, "aarch64", print).hash == "of aarch64"
    assert builds.built == ["aarch64"]


def test_this_machines_own_runner_is_built_before_the_export_and_once(
    runners: Runners, builds: Builds, output: io.StringIO
) -> None:
    runners.build_ahead([LOCAL])
    runners.build_ahead([LOCAL, JETSON])
    assert runners.runner_of(LOCAL, "x86_64", print).hash == "of native"
    assert builds.built == ["native"]
    assert output.getvalue() == "building the runner\n"


def test_a_device_with_a_runner_of_its_own_needs_no_build(runners: Runners, builds: Builds) -> None:
    own = entry("local", kind="local", transport="local", host=None, runner="/mine/runner")
    runners.build_ahead([own])
    assert builds.built == []
    assert runners.runner_of(own, "x86_64", print).hash == "of /mine/runner"


def test_devices_that_come_at_once_share_one_build(runners: Runners, builds: Builds) -> None:
    both = threading.Barrier(4)

    def ask(device: DeviceEntry) -> BuiltRunner:
        both.wait(30)
        return runners.runner_of(device, "aarch64", print)

    with ThreadPoolExecutor(4) as pool:
        got = list(pool.map(ask, [JETSON, PI, JETSON, PI]))
    assert builds.built == ["aarch64"]
    assert all(runner is got[0] for runner in got)


def test_a_build_that_failed_is_not_tried_again_for_the_next_device(runners: Runners, builds: Builds) -> None:
    builds.error = RunnerBuildError(NO_COMPILER)
    for device in (JETSON, PI):
        with pytest.raises(DeployError, match="sudo apt install"):
            runners.runner_of(device, "aarch64", print)
    assert builds.built == ["aarch64"]


def test_without_a_compiler_this_machine_alone_is_refused_at_once(runners: Runners, builds: Builds) -> None:
    builds.error = RunnerBuildError(NO_COMPILER)
    with pytest.raises(RunnerBuildError, match="sudo apt install"):
        runners.build_ahead([LOCAL])


def test_without_a_compiler_the_other_devices_go_on_and_this_machine_fails_alone(
    runners: Runners, builds: Builds, output: io.StringIO
) -> None:
    builds.error = RunnerBuildError(NO_COMPILER)
    runners.build_ahead([LOCAL, JETSON])
    assert f"this machine can't be measured: {NO_COMPILER}" in output.getvalue()
    builds.error = None
    assert runners.runner_of(JETSON, "aarch64", print).hash == "of aarch64"
    with pytest.raises(DeployError, match="sudo apt install"):
        runners.runner_of(LOCAL, "x86_64", print)
