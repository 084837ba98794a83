"""Files that appear complete or not at all: temporary name, fsync, rename."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, TextIO


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Opens a file that replaces `path` at the end of the block, or leaves nothing behind if the block raises.

    Raises OSError, also if `path` exists and is not a regular file: as root, this would replace a device by a file.
    """
    if path.exists() and not path.is_file():
        reason = errno.EISDIR if path.is_dir() else errno.EEXIST
        raise OSError(reason, os.strerror(reason) if path.is_dir() else "not a regular file", str(path))
    temporary = path.with_name(f".{path.name[:100]}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        with temporary.open("xb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def replacing_text(path: Path, *, errors: str = "strict") -> Iterator[TextIO]:
    """Does the same for a UTF-8 text file, without changing line ends; `errors` is as for `open`."""
    with replacing(path) as stream:
        text = io.TextIOWrapper(stream, encoding="utf-8", errors=errors, newline="")
        yield text
        text.detach()


def write_atomic(path: Path, data: bytes) -> None:
    """Replaces the content of `path` with `data`. Raises `OSError`."""
    with replacing(path) as stream:
        stream.write(data)
