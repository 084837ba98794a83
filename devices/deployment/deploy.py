"""Deploys files to a device by content: nothing is copied twice or left incomplete.

A file is pushed to a temporary name, hashed on the device, and renamed only if the hash is right. After a break in the
middle of a large file, the next deploy hashes what has arrived and, if that is the start of the file, resumes there.
`.deployed.json` beside the files records what was verified: hash, size and change stamp (`FileStat`). The next deploy
checks only size and stamp: a file that has been truncated, written to or replaced has another stamp, is hashed again,
and pushed again if its content changed. Storage that decays without a write goes unnoticed, except with `rehash`.
"""

from __future__ import annotations

import hashlib
import json
import posixpath
import re
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from devices.errors import DeployError, FileCause, FileError
from devices.transports.transport import RESUME_BLOCK_BYTES, FileStat, Transport
from foundation.foreign_files import DAMAGED
from foundation.text import printable

MANIFEST = ".deployed.json"
_SCHEMA = 1
_PART = re.compile(r".+\.part-[0-9a-f]{8}")
# Sending less than this again is faster than hashing it on both sides.
_WORTH_RESUMING_BYTES = 4 << 20
_HASH_CHUNK_BYTES = 1 << 20
# Space that must stay free: for job inputs, adapters and the device's own logs.
_MARGIN_BYTES = 16 << 20
# Limits the time of a file: slow cards and USB 2 are faster than this.
_BASE_TIMEOUT_S = 60.0
_SLOWEST_BYTES_PER_S = 500_000.0

OnProgress = Callable[[str, int, int], None]  # file name, bytes pushed so far, bytes of all files to push


@dataclass(frozen=True)
class DeployFile:
    """A host file that belongs on the device as `name` (relative, with `/`) with exactly this content."""

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
        parts = {_part_of(directory, file) for file in files}
        for folder in sorted({posixpath.dirname(part) for part in parts} | {directory}):
            transport.mkdir(folder)
            _remove_stale_parts(transport, folder, parts)
        known = {} if rehash else _read_manifest(transport, directory)
        present = _verified(transport, directory, files, known)
        wanted = [file for file in files if file.name not in present]
        _require_space(transport, directory, wanted)
        total, done = sum(file.size_bytes for file in wanted), 0
        for file in wanted:
            present[file.name] = _push(transport, directory, file, _progress_of(file, done, total, on_progress))
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
    """Returns the timeout for copying or hashing so many bytes."""
    return _BASE_TIMEOUT_S + size_bytes / _SLOWEST_BYTES_PER_S


def _part_of(directory: str, file: DeployFile) -> str:
    """Returns the temporary name, which identifies the content."""
    return f"{posixpath.join(directory, file.name)}.part-{file.sha256[:8]}"


def _remove_stale_parts(transport: Transport, folder: str, wanted: Collection[str]) -> None:
    """Removes temporary files of interrupted deploys that are not `wanted`; as the device is locked, nobody is writing
    them.
    """
    for name in transport.list_dir(folder):
        path = posixpath.join(folder, name)
        if _PART.fullmatch(name) and path not in wanted:
            transport.remove(path)


def _arrived_bytes(transport: Transport, part: str, file: DeployFile) -> int:
    """Returns how many bytes an interrupted push has copied, in whole blocks; 0 if they aren't the file's start."""
    if file.size_bytes < _WORTH_RESUMING_BYTES or not transport.exists(part):
        return 0
    size = transport.size(part)
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
    transport: Transport, directory: str, files: Sequence[DeployFile], known: Mapping[str, dict[str, object]]
) -> dict[str, FileStat]:
    """Returns the stats, by name, of the files on the device whose content is right."""
    paths = {file.name: posixpath.join(directory, file.name) for file in files}
    found = transport.stats(list(paths.values()))

    def is_right(file: DeployFile, stat: FileStat) -> bool:
        if stat.size_bytes != file.size_bytes:
            return False
        if known.get(file.name) == _record(file, stat):
            return True
        return transport.sha256(paths[file.name], timeout_s=timeout_for(file.size_bytes)) == file.sha256

    return {
        file.name: stat for file in files if (stat := found.get(paths[file.name])) is not None and is_right(file, stat)
    }


def _require_space(transport: Transport, directory: str, wanted: Sequence[DeployFile]) -> None:
    needed = sum(file.size_bytes for file in wanted)
    if not needed:
        return
    parts = transport.existing([_part_of(directory, file) for file in wanted])
    free = transport.free_bytes(directory) + sum(transport.size(part) for part in parts)
    if free < needed + _MARGIN_BYTES:
        raise DeployError(
            f"{printable(directory)!r} needs {_mb(needed)} MB and {_mb(_MARGIN_BYTES)} MB to spare, but the device has "
            f"{_mb(free)} MB free; free space there or set another `workdir` in the inventory."
        )


def _push(
    transport: Transport, directory: str, file: DeployFile, on_bytes: Callable[[int, int], None] | None
) -> FileStat:
    path = posixpath.join(directory, file.name)
    part = _part_of(directory, file)
    timeout_s = timeout_for(file.size_bytes)
    try:
        transport.push(
            file.source,
            part,
            timeout_s=timeout_s,
            on_progress=on_bytes,
            executable=file.executable,
            offset_bytes=_arrived_bytes(transport, part, file),
        )
        digest = transport.sha256(part, timeout_s=timeout_s)
        if digest != file.sha256:
            raise _damaged(transport, file, part)
        transport.rename(part, path)
    except (DeployError, FileError):
        _drop(transport, part)
        raise
    return transport.stat(path)


def _damaged(transport: Transport, file: DeployFile, part: str) -> DeployError:
    size = transport.size(part)
    return DeployError(
        f"{printable(file.name)!r} arrived with {size} of {file.size_bytes} bytes or with another content (its sha256 "
        f"doesn't begin with {file.sha256[:12]}); if it happens again, remove {printable(str(file.source.parent))!r} "
        "on the host so that it is made again, or check the device's storage."
    )


def _drop(transport: Transport, part: str) -> None:
    try:
        transport.remove(part)
    except FileError:
        return  # the first failure is the one to report, and the next deploy removes what is left


def _progress_of(
    file: DeployFile, before: int, total: int, on_progress: OnProgress | None
) -> Callable[[int, int], None] | None:
    if on_progress is None:
        return None
    return lambda done, _size: on_progress(file.name, before + done, total)


def _record(file: DeployFile, stat: FileStat) -> dict[str, object]:
    return {"sha256": file.sha256, "size_bytes": stat.size_bytes, "stamp": stat.stamp}


def _read_manifest(transport: Transport, directory: str) -> Mapping[str, dict[str, object]]:
    """Returns what was verified earlier; nothing if the manifest is missing or damaged, so all is hashed again."""
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
    """What is known then."""
    by_name = {file.name: file for file in files}
    records = dict(known) | {name: _record(by_name[name], stat) for name, stat in present.items()}
    if records != known:
        document = json.dumps({"schema": _SCHEMA, "files": records}, indent=1, sort_keys=True)
        transport.write(posixpath.join(directory, MANIFEST), document.encode())
    return records


def _mb(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:.0f}"
