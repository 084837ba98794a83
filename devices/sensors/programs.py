"""Programs of a device that tell something: where they are, what they say, and the loop that makes one a sensor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from devices.errors import CommandError, OutputLimitError, TransportTimeout
from devices.sensors.tree import Tree
from foundation.text import last_line, printable

_FOLDERS = ("usr/bin", "bin", "usr/sbin", "usr/local/bin", "opt/vc/bin", "system/bin")
_TIMEOUT_S = 10.0
# The interval is the shell's $0, the program with its arguments "$@". A failure ends the loop and is thereby told.
_LOOP = 'while :; do "$@" || exit; sleep "$0"; done'


@dataclass(frozen=True)
class Told:
    """What a program printed, or why there is nothing (`text` is None then)."""

    text: str | None
    why_not: str = ""

    def line(self, beginning: str) -> str | None:
        """What follows `beginning` on the first line that starts with it."""
        for line in (self.text or "").splitlines():
            if line.strip().startswith(beginning):
                return line.strip().removeprefix(beginning).strip()
        return None


def find_program(tree: Tree, name: str, folders: Sequence[str] = _FOLDERS) -> str | None:
    """The device's path of a program, None if it is in none of the folders."""
    for folder in folders:
        path = tree.path(folder, name)
        if tree.transport.exists(path):
            return path
    return None


def ask(tree: Tree, argv: Sequence[str], timeout_s: float = _TIMEOUT_S) -> Told:
    """Runs a program that prints something and ends. Raises `DeviceLost` when the device itself is gone."""
    name = printable(argv[0].rpartition("/")[2], 60)
    try:
        result = tree.transport.run(argv, timeout_s=timeout_s)
    except TransportTimeout:
        return Told(None, f"{name} didn't answer within {timeout_s:g} s")
    except (CommandError, OutputLimitError) as error:
        return Told(None, str(error).rstrip("."))
    if result.rc != 0:
        return Told(None, f"{name} left with exit code {result.rc}{last_line(result.stderr or result.stdout)}")
    return Told(result.stdout)


def looped(argv: Sequence[str], interval_s: float) -> tuple[str, ...]:
    """The command of a sensor that runs a program again and again. The device's own shell is enough for it."""
    return ("sh", "-c", _LOOP, f"{interval_s:g}", *argv)
