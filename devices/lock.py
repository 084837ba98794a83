"""One run of a home at a time per device: an exclusive lock below the host's `locks/` folder.

The lock is the kernel's (flock through filelock): it ends with its holder, by `kill -9` too, and nothing stale is left
to clean up. Beside it lies a note about the holder that only serves the message to others.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import filelock

from devices.errors import DeviceBusy, FileError
from devices.holder import Holder, holder_of, this_process
from foundation.atomic import write_atomic
from foundation.errors import UserError
from foundation.text import printable

_UNSAFE = re.compile(r"[^A-Za-z0-9.:-]+")


@contextlib.contextmanager
def exclusive(device: str, locks_dir: Path, *, address: str | None = None) -> Iterator[None]:
    """Holds `device` for the block. Raises `DeviceBusy` at once if another holds it, also within this process.

    With its `address`, entries of other names for the same device are kept away as well.
    """
    with contextlib.ExitStack() as held:
        held.enter_context(_exclusive(device, device, locks_dir))
        if address is not None:
            held.enter_context(_exclusive(device, f"at-{_UNSAFE.sub('_', address)[:160]}", locks_dir))
        yield


@contextlib.contextmanager
def _exclusive(device: str, file: str, locks_dir: Path) -> Iterator[None]:
    note = locks_dir / f"{file}.json"
    try:
        locks_dir.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(locks_dir / f"{file}.lock", timeout=0)
        lock.acquire()
    except filelock.Timeout:
        raise _busy(device, note) from None
    except OSError as error:
        reason = FileError.from_os_error("lock", str(locks_dir), error).reason
        raise UserError(
            f"{printable(str(locks_dir))!r} can't hold the lock of device {device!r} because {reason}; "
            "make the folder writable or point SUITE_HOME elsewhere."
        ) from error
    try:
        # The note is a courtesy: a full disk must not keep anybody from measuring.
        with contextlib.suppress(OSError):
            write_atomic(note, json.dumps(asdict(this_process(device))).encode())
        yield
    finally:
        with contextlib.suppress(OSError):
            note.unlink(missing_ok=True)
        lock.release()


def _busy(device: str, note: Path) -> DeviceBusy:
    holder = _read_holder(note)
    who = str(holder) if holder else "another process"
    end = f"end process {holder.pid}" if holder else "end it"
    return DeviceBusy(f"device {device!r} is in use by {who}; wait for it or {end}.")


def _read_holder(note: Path) -> Holder | None:
    try:
        return holder_of(json.loads(note.read_bytes()))
    except (OSError, ValueError):
        return None
