"""Opens a file that somebody else wrote: a regular file, of at most so many bytes.

A pipe or a device may never end, and a file of any size may be named by mistake or to do harm.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path

from foundation.errors import UserError
from foundation.text import printable

_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISSOCK, "a socket"),
)


@contextmanager
def open_regular(
    path: Path,
    *,
    what: str,
    limit_bytes: int | None = None,
    refusal: type[UserError] = UserError,
    advice: str = "check the path",
) -> Iterator[BufferedReader]:
    """Opens `path` for reading, as `what` (such as "a plan file"), without ever waiting for another process.

    Raises `refusal` for anything but a regular file, or for one of more than `limit_bytes` with the `advice`, and
    OSError for what can't be opened.
    """
    # Before opening, too: that alone can set off a device.
    _require_regular(path.stat().st_mode, path, what, refusal)
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb") as stream:
        status = os.fstat(stream.fileno())
        _require_regular(status.st_mode, path, what, refusal)
        if limit_bytes is not None and status.st_size > limit_bytes:
            raise refusal(_too_large(path, what, limit_bytes, f"{status.st_size} bytes", advice))
        yield stream


def read_regular(
    path: Path,
    *,
    what: str,
    limit_bytes: int,
    refusal: type[UserError] = UserError,
    advice: str = "check the path",
) -> bytes:
    """Returns the content of `path`, of which never more than `limit_bytes` are read; raises as `open_regular` does."""
    with open_regular(path, what=what, limit_bytes=limit_bytes, refusal=refusal, advice=advice) as stream:
        data = stream.read(limit_bytes + 1)  # it may have grown, and the size of what the kernel makes up is 0
    if len(data) > limit_bytes:
        raise refusal(_too_large(path, what, limit_bytes, "more bytes than it says", advice))
    return data


def _require_regular(mode: int, path: Path, what: str, refusal: type[UserError]) -> None:
    if not stat.S_ISREG(mode):
        kind = next((name for matches, name in _KINDS if matches(mode)), "no regular file")
        raise refusal(f"{printable(str(path))} is {kind}, and {what} must be a file: save it as one and name that.")


def _too_large(path: Path, what: str, limit_bytes: int, size: str, advice: str) -> str:
    return f"{printable(str(path))} has {size}, and {limit_bytes} is the limit for {what}: {advice}."
