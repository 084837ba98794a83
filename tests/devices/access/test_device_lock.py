"""Locks allow one run at a time per device."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from devices.access.connect import connect, exclusive
from devices.errors import DeviceBusy
from devices.inventory.entry import DeviceEntry
from foundation.errors import UserError

HOLD = """
import sys, time
from pathlib import Path
from devices.access.connect import exclusive
with exclusive("pi", Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


def test_a_second_holder_is_refused_with_who_and_since_when(tmp_path: Path) -> None:
    with (
        exclusive("pi", tmp_path),
        pytest.raises(DeviceBusy, match=rf"'pi' is in use by process {os.getpid()} .* since 20\d\d-") as caught,
        exclusive("pi", tmp_path),
    ):
        pytest.fail("the device was held twice")
    assert re.search(rf"wait for it or end process {os.getpid()}\.$", str(caught.value))


def test_other_devices_are_not_held(tmp_path: Path) -> None:
    with exclusive("pi", tmp_path), exclusive("nano", tmp_path):
        assert (tmp_path / "pi.lock").exists()


def test_the_device_is_free_after_the_block_and_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(KeyError), exclusive("pi", tmp_path):
        raise KeyError
    with exclusive("pi", tmp_path):
        pass


def test_kill_9_of_the_holder_frees_the_device(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(DeviceBusy, match=f"process {holder.pid} "), exclusive("pi", tmp_path):
            pytest.fail("the device was held twice")
        holder.kill()
        holder.wait(timeout=20)
    with exclusive("pi", tmp_path):
        pass


@pytest.mark.parametrize("note", [None, b"", b"[]", b'{"pid": "x"}', b"\xff"])
def test_a_missing_or_damaged_note_does_not_hide_that_it_is_busy(tmp_path: Path, note: bytes | None) -> None:
    with exclusive("pi", tmp_path):
        path = tmp_path / "pi.json"
        path.unlink()
        if note is not None:
            path.write_bytes(note)
        with pytest.raises(DeviceBusy, match="in use by another process"), exclusive("pi", tmp_path):
            pytest.fail("the device was held twice")


def test_text_of_the_note_cannot_control_the_terminal(tmp_path: Path) -> None:
    with exclusive("pi", tmp_path):
        (tmp_path / "pi.json").write_text('{"pid": 7, "host": "\\u001b[2J", "since": "now", "command": "x"}')
        with pytest.raises(DeviceBusy) as caught, exclusive("pi", tmp_path):
            pytest.fail("the device was held twice")
    assert "\x1b" not in str(caught.value)


def test_a_locks_folder_that_cannot_be_created_is_a_user_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(UserError, match="can't be used for the lock of device 'pi' because"),
        exclusive("pi", tmp_path / "file"),
    ):
        pytest.fail("there is no folder")


def without_flock(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Makes the file system refuse every lock."""

    def refuse(_descriptor: int, _how: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)


def test_a_file_system_that_has_no_locks_left_is_a_user_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without_flock(monkeypatch, errno.ENOLCK)
    with (
        pytest.raises(
            UserError, match=r"can't be used for the lock of device 'pi' because the system refused \(ENOLCK\)"
        ),
        exclusive("pi", tmp_path),
    ):
        pytest.fail("nothing is locked")


@pytest.mark.filterwarnings("ignore:flock not supported")
def test_on_a_file_system_without_locks_the_files_themselves_exclude(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_flock(monkeypatch, errno.ENOSYS)
    with (
        exclusive("pi", tmp_path),
        pytest.raises(DeviceBusy, match="in use by process"),
        exclusive("pi", tmp_path),
    ):
        pytest.fail("the device was held twice")
    with exclusive("pi", tmp_path):
        assert (tmp_path / "pi.json").exists()


HOLDING = """
import sys
from pathlib import Path
from devices.access.connect import connect
from devices.inventory.entry import DeviceEntry
entry = DeviceEntry(name="local", kind="local", transport="local", workdir=sys.argv[1])
with connect(entry, Path(sys.argv[2])):
    print("held", flush=True)
    sys.stdin.read()
"""


def local_entry(folder: Path, name: str = "local") -> DeviceEntry:
    return DeviceEntry.model_validate({"name": name, "kind": "local", "transport": "local", "workdir": str(folder)})


def test_two_homes_do_not_measure_on_one_machine_at_once(tmp_path: Path) -> None:
    holding = subprocess.Popen(
        [sys.executable, "-c", HOLDING, str(tmp_path / "work"), str(tmp_path / "locks")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])},
    )
    assert holding.stdout is not None and holding.stdin is not None
    assert holding.stdout.readline() == b"held\n"
    other = local_entry(tmp_path / "other work")
    with (
        pytest.raises(
            DeviceBusy, match=f"device 'local' is in use by process {holding.pid} .*; wait for it or end process"
        ),
        connect(other, tmp_path / "other locks"),
    ):
        pytest.fail("this machine was held twice")
    holding.kill()
    holding.wait()
    with connect(other, tmp_path / "other locks"):
        pass


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EBADF])
def test_a_folder_for_temporary_files_that_cannot_be_locked_is_a_user_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    real = fcntl.flock

    def refuse_folders(descriptor: int, how: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(number, os.strerror(number))
        real(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", refuse_folders)
    with (
        pytest.raises(
            UserError, match=r"can't be used for the lock of device 'local' because .*point TMPDIR elsewhere"
        ),
        connect(local_entry(tmp_path / "work"), tmp_path / "locks"),
    ):
        pytest.fail("nothing is locked")


def test_local_devices_of_one_process_share_the_machine(tmp_path: Path) -> None:
    one, two = local_entry(tmp_path / "one", "one"), local_entry(tmp_path / "two", "two")
    with connect(one, tmp_path / "locks"), connect(two, tmp_path / "locks"):
        pass
