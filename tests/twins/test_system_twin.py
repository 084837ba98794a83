"""The emulated computer has a kernel of its own, and is reached like a board."""

from __future__ import annotations

import subprocess

import pytest

from tests.support.twins.twin_devices import ssh
from tests.support.twins.twin_system import SystemTwin

pytestmark = pytest.mark.twins


def test_it_has_its_own_kernel_and_runs_the_bundle(tmp_path, aarch64_runner):
    with SystemTwin(tmp_path / "twin") as twin:
        place = twin.home / "runner"
        for file in aarch64_runner.files:
            (place / file.name).parent.mkdir(parents=True, exist_ok=True)
            (place / file.name).write_bytes(file.source.read_bytes())
            (place / file.name).chmod(0o755)
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
