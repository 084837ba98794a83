"""Deploys files to a device by content: nothing is copied twice or left incomplete.

A file is pushed to a temporary name, hashed on the device, and renamed only if the hash is right. After a break in the
middle of a large file, the next deploy hashes what has arrived and, if that is the start of the file, resumes there.
`.deployed.json` beside the files records what was verified: hash, size and change stamp (`FileStat`). The next deploy
checks only size and stamp: a file that was truncated, written to or replaced has another stamp, so it is hashed again,
and pushed again if its content changed. Storage that decays without a write goes unnoticed unless `rehash` is set.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import posixpath
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from devices.errors import DamagedFile, DeployError, FileCause, FileError
from devices.transports.transport import RESUME_BLOCK_BYTES, FileStat, Transport
from foundation.foreign_files import DAMAGED
from foundation.text import printable

MANIFEST = ".deployed.json"
_SCHEMA = 1
_PART = re.compile(r".+\.part-[0-9a-f]{8}")
# Resending less than this is faster than hashing it on both sides.
_WORTH_RESUMING_BYTES = 4 << 20
_HASH_CHUNK_BYTES = 1 << 20
# Space that must stay free: for job inputs, adapters and the device's own logs.
_MARGIN_BYTES = 16 << 20
# Limits the time for a file: even slow cards and USB 2 are faster than this.
_BASE_TIMEOUT_S = 60.0
_SLOWEST_BYTES_PER_S = 500_000.0

OnProgress = Callable[[str, int, int], None]  # file name, bytes pushed so far, bytes of all files to push


@dataclass(frozen=True)
class DeployFile:
    """A host file to be placed on the device as `name` (relative, with `/`) with exactly this content."""

    source: Path
    name: str
    sha256: str
    size_bytes: int
    executable: bool = False

    def __post_init__(self) -> None:
        parts = self.name.split("/")
        if not self.name or any(part in ("", ".", "..") for part in parts) or "\0" in self.name:
            raise ValueError(f"{self.name!r} is not a relative path of a file to deploy")


@dataclass(frozen=True)
class Deployment:
    """The result of a deploy: names pushed, names already there, bytes pushed, and the time taken."""

    directory: str
    pushed: tuple[str, ...]
    reused: tuple[str, ...]
    pushed_bytes: int
    seconds: float


def deploy(
    transport: Transport,
    files: Sequence[DeployFile],
    directory: str,
    *,
    on_progress: OnProgress | None = None,
    rehash: bool = False,
) -> Deployment:
    """Copies `files` to `directory` of the device, except those already there intact. Raises `DeployError`."""
    start_s = time.monotonic()
    try:
        found = transport.stats([posixpath.join(directory, file.name) for file in files])
        known = _read_manifest(transport, directory) if found and not rehash else {}
        present = _verified(transport, directory, files, found, known)
        wanted = [file for file in files if file.name not in present]
        arrived = _make_ready(transport, directory, wanted)
        total, done = sum(file.size_bytes for file in wanted), 0
        for file in wanted:
            there = arrived.get(_part_of(directory, file), 0)
            present[file.name] = _push(transport, directory, file, there, _progress_of(file, done, total, on_progress))
            done += file.size_bytes
            if file.size_bytes >= _WORTH_RESUMING_BYTES:
                known = _write_manifest(transport, directory, files, present, known)
        _write_manifest(transport, directory, files, present, known)
    except FileError as error:
        raise DeployError(
            f"cannot deploy to {printable(directory)!r}: could not {error.action} {printable(error.path)!r} "
            f"because {error.reason}; {error.remedy}."
        ) from error
    pushed = tuple(file.name for file in wanted)
    reused = tuple(file.name for file in files if file.name not in pushed)
    return Deployment(directory, pushed, reused, total, time.monotonic() - start_s)


def timeout_for(size_bytes: int) -> float:
    """Returns the timeout for copying or hashing this many bytes."""
    return _BASE_TIMEOUT_S + size_bytes / _SLOWEST_BYTES_PER_S


def _part_of(directory: str, file: DeployFile) -> str:
    """Returns the temporary name, which identifies the content."""
    return f"{posixpath.join(directory, file.name)}.part-{file.sha256[:8]}"


def _make_ready(transport: Transport, directory: str, wanted: Sequence[DeployFile]) -> Mapping[str, int]:
    """Makes the folders and room for the `wanted` files, and returns the sizes of their existing temporary files.

    Removes temporary files of other interrupted deploys; as the device is locked, nobody is writing them.
    """
    if not wanted:
        return {}
    parts = {_part_of(directory, file) for file in wanted}
    folders = sorted({posixpath.dirname(part) for part in parts} | {directory})
    listed = transport.list_dirs(folders)
    for folder in folders:
        if folder not in listed and not any(other.startswith(f"{folder}/") for other in folders):
            transport.mkdir(folder)
    there = {
        posixpath.join(folder, name) for folder, names in listed.items() for name in names if _PART.fullmatch(name)
    }
    for path in there - parts:
        transport.remove(path)
    arrived = {path: stat.size_bytes for path, stat in transport.stats(sorted(there & parts)).items()}
    _require_space(transport, directory, sum(file.size_bytes for file in wanted), sum(arrived.values()))
    return arrived


def _resumable_bytes(transport: Transport, part: str, size: int, file: DeployFile) -> int:
    """Returns how many bytes of an interrupted push can be kept, in whole blocks; 0 if they aren't the file's start."""
    if not _WORTH_RESUMING_BYTES <= size <= file.size_bytes:
        return 0
    if transport.sha256(part, timeout_s=timeout_for(size)) != _hash_of_beginning(file.source, size):
        return 0
    return size - size % RESUME_BLOCK_BYTES


def _hash_of_beginning(source: Path, size_bytes: int) -> str:
    digest, rest = hashlib.sha256(), size_bytes
    try:
        with source.open("rb") as stream:
            while rest and (chunk := stream.read(min(rest, _HASH_CHUNK_BYTES))):
                digest.update(chunk)
                rest -= len(chunk)
    except OSError as error:
        raise FileError.from_os_error("read the host's file", str(source), error) from error
    return digest.hexdigest()


def _verified(
    transport: Transport,
    directory: str,
    files: Sequence[DeployFile],
    found: Mapping[str, FileStat],
    known: Mapping[str, dict[str, object]],
) -> dict[str, FileStat]:
    """Returns the stats, by name, of the files on the device whose content is right."""

    def is_right(file: DeployFile, path: str, stat: FileStat) -> bool:
        if stat.size_bytes != file.size_bytes:
            return False
        if known.get(file.name) == _record(file, stat):
            return True
        return transport.sha256(path, timeout_s=timeout_for(file.size_bytes)) == file.sha256

    return {
        file.name: found[path]
        for file in files
        if (path := posixpath.join(directory, file.name)) in found and is_right(file, path, found[path])
    }


def _require_space(transport: Transport, directory: str, needed: int, arrived: int) -> None:
    if not needed:
        return
    free = transport.free_bytes(directory) + arrived
    if free < needed + _MARGIN_BYTES:
        raise DeployError(
            f"{printable(directory)!r} needs {_mb(needed)} MB and {_mb(_MARGIN_BYTES)} MB to spare, but the device has "
            f"{_mb(free)} MB free; free space there or set another `workdir` in the inventory."
        )


def _push(
    transport: Transport,
    directory: str,
    file: DeployFile,
    arrived_bytes: int,
    on_bytes: Callable[[int, int], None] | None,
) -> FileStat:
    part = _part_of(directory, file)
    try:
        return transport.place(
            file.source,
            posixpath.join(directory, file.name),
            part=part,
            sha256=file.sha256,
            timeout_s=2 * timeout_for(file.size_bytes),  # it is copied, and then hashed
            on_progress=on_bytes,
            executable=file.executable,
            offset_bytes=_resumable_bytes(transport, part, arrived_bytes, file),
        )
    except FileError as error:
        with contextlib.suppress(FileError):  # the first failure is reported, and the next deploy removes the file
            transport.remove(part)
        if not isinstance(error, DamagedFile):
            raise
        raise DeployError(
            f"{printable(file.name)!r} arrived with {error.size_bytes} of {file.size_bytes} bytes or with different "
            f"content (its sha256 doesn't start with {file.sha256[:12]}); if it happens again, remove "
            f"{printable(str(file.source.parent))!r} on the host so that it is rebuilt, or check the device's "
            "storage."
        ) from error


def _progress_of(
    file: DeployFile, before: int, total: int, on_progress: OnProgress | None
) -> Callable[[int, int], None] | None:
    if on_progress is None:
        return None
    return lambda done, _size: on_progress(file.name, before + done, total)


def _record(file: DeployFile, stat: FileStat) -> dict[str, object]:
    return {"sha256": file.sha256, "size_bytes": stat.size_bytes, "stamp": stat.stamp}


def _read_manifest(transport: Transport, directory: str) -> Mapping[str, dict[str, object]]:
    """Returns what was verified earlier; nothing if the manifest is missing or damaged, so that all is hashed again."""
    files = read_record(transport, posixpath.join(directory, MANIFEST), _SCHEMA, "files")
    return files if all(isinstance(record, dict) for record in files.values()) else {}


def read_record(transport: Transport, path: str, schema: int, part: str) -> dict[str, Any]:
    """Returns the mapping `part` of our JSON record on the device; nothing if it is missing, damaged or has another
    schema.

    Raises what `read_text` raises otherwise."""
    try:
        document = json.loads(transport.read_text(path))
        return dict(document[part]) if document["schema"] == schema else {}
    except FileError as error:
        if error.cause in (FileCause.MISSING, FileCause.TOO_LARGE):
            return {}
        raise
    except DAMAGED:
        return {}


def _write_manifest(
    transport: Transport,
    directory: str,
    files: Sequence[DeployFile],
    present: Mapping[str, FileStat],
    known: Mapping[str, dict[str, object]],
) -> dict[str, dict[str, object]]:
    """Writes the manifest and returns its content."""
    by_name = {file.name: file for file in files}
    records = dict(known) | {name: _record(by_name[name], stat) for name, stat in present.items()}
    if records != known:
        document = json.dumps({"schema": _SCHEMA, "files": records}, indent=1, sort_keys=True)
        transport.write(posixpath.join(directory, MANIFEST), document.encode())
    return records


def _mb(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:.0f}"
