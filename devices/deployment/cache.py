"""The cache of programs, data files and runners on a device: their folders, last uses, and what to remove first."""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from devices.deployment.deploy import MANIFEST, read_record
from devices.errors import DeployError, FileCause, FileError
from devices.transports.transport import Transport
from foundation.foreign_files import DAMAGED
from foundation.text import printable


@dataclass(frozen=True)
class Places:
    """Paths on the device. A job in `jobs/ID/` reaches its program as `../../artifacts/HASH/program.pte`."""

    workdir: str

    def artifact(self, artifact_hash: str) -> str:
        """The folder of a program."""
        return posixpath.join(self.workdir, "artifacts", artifact_hash)

    def weights(self, data_hash: str) -> str:
        """The folder of a data file, which several programs may share."""
        return posixpath.join(self.workdir, "weights", data_hash)

    def runner(self, runner_hash: str) -> str:
        """The folder of a runner with its libraries."""
        return posixpath.join(self.workdir, "runner", runner_hash)

    def job(self, session: str) -> str:
        """The folder of one session's job file and inputs."""
        return posixpath.join(self.workdir, "jobs", session)

    @property
    def pid_file(self) -> str:
        """The file that identifies the running runner; there is at most one on a device."""
        return posixpath.join(self.workdir, "runner.pid")

    @property
    def hold(self) -> str:
        """The folder of holds (devices/transports/hold.py)."""
        return posixpath.join(self.workdir, "hold")


USES = "cache.json"
KINDS = ("artifacts", "weights", "runner")
_NAME = re.compile(r"[0-9A-Za-z][0-9A-Za-z_-]{0,127}")
_SCHEMA = 1
_NEVER = datetime.fromtimestamp(0, UTC)
_MB = 10**6


@dataclass(frozen=True)
class Cached:
    """A folder below the workdir, such as `artifacts/HASH`. `used` is None if unknown."""

    name: str
    size_bytes: int
    used: datetime | None


def cached(transport: Transport, places: Places) -> list[Cached]:
    """Lists the cache, least recently used first. Raises DeviceError.

    Sizes come from the manifests; a folder without one has the size of the files in it.
    """
    names = _folders(transport, places)
    folders = {name: posixpath.join(places.workdir, name) for name in names}
    texts = transport.read_texts([posixpath.join(folder, MANIFEST) for folder in folders.values()]) if names else {}
    uses = _read_uses(transport, places)
    found = [
        Cached(name, _size(transport, folder, texts.get(posixpath.join(folder, MANIFEST))), uses.get(name))
        for name, folder in folders.items()
    ]
    return sorted(found, key=lambda item: (item.used or _NEVER, item.name))


def mark_used(transport: Transport, places: Places, names: Iterable[str], now: datetime) -> None:
    """Records that these were used at `now`, and forgets folders that are gone. Raises DeviceError."""
    there = set(_folders(transport, places))
    known = {name: used for name, used in _read_uses(transport, places).items() if name in there}
    known |= dict.fromkeys(names, now)
    document = {"schema": _SCHEMA, "used": {name: used.isoformat() for name, used in sorted(known.items())}}
    transport.write(posixpath.join(places.workdir, USES), json.dumps(document, indent=1).encode())


def overflow(present: Sequence[Cached], limit_bytes: int, needed_bytes: int, kept: Collection[str]) -> list[Cached]:
    """Returns what to remove so that `needed_bytes` more fit into the limit: the first of `present` not in `kept`.

    Raises DeployError if that is not enough.
    """
    total = sum(item.size_bytes for item in present) + needed_bytes
    going: list[Cached] = []
    for item in present:
        if total <= limit_bytes:
            break
        if item.name not in kept:
            going.append(item)
            total -= item.size_bytes
    if total > limit_bytes:
        raise DeployError(
            f"{total / _MB:.0f} MB of programs and runners would have to be on the device at once, but its "
            f"`cache_limit_mb` is {limit_bytes / _MB:.0f}: raise it in the inventory, or measure fewer settings."
        )
    return going


def make_room(
    transport: Transport, places: Places, limit_mb: int | None, wanted: str, size_bytes: int, kept: Collection[str]
) -> list[Cached]:
    """Removes the least recently used, except `kept`, until `wanted` fits; returns them. Raises DeviceError."""
    if limit_mb is None:
        return []
    present = cached(transport, places)
    there = next((item.size_bytes for item in present if item.name == wanted), 0)
    going = overflow(present, limit_mb * _MB, max(0, size_bytes - there), {wanted, *kept})
    remove(transport, places, going)
    return going


def remove(transport: Transport, places: Places, items: Iterable[Cached]) -> None:
    """Removes the folders, each manifest first, so that a half-removed one is pushed again. Raises DeviceError."""
    for item in items:
        folder = posixpath.join(places.workdir, item.name)
        transport.remove(posixpath.join(folder, MANIFEST))
        transport.remove(folder, recursive=True)


def _folders(transport: Transport, places: Places) -> list[str]:
    """Lists `KIND/HASH` for each of KINDS; anything with another name is not ours and never removed."""
    folders = {kind: posixpath.join(places.workdir, kind) for kind in KINDS}
    listed = transport.list_dirs(list(folders.values()))
    return [
        f"{kind}/{name}"
        for kind, folder in folders.items()
        for name in listed.get(folder) or _listed(transport, folder)  # raises unless the folder is empty or missing
        if _NAME.fullmatch(name)
    ]


def _listed(transport: Transport, folder: str) -> tuple[str, ...]:
    try:
        return transport.list_dir(folder)
    except FileError as error:
        if error.cause is FileCause.MISSING:
            return ()
        raise


def _size(transport: Transport, folder: str, manifest: str | FileError | None) -> int:
    if isinstance(manifest, str):
        try:
            records = json.loads(manifest)["files"].values()
            return sum(int(record["size_bytes"]) for record in records)
        except DAMAGED:
            pass  # a damaged manifest counts as none
    return sum(_size_of_file(transport, posixpath.join(folder, name)) for name in _listed(transport, folder))


def _size_of_file(transport: Transport, path: str) -> int:
    """Returns the size, 0 if it is not a file."""
    try:
        return transport.size(path)
    except FileError:
        return 0


def _read_uses(transport: Transport, places: Places) -> dict[str, datetime]:
    """Returns the last uses; nothing if the file is missing or damaged, so that everything counts as unused."""
    used = read_record(transport, posixpath.join(places.workdir, USES), _SCHEMA, "used")
    try:
        return {printable(name): _time(at) for name, at in used.items()}
    except (ValueError, TypeError):
        return {}


def _time(text: str) -> datetime:
    found = datetime.fromisoformat(text)
    if found.tzinfo is None:
        raise ValueError("a time without its zone")
    return found
