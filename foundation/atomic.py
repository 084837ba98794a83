"""Files that are whole or not there: temporary name, fsync, rename."""

from __future__ import annotations

import contextlib
import io
import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, TextIO


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A file to write that takes the place of `path` at the end of the block, or leaves nothing if it raises."""
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
    """The same as a text file: UTF-8, line ends as they are given; `errors` as `open` takes it."""
    with replacing(path) as stream:
        text = io.TextIOWrapper(stream, encoding="utf-8", errors=errors, newline="")
        yield text
        text.detach()


def write_atomic(path: Path, data: bytes) -> None:
    """Replaces the content of `path` by `data`. Raises `OSError`."""
    with replacing(path) as stream:
        stream.write(data)
