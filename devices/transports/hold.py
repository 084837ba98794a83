"""Holding a device. The hold is on the device itself, where orchestrators of other hosts, homes and users find it.

The hold is a process there that lives as long as its orchestrator is connected (`devices.transports.shell.holding`):
it ends with the orchestrator, its host, the link or the device, and leaves nothing to clean up. Another orchestrator
that finds a hold asks the holder for a sign of life; until then, a hold costs the device nothing. A holder that doesn't
answer has a dead link, and loses the device.

An orchestrator whose own home held the device last need not ask: the home's lock (`devices.access.connect`) proves that
no other orchestrator of that home is running. A holder's description comes from a file or the device and is untrusted.
"""

from __future__ import annotations

import contextlib
import datetime
import getpass
import json
import os
import platform
import secrets
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from devices.errors import DeviceBusy
from devices.processes import PidRecord, parse_record, record_of, runs
from foundation.atomic import write_atomic
from foundation.foreign_files import DAMAGED
from foundation.text import printable

_COMMAND_CHARACTERS = 120
_NAME_CHARACTERS = 64


@dataclass(frozen=True)
class Holder:
    """An orchestrator: process, host, start of the hold (ISO 8601, UTC), command, user, and its name for the device."""

    pid: int
    host: str
    since: str
    command: str
    user: str = ""
    device: str = ""

    def __str__(self) -> str:
        command, since = printable(self.command, 80), printable(self.since, 40)
        whose = f" of {printable(self.user, 40)}" if self.user else ""
        return f"process {self.pid} ({command}){whose} on {self.printable_host} since {since}"

    @property
    def printable_host(self) -> str:
        """For messages."""
        return printable(self.host, 80)

    @property
    def is_this_process(self) -> bool:
        """Whether it is this process."""
        return self.pid == os.getpid() and self.host == _host()


def this_process(device: str) -> Holder:
    """Describes this process, briefly enough for a line of a small file on the device."""
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    command = " ".join([Path(sys.argv[0]).name, *sys.argv[1:]])
    return Holder(os.getpid(), _host(), now, command[:_COMMAND_CHARACTERS], _user(), device[:_NAME_CHARACTERS])


def holder_of(record: object) -> Holder | None:
    """Parses a holder from a JSON document; None if it is damaged."""
    if not isinstance(record, Mapping):
        return None
    pid, texts = record.get("pid"), [record.get(name, "") for name in ("host", "since", "command", "user", "device")]
    if type(pid) is not int or not 0 < pid < 1 << 32 or not record.get("host"):
        return None
    return Holder(pid, *(str(text) for text in texts))


def _host() -> str:
    return platform.node()[:_NAME_CHARACTERS]


def _user() -> str:
    try:
        return getpass.getuser()[:_NAME_CHARACTERS]
    except (KeyError, OSError):  # a user id without a name
        return str(os.getuid())


@dataclass(frozen=True)
class Claim:
    """An orchestrator's claim to a device: the token of this hold, its description, and the token of an earlier hold by
    its own home whose holder is certainly gone.
    """

    device: str
    token: str
    holder: Holder
    outdated: str | None = None

    @property
    def holder_line(self) -> str:
        """The holder as one line of ASCII."""
        return json.dumps(asdict(self.holder))


def claim(device: str, locks_dir: Path) -> Claim:
    """Returns a claim of this process, which its home remembers. The caller must have the home's lock of the device."""
    path = locks_dir / f"{device}.hold"
    outdated = _outdated(path)
    made = Claim(device, secrets.token_hex(16), this_process(device), outdated)
    record = record_of(os.getpid())
    # A home that can't remember its holds has to ask, like any other.
    if record is not None:
        with contextlib.suppress(OSError):
            write_atomic(path, json.dumps({"token": made.token, **asdict(record)}).encode())
    return made


def busy(device: str, line: str, *, answered: bool) -> DeviceBusy:
    """Returns the error for a device held by another orchestrator, which describes itself by `line` (untrusted)."""
    try:
        holder = holder_of(json.loads(line))
    except DAMAGED:
        holder = None
    if holder is None:
        return DeviceBusy(
            f"device {device!r} is in use by an orchestrator without a readable description; wait until it has ended."
        )
    if holder.is_this_process:
        return DeviceBusy(
            f"device {device!r} is in use by this same command, with the same workdir as {holder.device!r}; give both "
            "the same `host` (or `serial`) in the inventory, so that they take turns."
        )
    sign = "which has just answered" if answered else "which our user on the device can't ask or end"
    return DeviceBusy(
        f"device {device!r} is in use by {holder}, {sign}; wait for it or end process {holder.pid} on "
        f"{holder.printable_host}."
    )


def _outdated(path: Path) -> str | None:
    """Returns the token of the home's last hold, if its process is this one or gone.

    A home may have been copied while the device was held, or several hosts may share it: it is unknown whether a
    process of another host, or of another boot of this one, is gone.
    """
    try:
        content = path.read_bytes()
        token = str(json.loads(content)["token"])
    except (OSError, *DAMAGED):
        return None
    record = parse_record(content)
    if record is None or not _is_of_this_boot(record):
        return None
    return token if record.pid == os.getpid() or not runs(record) else None


def _is_of_this_boot(record: PidRecord) -> bool:
    present = record_of(os.getpid())
    return present is not None and present.boot_id == record.boot_id != ""
