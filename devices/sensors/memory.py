"""Memory of the runner itself, from /proc/self/status (proc(5)): resident now, its peak, and swapped out."""

from __future__ import annotations

import re

from devices.sensors.spec import Discovery, Gap, Sensor
from devices.sensors.tree import Tree

_STATUS = "proc/self/status"
# The peak is kept by the kernel and read exactly at the end; on the way a slow look at it is enough.
_FIELDS = (("rss", "VmRSS", 10.0), ("hwm", "VmHWM", 1.0), ("swap", "VmSwap", 1.0))


def memory_sensors(tree: Tree) -> Discovery:
    """Samples are KiB (the file says `kB` and means 1024 bytes). A kernel without a field has none of that sensor."""
    texts = tree.read([_STATUS])
    status = texts.text(_STATUS)
    sensors: list[Sensor] = []
    missing: list[Gap] = []
    for name, field, rate_hz in _FIELDS:
        if status is not None and re.search(rf"^{field}:\s+\d+ kB$", status, re.MULTILINE):
            method = f"{field} of the runner from /proc/self/status, counted by the kernel page by page"
            path = tree.path(_STATUS)
            sensors.append(Sensor(f"memory.{name}", "memory_kib", path, 1.0, rate_hz, method, field=field))
        else:
            reason = texts.why_not(_STATUS) if status is None else f"/{_STATUS} has no line {field}"
            missing.append(Gap(f"memory.{name}", "memory_kib", reason, "mount /proc on the device"))
    return Discovery(tuple(sensors), tuple(missing))
