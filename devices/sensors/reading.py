"""Reading a device: its /proc and /sys below a root that tests can set, and its programs that report something."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from devices.errors import CommandError, FileCause, FileError, OutputLimitError, TransportTimeout
from devices.transports.transport import Transport
from foundation.text import last_line, printable

_FOLDERS = ("usr/bin", "bin", "usr/sbin", "usr/local/bin", "opt/vc/bin", "system/bin")
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")
# At most 30 digits: what is longer is no reading, and a float that overflowed would be infinite.
_NUMBER = re.compile(r"\s*[+-]?[0-9]{1,30}(?:\.[0-9]{0,30})?(?![0-9A-Za-z_.])")


def first_number(text: str) -> float | None:
    """The number a sysfs file begins with, or None."""
    match = _NUMBER.match(text)
    return float(match[0]) if match else None


@dataclass(frozen=True)
class Tree:
    """The pseudo file systems of a device. `root` is "/" except where a copy of them stands in for the real ones."""

    transport: Transport
    root: str = "/"
    _programs: dict[str, str | None] = field(default_factory=dict, init=False, repr=False, compare=False)

    def path(self, *parts: str) -> str:
        """The device's path of something below the root."""
        return posixpath.join(self.root, *parts)

    def names(self, folder: str, pattern: str = ".*") -> tuple[str, ...]:
        """Names in a folder that match the whole pattern, in numeric order; empty if there is no such folder."""
        try:
            found = self.transport.list_dir(self.path(folder))
        except FileError:
            return ()
        return _matching(found, pattern)

    def names_in(self, folders: Sequence[str], pattern: str) -> Mapping[str, tuple[str, ...]]:
        """The same for many folders in one round trip."""
        found = self.transport.list_dirs([self.path(folder) for folder in folders])
        return {folder: _matching(found.get(self.path(folder), ()), pattern) for folder in folders}

    def program(self, name: str) -> str | None:
        """The device's path of a program, None if it is in none of the folders; looked for once in a connection."""
        if name not in self._programs:
            paths = [self.path(folder, name) for folder in _FOLDERS]
            found = self.transport.existing(paths)
            self._programs[name] = next((path for path in paths if path in found), None)
        return self._programs[name]

    def read(self, paths: Iterable[str]) -> Texts:
        """Reads many files in one round trip, by their path below the root."""
        wanted = tuple(paths)
        read = self.transport.read_texts([self.path(path) for path in wanted]) if wanted else {}
        return Texts({path: read[self.path(path)] for path in wanted})


@dataclass(frozen=True)
class Texts:
    """What a round trip of reads gave: text or error of each path."""

    by_path: Mapping[str, str | FileError]

    def text(self, path: str) -> str | None:
        """The stripped text, None if the file couldn't be read."""
        text = self.by_path.get(path)
        return text.replace("\0", " ").strip() if isinstance(text, str) else None

    def number(self, path: str) -> float | None:
        """The number that the file begins with, None if it couldn't be read or holds none."""
        text = self.text(path)
        return None if text is None else first_number(text)

    def why_not(self, path: str) -> str:
        """Why `number` has nothing to give."""
        text = self.by_path.get(path)
        if isinstance(text, FileError):
            return f"/{path} can't be read because {text.reason}"
        return f"/{path} holds no number"

    def is_kept(self, path: str) -> bool:
        """Whether the file is kept from the user who logs in."""
        error = self.by_path.get(path)
        return isinstance(error, FileError) and error.cause is FileCause.DENIED

    def how_to_read(self, path: str) -> str | None:
        """What to do about a file that is kept from the user who logs in; None where that isn't the reason."""
        if not self.is_kept(path):
            return None
        return f"let this user read it: sudo chmod a+r /{path} (a udev rule does it at each start)"


def plain_name(text: str | None, fallback: str, taken: Sequence[str] = ()) -> str:
    """A sensor's name made of text from a device: a few safe characters, and `name.2` for the second of that name."""
    name = _UNSAFE.sub("-", text or "").strip("-.")[:48] or fallback
    candidate, count = name, 1
    while candidate in taken:
        count += 1
        candidate = f"{name}.{count}"
    return candidate


def _matching(names: Iterable[str], pattern: str) -> tuple[str, ...]:
    return tuple(sorted((name for name in names if re.fullmatch(pattern, name)), key=_by_number))


def _by_number(name: str) -> tuple[str | int, ...]:
    """Sort key under which thermal_zone10 comes after thermal_zone9."""
    return tuple(int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", name))


_TIMEOUT_S = 10.0
# The interval is the shell's $0, the program with its arguments "$@". A failure ends the loop and is thereby told.
_LOOP = 'while :; do "$@" || exit; sleep "$0"; done'


@dataclass(frozen=True)
class Answer:
    """What a program printed, or why there is nothing (`text` is None then)."""

    text: str | None
    why_not: str = ""

    def line(self, beginning: str) -> str | None:
        """What follows `beginning` on the first line that starts with it."""
        for line in (self.text or "").splitlines():
            if line.strip().startswith(beginning):
                return line.strip().removeprefix(beginning).strip()
        return None


def ask(tree: Tree, argv: Sequence[str], timeout_s: float = _TIMEOUT_S) -> Answer:
    """Runs a program that prints something and ends. Raises `DeviceLost` when the device itself is gone."""
    name = printable(argv[0].rpartition("/")[2], 60)
    try:
        result = tree.transport.run(argv, timeout_s=timeout_s)
    except TransportTimeout:
        return Answer(None, f"{name} didn't answer within {timeout_s:g} s")
    except (CommandError, OutputLimitError) as error:
        return Answer(None, str(error).rstrip("."))
    if result.rc != 0:
        return Answer(None, f"{name} left with exit code {result.rc}{last_line(result.stderr or result.stdout)}")
    return Answer(result.stdout)


def looped(argv: Sequence[str], interval_s: float) -> tuple[str, ...]:
    """The command of a sensor that runs a program again and again. The device's own shell is enough for it."""
    return ("sh", "-c", _LOOP, f"{interval_s:g}", *argv)
