"""Checks before a measurement: each reports what it found and how to fix it, as data rather than an exception.

The checks of clock and load compare two readings taken a moment apart.
"""

from __future__ import annotations

import posixpath
import re
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from devices.checks.facts import Policy, parse_cpu_list, parse_meminfo, read_policies
from devices.errors import FileError
from devices.sensors.reading import Tree, ask, first_number
from foundation.text import printable

Status = Literal["ok", "warning", "failed"]

_CPUS = "sys/devices/system/cpu"
_MEMINFO = "proc/meminfo"
#: Fixes the clock on devices that offer nothing beyond the kernel's files.
GOVERNOR_REMEDY = "echo performance | sudo tee /sys/devices/system/cpu/cpufreq/policy*/scaling_governor"
# Governors that don't let the clock follow the load.
_STEADY_GOVERNORS = frozenset({"performance", "userspace"})


@dataclass(frozen=True)
class Check:
    """One check. `remedy` is an imperative, empty if all is well."""

    name: str
    status: Status
    detail: str
    remedy: str = ""


@dataclass(frozen=True)
class Needs:
    """What a run needs of the device."""

    disk_bytes: int = 0
    memory_bytes: int = 0
    cpus: tuple[int, ...] | None = None
    threads: int | None = None


def check_workdir(tree: Tree, workdir: str) -> Check:
    """Checks that files can be created, read back and removed in the workdir."""
    transport, folder = tree.transport, printable(repr(workdir))
    probe = posixpath.join(workdir, f".probe-{uuid.uuid4().hex[:8]}")
    try:
        transport.mkdir(workdir)
        transport.write(probe, b"probe")
        same = transport.read_bytes(probe) == b"probe"
        transport.remove(probe)
    except FileError as error:
        return Check("workdir", "failed", f"{folder} can't be used because {error.reason}", error.remedy)
    if not same:
        return Check("workdir", "failed", f"{folder} returns different bytes from those written", "check the storage")
    return Check("workdir", "ok", f"{folder} is writable")


def check_disk(tree: Tree, workdir: str, needed_bytes: int) -> Check:
    """Compares free space with what the run will write."""
    try:
        free = tree.transport.free_bytes(workdir)
    except FileError as error:
        return Check("disk", "failed", f"the free space is unknown because {error.reason}", error.remedy)
    detail = f"{free / 1e6:.0f} MB free, {needed_bytes / 1e6:.0f} MB needed"
    if free < needed_bytes:
        return Check("disk", "failed", detail, "free space there or set another `workdir` in the inventory")
    return Check("disk", "ok", detail)


def check_memory(tree: Tree, needed_bytes: int) -> Check:
    """Compares MemAvailable (what programs can get without swapping, proc(5)) with the run's estimated peak."""
    texts = tree.read([_MEMINFO])
    meminfo = parse_meminfo(texts.text(_MEMINFO) or "")
    available_kib = meminfo.get("MemAvailable")
    if available_kib is None:
        return Check("memory", "warning", f"unknown: /{_MEMINFO} has no MemAvailable", "mount /proc on the device")
    detail = f"{available_kib / 1024:.0f} MiB available, {needed_bytes / (1 << 20):.0f} MiB needed"
    if available_kib * 1024 < needed_bytes:
        swap_mib = meminfo.get("SwapFree", 0) / 1024
        remedy = (
            f"end other programs or choose a smaller model, q, b or T ({swap_mib:.0f} MiB of swap can't replace memory)"
        )
        return Check("memory", "failed", detail, remedy)
    return Check("memory", "ok", detail)


def check_cpu_files(tree: Tree) -> Check:
    """Checks the two files in which XNNPACK looks up the number of cores; it fails to load without them."""
    paths = [f"{_CPUS}/possible", f"{_CPUS}/present"]
    texts = tree.read(paths)
    for path in paths:
        text = texts.text(path)
        if text is None or parse_cpu_list(text) is None:
            why = (
                texts.why_not(path)
                if text is None
                else f"/{path} contains {printable(text, 40)!r}, which is not a list of cores"
            )
            return Check("cpu files", "failed", why, "mount /sys on the device and make it readable for this user")
    return Check("cpu files", "ok", f"possible cores {texts.text(paths[0])}, present {texts.text(paths[1])}")


def check_cores(tree: Tree, needs: Needs) -> Check:
    """Checks that the requested cores are online and that there are enough for the threads."""
    path = f"{_CPUS}/online"
    online = parse_cpu_list(tree.read([path]).text(path) or "")
    if online is None:
        return Check("cores", "warning", f"unknown: /{path} can't be read", "mount /sys on the device")
    missing = sorted(set(needs.cpus or ()) - set(online))
    if missing:
        detail = f"cores {_numbers(missing)} are not online (online: {_numbers(online)})"
        return Check("cores", "failed", detail, "correct `cpus` in the inventory or switch those cores on")
    cores = len(needs.cpus or online)
    if needs.threads is not None and needs.threads > cores:
        detail = f"{needs.threads} threads on {cores} core{'' if cores == 1 else 's'} disturb each other"
        return Check("cores", "warning", detail, f"set `threads` to {cores} or less in the inventory")
    return Check("cores", "ok", f"{len(online)} online ({_numbers(online)})")


def check_governor(tree: Tree, remedy: str | None = GOVERNOR_REMEDY) -> Check:
    """Checks that the clock doesn't follow the load.

    `remedy` fixes the clock on such a device; None if its user can't, in which case there is no warning.
    """
    policies = read_policies(tree)
    if not policies:
        return Check(
            "governor", "ok", "no cpufreq here: the clock is set by the host of a virtual machine or by the firmware"
        )
    moving = [policy for policy in policies if not _is_steady(policy)]
    governors = ", ".join(f"{policy.name} {policy.governor or 'unknown'}" for policy in moving or policies)
    if not moving:
        return Check("governor", "ok", governors)
    detail = f"the clock follows the load: {governors}"
    if remedy is None:
        return Check("governor", "ok", f"{detail}; only root could change that here")
    return Check("governor", "warning", detail, remedy)


def _is_steady(policy: Policy) -> bool:
    """Returns whether the clock is fixed: by its governor, or by two limits that are equal."""
    pinned = policy.allowed_min_khz is not None and policy.allowed_min_khz == policy.allowed_max_khz
    return pinned or policy.governor in _STEADY_GOVERNORS


def check_frequency_caps(tree: Tree) -> Check:
    """Checks that no cap keeps the clock below the hardware's maximum."""
    policies = read_policies(tree)
    capped = [
        f"{policy.name} at {policy.allowed_max_khz / 1000:.0f} of {policy.hardware_max_khz / 1000:.0f} MHz"
        for policy in policies
        if policy.allowed_max_khz and policy.hardware_max_khz and policy.allowed_max_khz < policy.hardware_max_khz
    ]
    if capped:
        remedy = "write cpuinfo_max_freq to scaling_max_freq, or leave it and compare only with runs under the same cap"
        return Check("frequency caps", "warning", ", ".join(capped), remedy)
    return Check("frequency caps", "ok", "none" if policies else "not visible")


def _numbers(cpus: Sequence[int]) -> str:
    return ",".join(str(cpu) for cpu in cpus)


_UPTIME, _LOADAVG = "proc/uptime", "proc/loadavg"
# The uptime is read first and last. A single process reads all others: on a phone with hundreds, one for each would be
# a load itself.
_READ_TIME_AND_LOAD = """{
read -r first _ <"$0/uptime"
echo "$first"
cat "$0/stat" "$0"/[0-9]*/stat
echo
read -r last _ <"$0/uptime"
echo "$last"
} 2>/dev/null"""
_PROCESS = re.compile(r"^(\d+) \((.*)\) (.*)$", re.MULTILINE)
_CLOCKSOURCE = "sys/devices/system/clocksource/clocksource0/current_clocksource"
# Clock sources that take microseconds to read or tick in milliseconds.
_POOR_CLOCKSOURCES = frozenset({"jiffies", "hpet", "acpi_pm", "refined-jiffies", "pit"})
_INTERVAL_S = 0.5
# /proc/uptime has hundredths of a second, at both ends; no quartz drifts by 1 %.
_CLOCK_TOLERANCE_S = 0.05
_CLOCK_TOLERANCE = 0.01
_BUSY_SHARE = 0.15
_TICKS_PER_S = 100  # USER_HZ, which is 100 in /proc on all supported machines
_SHOWN_PROCESSES = 3


class Clock(Protocol):
    """The host's time: replaced in tests."""

    def monotonic(self) -> float:
        """Returns the seconds since some fixed point."""

    def sleep(self, seconds: float, /) -> None:
        """Waits."""


@dataclass(frozen=True)
class Look:
    """A reading of time and load: the host's clock before and after, and between them the device's uptime, twice."""

    before_s: float
    after_s: float
    first_uptime_s: float | None
    last_uptime_s: float | None
    busy_ticks: int | None
    all_ticks: int | None
    ticks_by_process: dict[tuple[str, str], int]


def look_twice(tree: Tree, clock: Clock = time) -> tuple[Look, Look]:
    """Returns the device's time and load now, and half a second later."""
    first = _look(tree, clock)
    clock.sleep(_INTERVAL_S)
    return first, _look(tree, clock)


def check_time_and_load(tree: Tree, looks: tuple[Look, Look]) -> tuple[Check, ...]:
    """Runs the checks `clock` and `load`."""
    return (_check_clock(tree, *looks), _check_load(tree, *looks))


def _look(tree: Tree, clock: Clock) -> Look:
    before_s = clock.monotonic()
    answer = ask(tree, ["sh", "-c", _READ_TIME_AND_LOAD, tree.path("proc")])
    after_s = clock.monotonic()
    lines = (answer.text or "").removesuffix("\n").split("\n")
    stats = "\n".join(lines[1:-1])
    total = re.match(r"cpu\s+([\d ]+)", stats, re.ASCII)
    # user nice system idle iowait irq softirq steal; guest time is in user already (proc(5)).
    ticks = [int(word) for word in total[1].split()[:8]] if total else []
    processes = {}
    for pid, name, rest in _PROCESS.findall(stats):
        fields = rest.split()
        if len(fields) > 12 and fields[11].isdecimal() and fields[12].isdecimal():
            processes[pid, name] = int(fields[11]) + int(fields[12])
    return Look(
        before_s,
        after_s,
        first_number(lines[0]),
        first_number(lines[-1]),
        sum(ticks) - sum(ticks[3:5]) if ticks else None,
        sum(ticks) if ticks else None,
        processes,
    )


def _check_clock(tree: Tree, first: Look, second: Look) -> Check:
    source = tree.read([_CLOCKSOURCE]).text(_CLOCKSOURCE)
    remedy = "restart the device and check its clock source"
    uptimes_s = first.first_uptime_s, first.last_uptime_s, second.first_uptime_s, second.last_uptime_s
    if None in uptimes_s:
        return Check("clock", "warning", f"unknown: /{_UPTIME} contains no number", "mount /proc on the device")
    begin_s, end_of_first_s, begin_of_second_s, end_s = (uptime_s or 0.0 for uptime_s in uptimes_s)
    shortest_s = (second.before_s - first.after_s) * (1 - _CLOCK_TOLERANCE) - _CLOCK_TOLERANCE_S
    longest_s = (second.after_s - first.before_s) * (1 + _CLOCK_TOLERANCE) + _CLOCK_TOLERANCE_S
    between_s, in_all_s = begin_of_second_s - end_of_first_s, end_s - begin_s
    if between_s < shortest_s or in_all_s > longest_s:
        passed_s = between_s if between_s < shortest_s else in_all_s
        detail = f"{passed_s:.2f} s passed on the device while {shortest_s:.2f} to {longest_s:.2f} s were possible"
        return Check("clock", "failed", detail, remedy)
    if source in _POOR_CLOCKSOURCES:
        detail = f"the clock source {source} is slow or coarse"
        return Check("clock", "warning", detail, "boot with another clock source (clocksource=tsc or arch_sys_counter)")
    name = printable(source, 40) if source else "unknown"
    return Check("clock", "ok", f"keeps time with the host; clock source {name}")


def _check_load(tree: Tree, first: Look, second: Look) -> Check:
    load = printable(" ".join((tree.read([_LOADAVG]).text(_LOADAVG) or "unknown").split()[:3]), 40)
    if first.all_ticks is None or second.all_ticks is None or first.busy_ticks is None or second.busy_ticks is None:
        return Check("load", "warning", "unknown: /proc/stat can't be read", "mount /proc on the device")
    passed = second.all_ticks - first.all_ticks
    share = (second.busy_ticks - first.busy_ticks) / passed if passed > 0 else 0.0
    detail = f"{100 * share:.0f} % of the cores' time is in use (load average {load})"
    if share <= _BUSY_SHARE:
        return Check("load", "ok", detail)
    busiest = _busiest(first, second)
    remedy = (
        f"end or pause {busiest}"
        if busiest
        else "find out what is running there (`top`), or on the host of a virtual machine"
    )
    return Check("load", "warning", f"{detail}, which disturbs measurements", remedy)


def _busiest(first: Look, second: Look) -> str:
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
