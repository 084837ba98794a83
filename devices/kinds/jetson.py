"""NVIDIA Jetson boards: power rails of the module, its power mode, and the release of its system."""

from __future__ import annotations

import re
from dataclasses import replace

from devices.checks.facts import Facts, read_facts
from devices.checks.preflight import Check
from devices.inventory.entry import DeviceEntry
from devices.sensors.jetson_jtop import JtopReading, NoJtop, jtop_sensors, read_jtop
from devices.sensors.jetson_rails import jetson_power_sensors
from devices.sensors.linux_host import clock_sensors, memory_sensors
from devices.sensors.reading import Answer, Tree, ask
from devices.sensors.spec import Discovery, Gap, Sensor, with_chosen_total
from devices.sensors.thermal import thermal_sensors
from foundation.text import printable

_RELEASE = "etc/nv_tegra_release"
_RELEASE_LINE = re.compile(r"#\s*R(\d{1,3}) \(release\), REVISION: (\d[\d.]{0,10})", re.ASCII)
# JetPack releases by the major release of L4T that they contain.
_JETPACK = {"28": "3", "32": "4", "34": "5", "35": "5", "36": "6", "38": "7"}
_MODE = "NV Power Mode:"
# A zone whose driver returns a constant on JetPack 4 boards: it would hide the hottest zone.
_CONSTANT_ZONE = "PMIC-Die"


class JetsonKind:
    """Kind `jetson`."""

    governor_remedy: str | None = "sudo jetson_clocks (until the next start)"

    def __init__(self, entry: DeviceEntry) -> None:
        self.entry = entry

    def sensors(self, tree: Tree) -> Discovery:
        found = memory_sensors(tree) + _zones(tree) + jetson_power_sensors(tree) + clock_sensors(tree)
        if self.entry.jtop:
            found = jtop_sensors(read_jtop(tree), found)
        return with_chosen_total(found, self.entry.power)

    def facts(self, tree: Tree) -> Facts:
        facts = read_facts(tree)
        builds = (facts.os_build, _release(tree))
        mode = _mode(tree).text or (_mode_of_jtop(read_jtop(tree)) if self.entry.jtop else None)
        settings = {"power_mode": mode, "zram": _zram(tree)}
        return replace(
            facts,
            os_build="; ".join(build for build in builds if build) or None,
            settings={name: value for name, value in settings.items() if value},
        )

    def checks(self, tree: Tree) -> tuple[Check, ...]:
        zram = _zram(tree)
        jtop = read_jtop(tree) if self.entry.jtop else None
        return (
            _mode_check(_mode(tree), _mode_of_jtop(jtop)),
            Check("zram", "ok", f"{zram}; pages in it count as the runner's memory" if zram else "none"),
            *((_jtop_check(jtop),) if isinstance(jtop, JtopReading) else ()),  # else a gap has the reason
        )

    def cpus(self, tree: Tree) -> tuple[int, ...] | None:
        del tree  # all cores of a module are alike, or the power mode has chosen among them
        return None

    def throttling(self, tree: Tree) -> str | None:
        del tree  # trip points and clock caps are sampled
        return None


def _zones(tree: Tree) -> Discovery:
    found = thermal_sensors(tree)
    gaps = tuple(_offline(gap) for gap in found.unavailable)
    sensors: list[Sensor] = []
    for sensor in found.sensors:
        if sensor.name == _CONSTANT_ZONE:
            gaps += (Gap(sensor.name, "temperature_mc", "its driver returns a constant on this board"),)
        else:
            sensors.append(sensor)
    return Discovery(tuple(sensors), gaps)


def _offline(gap: Gap) -> Gap:
    """Explains readings of -256 degC, which mean that the unit is powered off."""
    return replace(gap, reason=f"{gap.reason} (this unit is offline)") if "-256000 m" in gap.reason else gap


def _release(tree: Tree) -> str | None:
    """Returns the release, such as `L4T 32.7.1 (JetPack 4)`."""
    match = _RELEASE_LINE.match(tree.read([_RELEASE]).text(_RELEASE) or "")
    if match is None:
        return None
    jetpack = f" (JetPack {_JETPACK[match[1]]})" if match[1] in _JETPACK else ""
    return f"L4T {match[1]}.{match[2]}{jetpack}"


def _mode(tree: Tree) -> Answer:
    """Returns the power mode's name and number, such as `MAXN (0)`."""
    nvpmodel = tree.program("nvpmodel")
    if nvpmodel is None:
        return Answer(None, "there is no nvpmodel")
    output = ask(tree, [nvpmodel, "-q"])
    name = output.line(_MODE)
    if not name:
        return Answer(None, output.why_not or "nvpmodel -q names no mode")
    numbers = [line.strip() for line in (output.text or "").splitlines() if line.strip().isdecimal()]
    return Answer(printable(f"{name}{f' ({numbers[-1]})' if numbers else ''}", 60))


def _mode_of_jtop(jtop: JtopReading | NoJtop | None) -> str | None:
    """Returns the mode from jtop's service, which has rights that the user may lack."""
    return jtop.mode if isinstance(jtop, JtopReading) else None


def _mode_check(mode: Answer, of_jtop: str | None) -> Check:
    if mode.text is not None:
        return Check("power mode", "ok", mode.text)
    if of_jtop is not None:
        return Check("power mode", "ok", f"{of_jtop}, as reported by jtop")
    remedy = "let this user run `nvpmodel -q`, so that results of different power modes can be distinguished"
    return Check("power mode", "warning", f"unknown: {mode.why_not}", remedy)


def _jtop_check(reading: JtopReading) -> Check:
    """Returns a check with the current report of jtop's service in one line."""
    rails = ", ".join(f"{name} {value:.0f} mW" for name, value in sorted(reading.rails_mw.items()))
    zones = ", ".join(f"{name} {value:.1f} °C" for name, value in sorted(reading.temperatures_c.items()))
    total = "no power rails" if reading.total_mw is None else f"total {reading.total_mw:.0f} mW"
    parts = (total, rails, zones, reading.mode and f"power mode {reading.mode}", f"every {reading.interval_s:g} s")
    return Check("jtop", "ok", printable("; ".join(part for part in parts if part)))


def _zram(tree: Tree) -> str | None:
    """Describes the compressed swap; None without any."""
    devices = tree.names("sys/block", r"zram\d+")
    texts = tree.read(f"sys/block/{device}/disksize" for device in devices)
    sizes = [texts.number(f"sys/block/{device}/disksize") or 0.0 for device in devices]
    used = [size for size in sizes if size > 0]
    return f"{len(used)} devices, {sum(used) / (1 << 20):.0f} MiB" if used else None
