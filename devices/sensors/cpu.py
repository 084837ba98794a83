"""What the processor's clock does: frequency of each policy, and counts of thermal throttling (x86)."""

from __future__ import annotations

from devices.sensors.spec import Discovery, Gap, Sensor
from devices.sensors.tree import Texts, Tree

_CPUS = "sys/devices/system/cpu"
_POLICIES = f"{_CPUS}/cpufreq"


def frequency_sensors(tree: Tree) -> Discovery:
    """One sensor per cpufreq policy, in kHz. /proc/cpuinfo is no substitute: guests see a constant there."""
    sensors: list[Sensor] = []
    missing: list[Gap] = []
    policies = tree.names(_POLICIES, r"policy\d+")
    texts = tree.read(f"{_POLICIES}/{policy}/scaling_cur_freq" for policy in policies)
    for policy in policies:
        path, name = f"{_POLICIES}/{policy}/scaling_cur_freq", f"cpu-frequency.{policy}"
        if not texts.number(path):
            reason = f"/{path} reads 0" if texts.number(path) == 0 else texts.why_not(path)
            missing.append(Gap(name, "frequency_khz", reason))
        else:
            method = f"scaling_cur_freq of cpufreq {policy}, as the driver last set or measured it"
            sensors.append(Sensor(name, "frequency_khz", tree.path(path), 1.0, 1.0, method))
    if not policies:
        reason = f"no cpufreq policy in /{_POLICIES}: the frequency isn't visible, as is usual in a virtual machine"
        missing.append(Gap("cpu-frequency", "frequency_khz", reason))
    return Discovery(tuple(sensors), tuple(missing))


def frequency_cap_sensors(tree: Tree) -> Discovery:
    """The highest frequency that each policy allows now, in kHz: it falls when the system holds the clock back."""
    policies = tree.names(_POLICIES, r"policy\d+")
    paths = {policy: f"{_POLICIES}/{policy}/scaling_max_freq" for policy in policies}
    texts = tree.read(paths.values())
    method = "scaling_max_freq: what users and the kernel's cooling allow"
    return Discovery(
        tuple(
            Sensor(f"cpu-frequency-cap.{policy}", "frequency_cap_khz", tree.path(path), 1.0, 1.0, method)
            for policy, path in paths.items()
            if texts.number(path)
        )
    )


def throttle_sensors(tree: Tree) -> Discovery:
    """Counters of throttling events, one per core and one per package (arch/x86 thermal_throttle)."""
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
        # Hyperthreads share their core's counter, and cores their package's: the first of each stands for all.
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
