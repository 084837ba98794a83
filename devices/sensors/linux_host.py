"""The sensors of a Linux host, including the processor's clock and the runner's own memory.

Clock: the frequency of each policy, and counts of thermal throttling (x86). Memory: resident now, its peak, and
swapped out, from /proc/self/status (proc(5)).
"""

from __future__ import annotations

import re
from dataclasses import replace

from devices.inventory.entry import PowerSource
from devices.sensors.battery import Gauge, battery_sensors, chargers_in
from devices.sensors.power_counters import hwmon_sensors, rapl_sensors
from devices.sensors.reading import Texts, Tree
from devices.sensors.spec import METER_REMEDY, Discovery, Gap, Sensor, with_chosen_total
from devices.sensors.thermal import thermal_sensors

_STATUS = "proc/self/status"
# The kernel keeps the peak, and its exact value is read at the end; until then a slow rate is enough.
_FIELDS = (("rss", "VmRSS", 10.0), ("hwm", "VmHWM", 1.0), ("swap", "VmSwap", 1.0))


def memory_sensors(tree: Tree) -> Discovery:
    """Returns the runner's memory sensors for the existing fields, in KiB (`kB` in the file means 1024 bytes)."""
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


_CPUS = "sys/devices/system/cpu"
_POLICIES = f"{_CPUS}/cpufreq"
# 10 MHz to 10 GHz. A clock in MHz or Hz, as from some vendors' drivers, is outside this range.
_PLAUSIBLE_KHZ = (1e4, 1e7)


def frequency_sensors(tree: Tree) -> Discovery:
    """Returns a sensor for each cpufreq policy, in kHz. /proc/cpuinfo won't do: it shows a constant to guests."""
    sensors: list[Sensor] = []
    missing: list[Gap] = []
    policies = tree.names(_POLICIES, r"policy\d+")
    texts = tree.read(f"{_POLICIES}/{policy}/scaling_cur_freq" for policy in policies)
    for policy in policies:
        path, name = f"{_POLICIES}/{policy}/scaling_cur_freq", f"cpu-frequency.{policy}"
        khz = texts.number(path)
        if khz is None or not _is_clock(khz):
            reason = texts.why_not(path) if khz is None else f"/{path} reads {khz:.0f}, which can't be a clock in kHz"
            missing.append(Gap(name, "frequency_khz", reason))
        else:
            method = f"scaling_cur_freq of cpufreq {policy}, as the driver last set or measured it"
            sensors.append(Sensor(name, "frequency_khz", tree.path(path), 1.0, 1.0, method))
    if not policies:
        reason = f"no cpufreq policy in /{_POLICIES}: the frequency isn't visible, which is usual in a virtual machine"
        missing.append(Gap("cpu-frequency", "frequency_khz", reason))
    return Discovery(tuple(sensors), tuple(missing))


def _is_clock(khz: float) -> bool:
    return _PLAUSIBLE_KHZ[0] <= khz <= _PLAUSIBLE_KHZ[1]


def frequency_cap_sensors(tree: Tree) -> Discovery:
    """Returns sensors of the highest frequency each policy allows, in kHz: it drops when the system throttles."""
    policies = tree.names(_POLICIES, r"policy\d+")
    paths = {policy: f"{_POLICIES}/{policy}/scaling_max_freq" for policy in policies}
    texts = tree.read(paths.values())
    method = "scaling_max_freq: the limit set by users and the kernel's cooling"
    return Discovery(
        tuple(
            Sensor(f"cpu-frequency-cap.{policy}", "frequency_cap_khz", tree.path(path), 1.0, 1.0, method)
            for policy, path in paths.items()
            if (khz := texts.number(path)) is not None and _is_clock(khz)
        )
    )


def throttle_sensors(tree: Tree) -> Discovery:
    """Returns the counters of throttling events, by core and by package (arch/x86 thermal_throttle)."""
    cpus = tree.names(_CPUS, r"cpu\d+")
    places = ("thermal_throttle/core_throttle_count", "thermal_throttle/package_throttle_count")
    texts = tree.read(
        f"{_CPUS}/{cpu}/{file}"
        for cpu in cpus
        for file in ("topology/physical_package_id", "topology/core_id", *places)
    )
    sensors: dict[str, Sensor] = {}
    for cpu in cpus:
        package = texts.number(f"{_CPUS}/{cpu}/topology/physical_package_id")
        core = texts.number(f"{_CPUS}/{cpu}/topology/core_id")
        owner = f"package{int(package or 0)}"
        # Hyperthreads share their core's counter, and cores their package's: the first of each is read.
        for name, place in ((f"throttle.{owner}.core{int(core or 0)}", places[0]), (f"throttle.{owner}", places[1])):
            if name not in sensors and texts.number(f"{_CPUS}/{cpu}/{place}") is not None:
                sensors[name] = _counter(tree, name, f"{_CPUS}/{cpu}/{place}")
    if sensors:
        return Discovery(tuple(sensors.values()))
    return Discovery(unavailable=(Gap("throttle", "throttle_events", _no_counters(texts, cpus, places[0])),))


def _counter(tree: Tree, name: str, path: str) -> Sensor:
    method = "the kernel's count of thermal throttling events since boot"
    return Sensor(name, "throttle_events", tree.path(path), 1.0, 1.0, method, form="counter")


def _no_counters(texts: Texts, cpus: tuple[str, ...], place: str) -> str:
    first = f"{_CPUS}/{cpus[0]}/{place}" if cpus else _CPUS
    if texts.by_path.get(first) is not None:
        return f"the kernel counts no throttling here: {texts.why_not(first)}"
    return f"no cpu in /{_CPUS}"


def linux_sensors(tree: Tree, power: PowerSource | None = None) -> Discovery:
    """Returns all sensors of a Linux device: memory, temperature, power, frequency and throttling."""
    chargers = chargers_in(tree)
    gauge = Gauge() if power is None else Gauge(power.scale, power.sign)
    battery, rapl = battery_sensors(tree, gauge, chargers.plugged), rapl_sensors(tree)
    if battery.sensors:
        # A battery's power includes that of the processor, whose counters must not be added to it.
        rapl = Discovery(tuple(replace(sensor, total=False) for sensor in rapl.sensors), rapl.unavailable)
        battery += chargers.sensors
    found = (
        memory_sensors(tree)
        + thermal_sensors(tree)
        + battery
        + rapl
        + hwmon_sensors(tree)
        + clock_sensors(tree)
        + throttle_sensors(tree)
    )
    if not any(sensor.total for sensor in found.sensors) and "power" not in [gap.name for gap in found.unavailable]:
        reason = "no sensor that can be read measures the whole device"
        found += Discovery(unavailable=(Gap("power", "power_mw", reason, METER_REMEDY),))
    return with_chosen_total(found, power)


def clock_sensors(tree: Tree) -> Discovery:
    """Returns the sensors of the cores' clock and of its caps."""
    return frequency_sensors(tree) + frequency_cap_sensors(tree)
