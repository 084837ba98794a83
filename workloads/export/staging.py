"""Creates folders of the artifact cache: built aside under a lock, named when complete, checked when used."""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from workloads.method import METHOD_TABLE, Method
from workloads.models.weights import file_sha256

_STAGE = ".exporting-"
_VERIFIED = "verified.json"
_VERSIONED = ("torch", "executorch", "torchao")


def versions() -> dict[str, str]:
    """Returns the versions of the packages that may change what is exported."""
    return {name: importlib.metadata.version(name) for name in _VERSIONED}


def method_version(method: Method) -> dict[str, str]:
    """Returns what identifies the version of a plugin's method: its package, and the file of its step."""
    origin = METHOD_TABLE.origin_of(method.name)
    if origin is None:
        return {}
    spec = importlib.util.find_spec(method.step)
    source = None if spec is None or spec.origin is None else Path(spec.origin)
    code = file_sha256(source) if source is not None and source.is_file() else ""
    return {"method": f"{origin} {code}".strip()}


@contextlib.contextmanager
def making(root: Path, name: str) -> Iterator[None]:
    """Waits until no other process is building the folder `name` in `root`; others then wait for this one.

    Raises OSError.
    """
    root.mkdir(parents=True, exist_ok=True)
    with FileLock(root / f".{name}.lock"):
        yield


@contextlib.contextmanager
def stage(root: Path, name: str) -> Iterator[Path]:
    """Creates a folder in `root` for a block that holds `making` and renames it; otherwise the folder is removed.

    Removes leftovers of killed exports first. Raises OSError.
    """
    remove_abandoned(root, but=name)
    folder = root / f"{_STAGE}{name}"
    shutil.rmtree(folder, ignore_errors=True)  # left by a killed export
    try:
        folder.mkdir()
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def remove_abandoned(root: Path, but: str | None = None) -> None:
    """Removes what killed exports left behind, except `but`: gigabytes that may never be needed again."""
    for folder in staged(root):
        name = folder.name.removeprefix(_STAGE)
        if name != but:
            # Timeout: that export is still running.
            with contextlib.suppress(Timeout), FileLock(stage_lock(folder), timeout=0):
                shutil.rmtree(folder, ignore_errors=True)


def staged(root: Path) -> list[Path]:
    """Returns the folders that exports have started in `root`; those in progress hold their lock."""
    return sorted(root.glob(f"{_STAGE}*"))


def stage_lock(folder: Path) -> Path:
    """Returns the lock of a folder that an export has started."""
    return folder.with_name(f".{folder.name.removeprefix(_STAGE)}.lock")


def is_intact(path: Path, sha256: str, size_bytes: int) -> bool:
    """Returns whether a file has this content, hashing it only if its size or stamp has changed. Raises OSError."""
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
    """Records, beside a file, that it was just hashed; there is one such file in a folder."""
    with contextlib.suppress(OSError):  # in a cache that is read-only or full, the file is hashed again next time
        path.with_name(_VERIFIED).write_text(_verified(path, sha256))


def _verified(path: Path, sha256: str) -> str:
    """Returns the stamp of a hashed file, which changes with any write to it or replacement of it."""
    status = path.stat()
    stamp = f"{status.st_mtime_ns}:{status.st_ctime_ns}:{status.st_ino}"
    return json.dumps({"sha256": sha256, "bytes": status.st_size, "stamp": stamp})
