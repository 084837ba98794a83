"""Android phones: the battery's gauge, the system's reports on heat and chargers, and the big cores."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

from devices.checks.facts import Facts, read_facts
from devices.checks.preflight import Check
from devices.inventory.entry import DeviceEntry
from devices.sensors.battery import (
    BATTERY,
    Chargers,
    Gauge,
    all_chargers,
    battery_sensors,
    charge_of_android,
)
from devices.sensors.linux_host import clock_sensors, memory_sensors
from devices.sensors.power_counters import hwmon_sensors, odpm_sensors
from devices.sensors.reading import Answer, Tree, ask
from devices.sensors.spec import METER_REMEDY, Discovery, Gap, with_chosen_total
from devices.sensors.thermal import (
    level_name,
    thermal_sensors,
    thermal_service_sensors,
    thermal_status,
    why_no_status,
)
from foundation.text import printable

#: The power that a phone can draw; a gauge with any other reading uses another unit or has no value.
PLAUSIBLE_MW = (200.0, 20_000.0)

_SUPPLIES = "sys/class/power_supply"
_CPUS = "sys/devices/system/cpu"
_PROPERTY = re.compile(r"\[([\w.-]{1,100})\]: \[(.{0,300})\]")
_UNPLUG = "unplug the charger"
_OFF_THE_CABLE = (
    "reach the phone over Wi-Fi (`adb tcpip 5555`, then `host` in the inventory) with the cable unplugged, or through "
    "a USB hub that can switch its power off"
)


class AndroidKind:
    """Kind `android`."""

    governor_remedy: str | None = None

    def __init__(self, entry: DeviceEntry) -> None:
        self.entry = entry

    def sensors(self, tree: Tree) -> Discovery:
        dumpsys = tree.program("dumpsys")
        chargers = all_chargers(tree)
        battery = _battery(tree, self._gauge(), chargers)
        if battery.sensors:
            battery += chargers.sensors
        heat = thermal_service_sensors(dumpsys or "", _dumpsys(tree, dumpsys, "thermalservice"))
        power = battery + odpm_sensors(tree) + hwmon_sensors(tree)
        found = memory_sensors(tree) + thermal_sensors(tree) + power + clock_sensors(tree) + heat
        return with_chosen_total(found, self.entry.power)

    def facts(self, tree: Tree) -> Facts:
        facts, known = read_facts(tree), _properties(tree)
        if facts.battery_percent is None or facts.charger_plugged is None:
            facts = _with_battery_service(facts, tree)
        if not known:
            return facts
        board = " ".join(filter(None, (known.get("ro.product.manufacturer"), known.get("ro.product.model"))))
        soc = " ".join(filter(None, (known.get("ro.soc.manufacturer"), known.get("ro.soc.model"))))
        settings = {
            "soc": soc or known.get("ro.board.platform"),
            "android": known.get("ro.build.version.release"),
            "sdk": known.get("ro.build.version.sdk"),
        }
        return replace(
            facts,
            board=board or facts.board,
            os_build=known.get("ro.build.fingerprint") or facts.os_build,
            settings={name: value for name, value in settings.items() if value},
        )

    def checks(self, tree: Tree) -> tuple[Check, ...]:
        output = _dumpsys(tree, tree.program("dumpsys"), "thermalservice")
        status = thermal_status(output)
        if status is None:
            reason, remedy = why_no_status(output)
            heat = Check("thermal status", "warning", f"unknown: {reason}", remedy or "")
        elif status > 0:
            heat = Check("thermal status", "warning", f"{level_name(status)} ({status})", "let the phone cool down")
        else:
            heat = Check("thermal status", "ok", level_name(status))
        return (self._charging(all_chargers(tree)), heat, self._cores(tree))

    def cpus(self, tree: Tree) -> tuple[int, ...] | None:
        """Returns the big cores (all but the slowest kind); None if all cores are alike or unknown."""
        names = tree.names(_CPUS, r"cpu\d+")
        texts = tree.read(f"{_CPUS}/{name}/cpufreq/cpuinfo_max_freq" for name in names)
        highest = {
            int(name.removeprefix("cpu")): khz
            for name in names
            if (khz := texts.number(f"{_CPUS}/{name}/cpufreq/cpuinfo_max_freq"))
        }
        big = tuple(cpu for cpu, khz in sorted(highest.items()) if khz > min(highest.values()))
        return big or None

    def throttling(self, tree: Tree) -> str | None:
        status = thermal_status(_dumpsys(tree, tree.program("dumpsys"), "thermalservice"))
        return f"Android's thermal status is {level_name(status)} ({status})" if status else None

    def _gauge(self) -> Gauge:
        power = self.entry.power
        remedy = f"find unit and sign with `suite devices calibrate {self.entry.name}`, or {METER_REMEDY}"
        return Gauge(
            scale=None if power is None else power.scale,
            sign=None if power is None else power.sign,
            plausible_mw=PLAUSIBLE_MW,
            remedy=remedy,
        )

    def _charging(self, chargers: Chargers) -> Check:
        if chargers.plugged:
            plugged = f"plugged in: {printable(', '.join(chargers.plugged), 80)}; power can't be measured"
            return Check("charger", "warning", plugged, _UNPLUG if self.entry.host else _OFF_THE_CABLE)
        if chargers.is_plugged is None:
            gap = next(iter(chargers.sensors.unavailable), None)
            reason = "neither the kernel nor Android's battery service lists any" if gap is None else gap.reason
            return Check("charger", "warning", f"unknown: {reason}", (gap and gap.remedy) or "")
        return Check("charger", "ok", "none is plugged in")

    def _cores(self, tree: Tree) -> Check:
        if self.entry.cpus is not None:
            return Check("big cores", "ok", "the inventory names the cores")
        big = self.cpus(tree)
        if big is None:
            remedy = "name them as `cpus` in the inventory, if they differ"
            return Check("big cores", "warning", "all cores are alike, or their frequencies can't be read", remedy)
        return Check("big cores", "ok", f"the runner is pinned to {','.join(str(cpu) for cpu in big)}")


def _with_battery_service(facts: Facts, tree: Tree) -> Facts:
    """Fills in battery and charger from Android's service, as the shell often may not read the kernel's files."""
    dumpsys = tree.program("dumpsys")
    output = _dumpsys(tree, dumpsys, "battery")
    charge, plugged = facts.battery_percent, facts.charger_plugged
    return replace(
        facts,
        battery_percent=charge_of_android(output.text or "") if charge is None else charge,
        charger_plugged=all_chargers(tree).is_plugged if plugged is None else plugged,
    )


def _battery(tree: Tree, gauge: Gauge, chargers: Chargers) -> Discovery:
    """Returns the gauge's sensor, or a gap with the reason if the shell may not read the kernel's files."""
    found = battery_sensors(tree, gauge, chargers.plugged)
    if [gap.name for gap in found.unavailable] != [BATTERY]:
        return found
    why_unlisted = tree.why_unlisted(_SUPPLIES)
    if why_unlisted is not None:
        reason = f"the shell can't list /{_SUPPLIES} because {why_unlisted}"
        return Discovery(unavailable=(Gap(BATTERY, "power_mw", reason, METER_REMEDY),))
    return Discovery(unavailable=tuple(replace(gap, remedy=METER_REMEDY) for gap in found.unavailable))


def _dumpsys(tree: Tree, dumpsys: str | None, service: str) -> Answer:
    if dumpsys is None:
        return Answer(None, "there is no dumpsys")
    return ask(tree, [dumpsys, service])


def _properties(tree: Tree) -> Mapping[str, str]:
    getprop = tree.program("getprop")
    text = None if getprop is None else ask(tree, [getprop]).text
    return {match[1]: printable(match[2]) for match in _PROPERTY.finditer(text or "") if match[2].strip()}
