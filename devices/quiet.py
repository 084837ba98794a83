"""Does the device keep time, and is it quiet? Two looks a moment apart, as the rates are what matters.

The load average is only told, never judged: for minutes it remembers the export that has just ended.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from typing import Protocol

from devices.preflight import Check
from devices.sensors.tree import Tree
from foundation.text import printable

_UPTIME, _STAT, _LOADAVG = "proc/uptime", "proc/stat", "proc/loadavg"
_CLOCKSOURCE = "sys/devices/system/clocksource/clocksource0/current_clocksource"
# Clock sources that take microseconds to read, or tick in milliseconds.
_POOR_CLOCKSOURCES = frozenset({"jiffies", "hpet", "acpi_pm", "refined-jiffies", "pit"})
_INTERVAL_S = 0.5
# /proc/uptime has hundredths of a second, at both ends; 1 % is far more than any quartz drifts.
_CLOCK_TOLERANCE_S = 0.05
_CLOCK_TOLERANCE = 0.01
_BUSY_SHARE = 0.15
_TICKS_PER_S = 100  # USER_HZ, which Linux fixes for /proc on all of our machines
_SHOWN_PROCESSES = 3


class Clock(Protocol):
    """The host's time: replaced in tests."""

    def monotonic(self) -> float:
        """Seconds since some point."""

    def sleep(self, seconds: float, /) -> None:
        """Waits."""


@dataclass(frozen=True)
class _Look:
    before_s: float
    after_s: float
    uptime_s: float | None
    busy_ticks: int | None
    all_ticks: int | None
    ticks_by_process: dict[tuple[str, str], int]


def check_time_and_load(tree: Tree, clock: Clock = time) -> tuple[Check, ...]:
    """The checks `clock` and `load`; takes half a second."""
    first = _look(tree, clock)
    clock.sleep(_INTERVAL_S)
    second = _look(tree, clock)
    return (_check_clock(tree, first, second), _check_load(tree, first, second))


def _look(tree: Tree, clock: Clock) -> _Look:
    pids = tree.names("proc", r"\d+")
    before_s = clock.monotonic()
    texts = tree.read([_UPTIME])
    after_s = clock.monotonic()
    more = tree.read([_STAT, *(f"proc/{pid}/stat" for pid in pids)])
    total = re.match(r"cpu\s+([\d ]+)", more.text(_STAT) or "", re.ASCII)
    # user nice system idle iowait irq softirq steal; guest time is in user already (proc(5)).
    ticks = [int(word) for word in total[1].split()[:8]] if total else []
    processes = {}
    for pid in pids:
        name, _, rest = (more.text(f"proc/{pid}/stat") or "").rpartition(")")
        fields = rest.split()
        if len(fields) > 12 and fields[11].isdecimal() and fields[12].isdecimal():
            processes[pid, name.partition("(")[2]] = int(fields[11]) + int(fields[12])
    return _Look(
        before_s,
        after_s,
        texts.number(_UPTIME),
        sum(ticks) - sum(ticks[3:5]) if ticks else None,
        sum(ticks) if ticks else None,
        processes,
    )


def _check_clock(tree: Tree, first: _Look, second: _Look) -> Check:
    source = tree.read([_CLOCKSOURCE]).text(_CLOCKSOURCE)
    remedy = "restart the device, and check its clock source"
    if first.uptime_s is None or second.uptime_s is None:
        return Check("clock", "warning", f"unknown: /{_UPTIME} holds no number", "mount /proc on the device")
    passed_s = second.uptime_s - first.uptime_s
    shortest_s = (second.before_s - first.after_s) * (1 - _CLOCK_TOLERANCE) - _CLOCK_TOLERANCE_S
    longest_s = (second.after_s - first.before_s) * (1 + _CLOCK_TOLERANCE) + _CLOCK_TOLERANCE_S
    if not shortest_s <= passed_s <= longest_s:
        detail = f"{passed_s:.2f} s passed on the device while {shortest_s:.2f} to {longest_s:.2f} s were possible"
        return Check("clock", "failed", detail, remedy)
    if source in _POOR_CLOCKSOURCES:
        detail = f"the clock source {source} is slow to read or coarse"
        return Check("clock", "warning", detail, "boot with another clock source (clocksource=tsc or arch_sys_counter)")
    shown = printable(source, 40) if source else "unknown"
    return Check("clock", "ok", f"keeps time with the host; clock source {shown}")


def _check_load(tree: Tree, first: _Look, second: _Look) -> Check:
    load = printable(" ".join((tree.read([_LOADAVG]).text(_LOADAVG) or "unknown").split()[:3]), 40)
    if first.all_ticks is None or second.all_ticks is None or first.busy_ticks is None or second.busy_ticks is None:
        return Check("load", "warning", f"unknown: /{_STAT} can't be read", "mount /proc on the device")
    passed = second.all_ticks - first.all_ticks
    share = (second.busy_ticks - first.busy_ticks) / passed if passed > 0 else 0.0
    detail = f"{100 * share:.0f} % of the cores' time is in use (load average {load})"
    if share <= _BUSY_SHARE:
        return Check("load", "ok", detail)
    busiest = _busiest(first, second)
    remedy = (
        f"end or pause {busiest}"
        if busiest
        else "find out what runs there (`top`), or on the host of a virtual machine"
    )
    return Check("load", "warning", f"{detail}, which disturbs what is measured", remedy)


def _busiest(first: _Look, second: _Look) -> str:
    interval_s = second.before_s - first.before_s
    used = {
        key: (ticks - first.ticks_by_process[key]) / _TICKS_PER_S / interval_s
        for key, ticks in second.ticks_by_process.items()
        if key in first.ticks_by_process and interval_s > 0
    }
    busy = sorted((share, key) for key, share in used.items() if share > _BUSY_SHARE)[::-1]
    return ", ".join(
        f"process {pid} ({printable(name, 40)}, {100 * share:.0f} % of a core)"
        for share, (pid, name) in busy[:_SHOWN_PROCESSES]
    )
