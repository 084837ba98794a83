"""Reads a device's /proc and /sys (below a root that tests can set) and the output of its programs."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from devices.errors import CommandError, FileCause, FileError, OutputLimitError, TransportTimeout
from devices.processes import ProcessEnd
from devices.transports.transport import FILE_TIMEOUT_S, Result, Transport
from foundation.causes import cause_line
from foundation.text import printable

_FOLDERS = ("usr/bin", "bin", "usr/sbin", "usr/local/bin", "opt/vc/bin", "system/bin")
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")
# At most 30 digits: more is not a reading, and an overflowing float would be infinite.
_NUMBER = re.compile(r"\s*[+-]?[0-9]{1,30}(?:\.[0-9]{0,30})?(?![0-9A-Za-z_.])")
# Reading a file may take a separate process on the device: 80 ms with an emulated processor.
_READ_TIMEOUT_S = 0.2
_T = TypeVar("_T")


def first_number(text: str) -> float | None:
    """Returns the number at the start of a sysfs file, or None."""
    match = _NUMBER.match(text)
    return float(match[0]) if match else None


@dataclass(frozen=True)
class Tree:
    """The pseudo file systems of a device. `root` is "/" unless a copy replaces the real ones."""

    transport: Transport
    root: str = "/"
    _programs: dict[str, str | None] = field(default_factory=dict, repr=False, compare=False)

    def path(self, *parts: str) -> str:
        """Returns the path on the device of something below the root."""
        return posixpath.join(self.root, *parts)

    def names(self, folder: str, pattern: str = ".*") -> tuple[str, ...]:
        """Returns the names in a folder that match the whole pattern, in numeric order; empty if there is no such
        folder.
        """
        return self.names_in([folder], pattern)[folder]

    def names_in(self, folders: Sequence[str], pattern: str) -> Mapping[str, tuple[str, ...]]:
        """Does the same for many folders in one round trip."""
        found = self.transport.list_dirs([self.path(folder) for folder in folders])
        return {folder: _matching(found.get(self.path(folder), ()), pattern) for folder in folders}

    def why_unlisted(self, folder: str) -> str | None:
        """Returns the reason why a folder can't be listed; None if it can."""
        try:
            self.transport.list_dir(self.path(folder))
        except FileError as error:
            return error.reason
        return None

    def existing(self, paths: Sequence[str]) -> tuple[str, ...]:
        """Returns those of the paths below the root that exist."""
        found = self.transport.existing([self.path(path) for path in paths])
        return tuple(path for path in paths if self.path(path) in found)

    def program(self, name: str) -> str | None:
        """Returns the path of a program on the device, None if it isn't found; looked up once per connection."""
        if name not in self._programs:
            found = self.existing([f"{folder}/{name}" for folder in _FOLDERS])
            self._programs[name] = self.path(found[0]) if found else None
        return self._programs[name]

    def read(self, paths: Iterable[str]) -> Texts:
        """Reads many files in one round trip, given their paths below the root."""
        wanted = tuple(paths)
        timeout_s = FILE_TIMEOUT_S + _READ_TIMEOUT_S * len(wanted)
        read = self.transport.read_texts([self.path(path) for path in wanted], timeout_s=timeout_s) if wanted else {}
        return Texts({path: read[self.path(path)] for path in wanted})

    def run(self, argv: Sequence[str], timeout_s: float) -> Result:
        """Runs a short program. Raises what the transport raises."""
        return self.transport.run(argv, timeout_s=timeout_s)

    def survey(self, look: Callable[[Tree], _T]) -> _T:
        """Returns `look(tree)` in as few round trips as its questions depend on each other.

        `look` is called repeatedly with a tree that answers from memory: unknown things appear to be missing, and are
        fetched together before the next call. Everything is read once, so the answers are consistent; nothing is
        remembered afterwards. `look` must depend only on the tree and have no side effects.
        """
        tree = _Survey(self.transport, self.root, self._programs)
        while True:
            found = look(tree)
            if not tree.has_gaps:
                return found
            tree.fill_gaps()


@dataclass(frozen=True)
class _Survey(Tree):
    """A tree that answers from memory and notes what it doesn't know.

    A question that needs its own round trip is only sent once nothing is unknown: with the earlier answers known, it
    might not be asked at all.
    """

    _names: dict[str, tuple[str, ...]] = field(default_factory=dict)
    _texts: dict[str, str | FileError] = field(default_factory=dict)
    _results: dict[tuple[str, ...], Result] = field(default_factory=dict)
    _unlisted: set[str] = field(default_factory=set)
    _unread: set[str] = field(default_factory=set)

    @property
    def has_gaps(self) -> bool:
        """Whether some of the answers since the last `fill_gaps` were unknown."""
        return bool(self._unlisted or self._unread)

    def fill_gaps(self) -> None:
        """Fetches what was unknown: folders first, as they decide which files are of interest."""
        if self._unlisted:
            self._names.update(super().names_in(sorted(self._unlisted), ".*"))
        else:
            self._texts.update(super().read(sorted(self._unread)).by_path)
        self._unlisted.clear()
        self._unread.clear()

    def names_in(self, folders: Sequence[str], pattern: str) -> Mapping[str, tuple[str, ...]]:
        self._unlisted.update(folder for folder in folders if folder not in self._names)
        return {folder: _matching(self._names.get(folder, ()), pattern) for folder in folders}

    def read(self, paths: Iterable[str]) -> Texts:
        wanted = tuple(paths)
        self._unread.update(path for path in wanted if path not in self._texts)
        return Texts({path: self._texts[path] for path in wanted if path in self._texts})

    def why_unlisted(self, folder: str) -> str | None:
        return None if self.has_gaps else super().why_unlisted(folder)

    def existing(self, paths: Sequence[str]) -> tuple[str, ...]:
        return () if self.has_gaps else super().existing(paths)

    def program(self, name: str) -> str | None:
        return None if self.has_gaps else super().program(name)

    def run(self, argv: Sequence[str], timeout_s: float) -> Result:
        command = tuple(argv)
        if command not in self._results:
            if self.has_gaps:
                return Result("", ProcessEnd(rc=1))
            self._results[command] = super().run(command, timeout_s)
        return self._results[command]


@dataclass(frozen=True)
class Texts:
    """The result of one round trip: a text or an error for each path."""

    by_path: Mapping[str, str | FileError]

    def text(self, path: str) -> str | None:
        """Returns the stripped text, None if the file couldn't be read."""
        text = self.by_path.get(path)
        return text.replace("\0", " ").strip() if isinstance(text, str) else None

    def number(self, path: str) -> float | None:
        """Returns the number at the start of the file, None if it couldn't be read or has none."""
        text = self.text(path)
        return None if text is None else first_number(text)

    def why_not(self, path: str) -> str:
        """Returns the reason why `number` is None."""
        text = self.by_path.get(path)
        if isinstance(text, FileError):
            return f"/{path} can't be read because {text.reason}"
        return f"/{path} contains no number"

    def is_kept(self, path: str) -> bool:
        """Returns whether the user lacks permission to read the file."""
        error = self.by_path.get(path)
        return isinstance(error, FileError) and error.cause is FileCause.DENIED

    def how_to_read(self, path: str) -> str | None:
        """Returns the remedy for a file that the user lacks permission to read; None for other reasons."""
        if not self.is_kept(path):
            return None
        return f"let this user read it: sudo chmod a+r /{path} (or a udev rule, to keep it across restarts)"


def plain_name(text: str | None, fallback: str, taken: Sequence[str] = ()) -> str:
    """Makes a sensor's name from a device's text: safe characters only, and `name.2` for the second of that name."""
    name = _UNSAFE.sub("-", text or "").strip("-.")[:48] or fallback
    candidate, count = name, 1
    while candidate in taken:
        count += 1
        candidate = f"{name}.{count}"
    return candidate


def _matching(names: Iterable[str], pattern: str) -> tuple[str, ...]:
    return tuple(sorted((name for name in names if re.fullmatch(pattern, name)), key=_by_number))


def _by_number(name: str) -> tuple[str | int, ...]:
    """Returns a sort key by which thermal_zone10 comes after thermal_zone9."""
    return tuple(int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", name))


_TIMEOUT_S = 10.0
# The shell's $0 is the interval, "$@" the program with its arguments. A failure ends the loop, and is thus reported.
_LOOP = 'while :; do "$@" || exit; sleep "$0"; done'


@dataclass(frozen=True)
class Answer:
    """A program's output, or why there is none (`text` is None then)."""

    text: str | None
    why_not: str = ""

    def line(self, beginning: str) -> str | None:
        """Returns the rest of the first line that starts with `beginning`."""
        for line in (self.text or "").splitlines():
            if line.strip().startswith(beginning):
                return line.strip().removeprefix(beginning).strip()
        return None


def ask(tree: Tree, argv: Sequence[str], timeout_s: float = _TIMEOUT_S) -> Answer:
    """Runs a short program for its output. Raises `DeviceLost` if the device itself is gone."""
    name = printable(argv[0].rpartition("/")[2], 60)
    try:
        result = tree.run(argv, timeout_s)
    except TransportTimeout:
        return Answer(None, f"{name} didn't answer within {timeout_s:g} s")
    except (CommandError, OutputLimitError) as error:
        return Answer(None, str(error).rstrip("."))
    if result.end.rc != 0:
        return Answer(
            None, f"{name} ended with exit code {result.end.rc}{cause_line(result.end.stderr_tail, result.stdout)}"
        )
    return Answer(result.stdout)


def looped(argv: Sequence[str], interval_s: float) -> tuple[str, ...]:
    """Returns the command of a sensor that runs a program repeatedly in the device's own shell."""
    return ("sh", "-c", _LOOP, f"{interval_s:g}", *argv)
