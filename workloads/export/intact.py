"""Whether a file still is what it was when it was written: hashed again only if its size or stamp has changed."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

from workloads.models.weights import file_sha256

_VERIFIED = "verified.json"


def is_intact(path: Path, sha256: str, size_bytes: int) -> bool:
    """Returns whether a file has this content; remembers its stamp if that took hashing it. Raises OSError."""
    if path.stat().st_size != size_bytes:
        return False
    known = path.with_name(_VERIFIED)
    if known.is_file() and known.read_text(errors="replace") == _verified(path, sha256):
        return True
    if file_sha256(path) != sha256:
        return False
    remember(path, sha256)
    return True


def remember(path: Path, sha256: str) -> None:
    """Writes down, beside a file, that it was just hashed; there is one such file in a folder."""
    with contextlib.suppress(OSError):  # in a cache that is read-only or full, the file is hashed again next time
        path.with_name(_VERIFIED).write_text(_verified(path, sha256))


def _verified(path: Path, sha256: str) -> str:
    """Returns the stamp of a hashed file, which changes with any write to it or replacement of it."""
    status = path.stat()
    stamp = f"{status.st_mtime_ns}:{status.st_ctime_ns}:{status.st_ino}"
    return json.dumps({"sha256": sha256, "bytes": status.st_size, "stamp": stamp})
