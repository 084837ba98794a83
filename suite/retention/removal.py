"""Removes and compresses what a survey named: each item completely, or with a reason."""

from __future__ import annotations

import gzip
import os
import shutil
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from foundation.atomic import replacing
from suite.errors import StoreError
from suite.retention.survey import Item

_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True)
class Done:
    """Bytes freed, and a sentence for each item that stayed despite its survey."""

    freed_bytes: int
    failures: tuple[str, ...]


def carry_out(items: Iterable[Item]) -> Done:
    """Carries out the items' actions; failures are reported and do not stop the others."""
    freed, failures = 0, []
    for item in items:
        try:
            if item.action == "remove":
                _remove(item.path)
                freed += item.size_bytes
            elif item.action == "compress":
                freed += item.size_bytes - compress(item.path)
        except OSError as error:
            failures.append(
                f"{item.path} stays as it is ({error.strerror or error}, error {error.errno}): make it writable, or "
                "free some space"
            )
        except StoreError as error:
            failures.append(str(error))
    return Done(freed, tuple(failures))


def compress(path: Path) -> int:
    """Replaces a file by `path`.gz, verified first; returns its size. OSError leaves the file in place.

    StoreError if the compressed file does not match.
    """
    target = path.with_name(f"{path.name}.gz")
    before = path.stat()
    with (
        replacing(target) as stream,
        path.open("rb") as plain,
        gzip.GzipFile("", "wb", fileobj=stream, mtime=0) as packed,
    ):
        shutil.copyfileobj(plain, packed, _CHUNK_BYTES)
    os.utime(target, ns=(before.st_atime_ns, before.st_mtime_ns))
    with path.open("rb") as plain, gzip.open(target, "rb") as packed:
        same = _checksum(plain.read) == _checksum(packed.read)
    if not same:
        target.unlink()
        raise StoreError(f"{path} came back changed from its compression, so it stays: check the disk")
    path.unlink()
    return target.stat().st_size


def _checksum(read: Callable[[int], bytes]) -> tuple[int, int]:
    value = length = 0
    while chunk := read(_CHUNK_BYTES):
        value, length = zlib.crc32(chunk, value), length + len(chunk)
    return value, length


def _remove(path: Path) -> None:
    """Removes a file or folder; a folder is renamed first, so that a partly removed one is never taken for complete."""
    if path.is_dir() and not path.is_symlink():
        going = path.with_name(f".going-{path.name.lstrip('.')}")
        if going.exists():
            shutil.rmtree(going)
        path.rename(going)
        shutil.rmtree(going)
    else:
        path.unlink(missing_ok=True)
