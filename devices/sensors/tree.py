"""Reading a device's /proc and /sys through its transport, below a root that tests can set."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from devices.errors import FileCause, FileError
from devices.transport import Transport

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

    def path(self, *parts: str) -> str:
        """The device's path of something below the root."""
        return posixpath.join(self.root, *parts)

    def names(self, folder: str, pattern: str = ".*") -> tuple[str, ...]:
        """Names in a folder that match the whole pattern, in numeric order; empty if there is no such folder."""
        try:
            found = self.transport.list_dir(self.path(folder))
        except FileError:
            return ()
        return tuple(sorted((name for name in found if re.fullmatch(pattern, name)), key=_by_number))

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


def _by_number(name: str) -> tuple[str | int, ...]:
    """Sort key under which thermal_zone10 comes after thermal_zone9."""
    return tuple(int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", name))
