"""The emulated computer has a kernel of its own, and is reached like a board."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from devices.deployment.built_runner import BuiltRunner
from devices.processes import ProcessEnd
from suite.sessions.collect import collect
from tests.support.twins.twin_devices import ssh
from tests.support.twins.twin_system import SystemTwin

pytestmark = pytest.mark.twins


def place_runner(bundle: BuiltRunner, place: Path) -> None:
    for file in bundle.files:
        (place / file.name).parent.mkdir(parents=True, exist_ok=True)
        (place / file.name).write_bytes(file.source.read_bytes())
        (place / file.name).chmod(0o755)


def test_it_has_its_own_kernel_and_runs_the_bundle(tmp_path, aarch64_runner):
    with SystemTwin(tmp_path / "twin") as twin:
        place = twin.home / "runner"
        place_runner(aarch64_runner, place)
        (place / "job.json").write_text("{}")
        files = "/sys/devices/system/cpu/possible /proc/sys/kernel/ostype /proc/device-tree/model"
        # In one connection: a login takes this computer several seconds of work.
        ended = ssh(twin, f"uname -m; cat {files}; echo;", *aarch64_runner.command("./runner"), "runner/job.json")
        machine, cores, kernel, model, *events = ended.stdout.splitlines()
        assert (machine, cores, kernel) == ("aarch64", "0-1", "Linux")
        assert "linux,dummy-virt" in model
        assert (ended.returncode, '"stage":"job"' in "".join(events)) == (1, True)
        port = twin.port
    assert (
        str(port) not in subprocess.run(["ps", "-e", "-o", "args"], capture_output=True, text=True, check=True).stdout
    )


@pytest.mark.full
def test_a_nanosecond_of_a_counting_computer_is_an_instruction(tmp_path, aarch64_runner):
    with SystemTwin(tmp_path / "twin", counting=True) as twin:
        place = twin.home / "runner"
        place_runner(aarch64_runner, place)
        (place / "job.json").write_text(json.dumps({"schema": 1, "session": "p", "threads": 1}))
        command = [*aarch64_runner.command("./runner"), "--peaks", "runner/job.json"]
        ended = ssh(twin, *command, timeout_s=1200.0)
    record = collect("p", ended.stdout.splitlines(), ProcessEnd(rc=ended.returncode))
    assert record.complete, record.sentence
    peak = record.peaks[0]
    assert (peak.of, peak.by) == ("float32", "asimd")
    # An instruction multiplies and adds four values, and a loop has others beside these.
    assert all(6.0 < peak.count / ns <= 8.0 for ns in peak.ns)
