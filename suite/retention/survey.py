"""Finds what may be removed from a home's folders and a device's cache, and why, and removes it.

On the host these are programs and runners that were not used recently, and leftovers of interrupted work. On a device,
everything can be pushed again. Each item is removed or compressed completely, or stays with a reason.
"""

from __future__ import annotations

import gzip
import os
import shutil
import zlib
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

from filelock import FileLock, Timeout

from devices.access.connect import Device, connect
from devices.deployment.cache import Cached, cached, overflow, remove
from devices.inventory.entry import DeviceEntry
from foundation.atomic import replacing
from suite.errors import StoreError
from suite.home import Home
from suite.retention.needed_programs import Baselines, MadeWith, baselines, ended_runs, last_uses, open_programs
from suite.store.store import Store
from workloads.export.artifact import ArtifactCache
from workloads.export.data_files import FOLDER as DATA_FOLDER
from workloads.export.staging import stage_lock, staged

Action = Literal["remove", "compress", "keep"]
What = Literal["program", "weights", "runner", "left over", "raw output"]

_RAW = ".jsonl"
_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True)
class Item:
    """A file or folder of the home, what happens to it, and why."""

    what: What
    action: Action
    path: Path
    size_bytes: int
    why: str


@dataclass(frozen=True)
class Rules:
    """`keep_days`: how long programs and runners stay after their last use. `now`: the current time."""

    keep_days: float
    now: datetime

    @property
    def since(self) -> datetime:
        """The time after which anything that was used stays."""
        return self.now - timedelta(days=self.keep_days)


def survey(home: Home, store: Store | None, rules: Rules) -> list[Item]:
    """Returns every program, runner and raw output in the home with its action. Changes nothing."""
    found = [*_left_over(home)]
    programs, runners = _folders(home.artifacts), _folders(home.runner)
    uses: tuple[dict[str, str], dict[str, str]] = ({}, {})
    needed, resumable = Baselines(), set[str]()
    if store is not None:
        names = ({path.name for path in programs}, {path.name for path in runners})
        needed = baselines(store, lambda made: _is_there(made, *names))
        uses, resumable = last_uses(store), open_programs(store)
        found += _raw_output(home, ended_runs(store))
    kept: list[Path] = []
    for path in programs:
        reason = "a run that can be resumed needs it" if path.name in resumable else _needed_by(needed.artifacts, path)
        found.append(_item("program", path, uses[0].get(path.name), reason, rules))
        kept += [path] if found[-1].action == "keep" else []
    found += _data_files(home, kept, rules)
    for path in runners:
        found.append(_item("runner", path, uses[1].get(path.name), _needed_by(needed.runners, path), rules))
    return found


def spare(items: Iterable[Item]) -> list[Item]:
    """Returns the items as they are during a run, when all programs, weights and runners stay."""
    in_progress = "a run in progress may need it"
    return [
        replace(item, action="keep", why=in_progress)
        if item.action == "remove" and item.what in ("program", "weights", "runner")
        else item
        for item in items
    ]


def _size_of(path: Path) -> int:
    """Returns the bytes of a file, or of all files in a folder. Links are not followed."""
    if path.is_symlink() or path.is_file():
        return path.lstat().st_size
    return sum(item.lstat().st_size for item in path.rglob("*") if item.is_symlink() or item.is_file())


def _folders(root: Path) -> list[Path]:
    """Returns the folders named by a hash, without hidden ones and the cache of wheels."""
    return sorted(path for path in root.iterdir() if path.is_dir() and not path.is_symlink() and _is_hash(path.name))


def _data_files(home: Home, programs: Sequence[Path], rules: Rules) -> Iterator[Item]:
    """Yields the data files. Those of `programs`, which stay, stay too."""
    cache = ArtifactCache(home.artifacts)
    users = Counter(file.hash for path in programs for file in cache.data_of(path.name))
    for path in _folders(cache.data.root) if cache.data.root.is_dir() else ():
        count = users[path.name]
        needed = f"{count} {'program that stays needs' if count == 1 else 'programs that stay need'} it"
        yield _item("weights", path, None, needed if count else None, rules)


def _is_hash(name: str) -> bool:
    return len(name) == 32 and set(name) <= set("0123456789abcdef")


def _is_there(made: MadeWith, programs: set[str], runners: set[str]) -> bool:
    """Returns whether program and runner still exist. A runner of unknown hash is a device's own, which is ignored."""
    return made.artifact in programs and (made.runner is None or made.runner in runners)


def _needed_by(needed: dict[str, str], path: Path) -> str | None:
    series = needed.get(path.name)
    return None if series is None else f"baseline of {series}"


def _item(what: What, path: Path, used: str | None, needed: str | None, rules: Rules) -> Item:
    made = datetime.fromtimestamp(path.stat().st_mtime, UTC)
    last = max(made, datetime.fromisoformat(used)) if used is not None else made
    days = (rules.now - last).total_seconds() / 86400
    age = f"{'made' if used is None or last == made else 'used'} {max(days, 0):.0f} days ago"
    if needed is not None:
        return Item(what, "keep", path, _size_of(path), needed)
    if last >= rules.since:
        return Item(what, "keep", path, _size_of(path), age)
    if _is_locked(path.with_name(f".{path.name}.lock")):
        return Item(what, "keep", path, _size_of(path), "it is being made")
    return Item(what, "remove", path, _size_of(path), f"{age}, not the baseline of any series")


def _left_over(home: Home) -> Iterator[Item]:
    """Yields leftovers of killed exports and builds. Those in progress hold their locks."""
    for path in (*staged(home.artifacts), *staged(home.artifacts / DATA_FOLDER)):
        if not _is_locked(stage_lock(path)):
            yield Item("left over", "remove", path, _size_of(path), "left by an interrupted export")
    for path in sorted(item for root in _roots(home) for item in root.glob(".going-*")):
        yield Item("left over", "remove", path, _size_of(path), "left by an interrupted removal")
    building = any(_is_locked(path) for path in home.runner.glob(".*.lock"))
    for path in sorted(home.runner.glob(".building-*")):
        if not building:
            yield Item("left over", "remove", path, _size_of(path), "left by an interrupted build")


def _roots(home: Home) -> tuple[Path, ...]:
    """Returns the folders whose contents are removed by name."""
    return home.artifacts, home.artifacts / DATA_FOLDER, home.runner


def _raw_output(home: Home, ended: frozenset[str]) -> Iterator[Item]:
    runs = home.root / "runs"
    for path in sorted(runs.glob(f"*/*{_RAW}")):
        if path.is_file() and not path.is_symlink() and path.parent.name in ended:
            yield Item("raw output", "compress", path, _size_of(path), "its run has ended")


def _is_locked(path: Path) -> bool:
    if not path.exists():
        return False
    try:
        with FileLock(path, timeout=0):
            return False
    except Timeout:
        return True


@dataclass(frozen=True)
class DeviceItem:
    """A folder in a device's cache, whether to remove it, and why."""

    device: str
    name: str
    size_bytes: int
    goes: bool
    why: str


def survey_device(entry: DeviceEntry, locks: Path, rules: Rules) -> list[DeviceItem]:
    """Returns everything in a device's cache.

    Raises DeviceError (DeviceBusy while a run uses it) and its UserErrors.
    """
    with connect(entry, locks) as device:
        return [item for item, _ in _cache_verdict(device, rules)]


def clear_device(entry: DeviceEntry, locks: Path, rules: Rules, names: Collection[str]) -> list[DeviceItem]:
    """Removes those of `names` that are still removable, and returns them. Raises what `survey_device` raises."""
    with connect(entry, locks) as device:
        going = [(item, found) for item, found in _cache_verdict(device, rules) if item.goes and item.name in names]
        remove(device.transport, device.places, [found for _, found in going])
    return [item for item, _ in going]


def _cache_verdict(device: Device, rules: Rules) -> list[tuple[DeviceItem, Cached]]:
    present = cached(device.transport, device.places)
    limit_mb = device.entry.cache_limit_mb
    over = set() if limit_mb is None else {item.name for item in overflow(present, limit_mb * 10**6, 0, ())}
    items = []
    for item in present:
        days = None if item.used is None else (rules.now - item.used).total_seconds() / 86400
        use = "no record of its use" if days is None else f"used {max(days, 0):.0f} days ago"
        old = item.used is None or item.used < rules.since
        why = f"{use}, over cache_limit_mb {limit_mb}" if item.name in over else use
        goes = old or item.name in over
        items.append((DeviceItem(device.entry.name, item.name, item.size_bytes, goes, why), item))
    return items


@dataclass(frozen=True)
class Done:
    """The bytes freed, a sentence for each item that could not be removed, and the items that were."""

    freed_bytes: int = 0
    failures: tuple[str, ...] = ()
    items: tuple[Item, ...] = ()


def carry_out(items: Iterable[Item]) -> Done:
    """Carries out the items' actions. Failures are reported and do not stop the others."""
    freed, failures, done = 0, [], []
    for item in items:
        try:
            if item.action == "remove":
                _remove(item.path)
                freed += item.size_bytes
            elif item.action == "compress":
                freed += item.size_bytes - compress(item.path)
            done += [item] if item.action != "keep" else []
        except OSError as error:
            failures.append(
                f"{item.path} was not changed ({error.strerror or error}, error {error.errno}): make it writable, or "
                "free some space"
            )
        except StoreError as error:
            failures.append(str(error))
    return Done(freed, tuple(failures), tuple(done))


def compress(path: Path) -> int:
    """Replaces a file by `path`.gz after verifying that, and returns its size. Raises OSError, with the file in place.

    Raises StoreError if the compressed file does not match.
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
        raise StoreError(f"{path} changed when it was compressed, so the original stays: check the disk")
    path.unlink()
    return target.stat().st_size


def _checksum(read: Callable[[int], bytes]) -> tuple[int, int]:
    value = length = 0
    while chunk := read(_CHUNK_BYTES):
        value, length = zlib.crc32(chunk, value), length + len(chunk)
    return value, length


def _remove(path: Path) -> None:
    """Removes a file or folder. A folder is renamed first, so that a partly removed one is never taken for complete."""
    if path.is_dir() and not path.is_symlink():
        going = path.with_name(f".going-{path.name.lstrip('.')}")
        if going.exists():
            shutil.rmtree(going)
        path.rename(going)
        shutil.rmtree(going)
    else:
        path.unlink(missing_ok=True)
