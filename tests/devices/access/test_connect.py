"""Connecting to a device, and the table of what was found."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import devices.access.connect
from devices.access.connect import TRANSPORTS, connect, exclusive, require_support
from devices.access.inspection import check_entry, support_of
from devices.checks.preflight import Needs
from devices.errors import DeviceBusy, DeviceLost, UnsupportedDevice
from devices.inventory.entry import DeviceEntry
from devices.kinds.kind import KINDS
from devices.transports.local.transport import LocalTransport
from tests.support.devices.made_files import MakeTree
from tests.support.devices.real_processes import is_running, kill_if_running, python

SLEEP = "import time; print('up', flush=True); time.sleep(600)"


@pytest.fixture
def entry(tmp_path: Path) -> DeviceEntry:
    return DeviceEntry(name="local", kind="local", transport="local", workdir=str(tmp_path / "work dir"))


@pytest.fixture
def locks(tmp_path: Path) -> Path:
    return tmp_path / "locks"


def test_a_connected_device_runs_reads_and_is_locked(entry: DeviceEntry, locks: Path) -> None:
    lines: list[str] = []
    with connect(entry, locks) as device:
        with pytest.raises(DeviceBusy), connect(entry, locks):
            pytest.fail("the device was held twice")
        device.transport.mkdir(device.places.workdir)
        ended = device.launch(python("print('hello')"), lines.append, timeout_s=20, cwd=device.places.workdir)
        assert device.facts().machine
        assert "memory.rss" in {sensor.name for sensor in device.sensors().sensors}
    assert (ended.rc, lines) == (0, ["hello"])
    with connect(entry, locks):
        pass


def test_the_runner_is_named_while_it_runs(entry: DeviceEntry, locks: Path) -> None:
    pids: list[int] = []
    with connect(entry, locks) as device:
        device.transport.mkdir(device.places.workdir)
        pid_file = Path(device.places.pid_file)
        script = python("import os; print(os.getpid())")
        device.launch(
            script, lambda line: pids.extend([int(line), json.loads(pid_file.read_text())["pid"]]), timeout_s=20
        )
        assert pids[0] == pids[1]
        assert not pid_file.exists()


ORCHESTRATOR = """
import sys
from pathlib import Path
from devices.access.connect import connect
from devices.inventory.entry import DeviceEntry
entry = DeviceEntry(name="local", kind="local", transport="local", workdir=sys.argv[1])
with connect(entry, Path(sys.argv[2])) as device:
    device.transport.mkdir(device.places.workdir)
    device.launch(sys.argv[3:], lambda line: print(line, flush=True), timeout_s=600)
"""


def test_the_next_connect_ends_the_runner_of_a_killed_orchestrator(entry: DeviceEntry, locks: Path) -> None:
    command = [sys.executable, "-c", ORCHESTRATOR, entry.workdir, str(locks), *python(SLEEP)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as orchestrator:
        assert orchestrator.stdout is not None
        assert orchestrator.stdout.readline() == "up\n"
        with pytest.raises(DeviceBusy), connect(entry, locks):
            pytest.fail("the device was held twice")
        orchestrator.kill()
    runner = json.loads((Path(entry.workdir) / "runner.pid").read_text())["pid"]
    try:
        with connect(entry, locks) as device:
            assert device.left_over_pid == runner
            assert not is_running(runner)
    finally:
        kill_if_running(runner)


def test_places_fit_the_relative_paths_of_a_job(entry: DeviceEntry, locks: Path) -> None:
    with connect(entry, locks) as device:
        places = device.places
    job = Path(places.job("s1")) / "job.json"
    assert (job.parent / "../../artifacts/H").resolve() == Path(places.artifact("H")).resolve()
    assert (job.parent / "../../runner/R").resolve() == Path(places.runner("R")).resolve()


def test_an_unsupported_kind_or_transport_is_reported_with_the_supported_ones() -> None:
    for kind in ("local", "linux", "jetson", "raspberrypi", "android"):
        for transport in ("local", "ssh", "adb"):
            entry = DeviceEntry.model_construct(name="x", kind=kind, transport=transport, workdir="w", host="h")
            if kind in KINDS and transport in TRANSPORTS:
                require_support(entry)
                continue
            with pytest.raises(UnsupportedDevice, match=f"'{transport if kind in KINDS else kind}'.*it has"):
                require_support(entry)


def test_preflight_uses_the_cores_of_the_entry(entry: DeviceEntry, locks: Path, make_tree: MakeTree) -> None:
    tree = make_tree({"sys/devices/system/cpu/online": "0-1"})
    with connect(entry.model_copy(update={"cpus": (7,)}), locks, root=tree.root) as device:
        checks = {check.name: check for check in device.preflight(Needs(disk_bytes=1, memory_bytes=1))}
        on_core_0 = {check.name: check for check in device.preflight(Needs(cpus=(0,)))}
    assert set(checks) == {
        "workdir",
        "disk",
        "memory",
        "cpu files",
        "cores",
        "clock",
        "load",
        "governor",
        "frequency caps",
    }
    assert checks["cores"].status == "failed"
    assert on_core_0["cores"].status == "ok"


def test_the_table_lists_what_is_there_and_how_to_fix_what_is_missing(
    entry: DeviceEntry, locks: Path, make_tree: MakeTree
) -> None:
    tree = make_tree({"sys/class/powercap/intel-rapl:0/name": "package-0", "proc/self/status": "VmRSS:\t 5 kB\n"})
    found = check_entry(entry, locks, root=tree.root)
    rows = {row.item: row for row in found.rows}
    assert rows["workdir"].state == "ok"
    assert rows["sensor memory.rss"].state == "ok"
    assert rows["sensor rapl.package-0"].state == "unavailable"
    assert "root" in rows["sensor rapl.package-0"].remedy
    assert rows["cpu files"].state == "failed"
    assert rows["cpu files"].remedy
    assert not found.usable


def test_this_machine_is_usable(entry: DeviceEntry, locks: Path) -> None:
    found = check_entry(entry, locks)
    assert found.usable, found.rows
    assert found.facts is not None
    assert found.sensors is not None


def test_a_busy_device_is_a_row_and_not_an_exception(entry: DeviceEntry, locks: Path) -> None:
    with exclusive(entry.name, locks):
        found = check_entry(entry, locks)
    assert [(row.item, row.state) for row in found.rows] == [("connection", "failed")]
    assert "in use by process" in found.rows[0].detail
    assert not found.usable


def test_a_device_that_cannot_be_reached_has_its_remedy_in_the_column_for_remedies(
    entry: DeviceEntry, locks: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def way(_entry: DeviceEntry) -> LocalTransport:
        raise DeviceLost("it refused (tried: a; b); check that it is on, then run again.")

    monkeypatch.setattr(devices.access.connect, "TRANSPORTS", {"local": way})
    (row,) = check_entry(entry, locks).rows
    assert (row.detail, row.remedy) == ("it refused (tried: a; b)", "check that it is on, then run again.")


def test_an_unsupported_device_is_a_row_and_not_an_exception(entry: DeviceEntry, locks: Path) -> None:
    missing = DeviceEntry.model_construct(name="x", kind="no-such-kind", transport="local", workdir="w")
    assert "no-such-kind" in check_entry(missing, locks).rows[0].detail
    assert support_of(missing).state == "failed"
    assert support_of(entry).state == "ok"


def test_a_workdir_that_is_a_file_is_a_failed_row(entry: DeviceEntry, locks: Path) -> None:
    Path(entry.workdir).touch()
    rows = {row.item: row for row in check_entry(entry, locks).rows}
    assert rows["workdir"].state == "failed"
    assert "move it away" in rows["workdir"].remedy
