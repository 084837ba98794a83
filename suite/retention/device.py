"""What of a device's cache may go, and why. Everything there can be pushed again from the host."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from devices.cache import Cached, cached, overflow, remove
from devices.connect import Device, connect
from devices.entry import DeviceEntry
from suite.retention.host import Rules


@dataclass(frozen=True)
class DeviceItem:
    """A folder of a device's cache, whether it goes, and why."""

    device: str
    name: str
    size_bytes: int
    goes: bool
    why: str


def survey_device(entry: DeviceEntry, locks: Path, rules: Rules) -> list[DeviceItem]:
    """Everything in the cache of a device. Raises DeviceError (DeviceBusy while a run uses it) and its UserErrors."""
    with connect(entry, locks) as device:
        return [item for item, _ in _judged(device, rules)]


def clear_device(entry: DeviceEntry, locks: Path, rules: Rules, names: Collection[str]) -> int:
    """Removes those of `names` that still have to go -> bytes freed. Raises as `survey_device` does."""
    with connect(entry, locks) as device:
        going = [found for item, found in _judged(device, rules) if item.goes and item.name in names]
        remove(device.transport, device.places, going)
    return sum(item.size_bytes for item in going)


def _judged(device: Device, rules: Rules) -> list[tuple[DeviceItem, Cached]]:
    present = cached(device.transport, device.places)
    limit_mb = device.entry.cache_limit_mb
    over = set() if limit_mb is None else {item.name for item in overflow(present, limit_mb * 10**6, 0, ())}
    judged = []
    for item in present:
        days = None if item.used is None else (rules.now - item.used).total_seconds() / 86400
        told = "no record of its use" if days is None else f"used {max(days, 0):.0f} days ago"
        old = item.used is None or item.used < rules.since
        why = f"{told}, over cache_limit_mb {limit_mb}" if item.name in over else told
        goes = old or item.name in over
        judged.append((DeviceItem(device.entry.name, item.name, item.size_bytes, goes, why), item))
    return judged
