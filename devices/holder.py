"""Who holds a device: told to whoever finds it held. What comes from a file, or from a device, is untrusted."""

from __future__ import annotations

import datetime
import getpass
import os
import platform
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from foundation.text import printable

_COMMAND_CHARACTERS = 120
_NAME_CHARACTERS = 64


@dataclass(frozen=True)
class Holder:
    """Process, host, since when (ISO 8601, UTC), with which command, whose, and what the device is called there."""

    pid: int
    host: str
    since: str
    command: str
    user: str = ""
    device: str = ""

    def __str__(self) -> str:
        command, since = printable(self.command, 80), printable(self.since, 40)
        whose = f" of {printable(self.user, 40)}" if self.user else ""
        return f"process {self.pid} ({command}){whose} on {self.shown_host} since {since}"

    @property
    def shown_host(self) -> str:
        """For messages."""
        return printable(self.host, 80)

    @property
    def is_this_process(self) -> bool:
        """Whether it is the one that asks."""
        return self.pid == os.getpid() and self.host == _host()


def this_process(device: str) -> Holder:
    """The one that asks, in few enough characters for a line of a small file on the device."""
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    command = " ".join([Path(sys.argv[0]).name, *sys.argv[1:]])
    return Holder(os.getpid(), _host(), now, command[:_COMMAND_CHARACTERS], _user(), device[:_NAME_CHARACTERS])


def holder_of(record: object) -> Holder | None:
    """The holder that a JSON document names; None if it is damaged."""
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
