"""Raspberry Pi boards: what the firmware reports, and power where the board can measure it."""

from __future__ import annotations

import re

from devices.checks.facts import Facts, device_tree_paths, device_tree_text, read_facts
from devices.checks.preflight import GOVERNOR_REMEDY, Check
from devices.inventory.entry import DeviceEntry
from devices.sensors.linux_host import clock_sensors, memory_sensors
from devices.sensors.power_counters import hwmon_sensors
from devices.sensors.raspberrypi_firmware import (
    GET_IT,
    JOIN_VIDEO,
    NOT_THERE,
    SINCE_BOOT,
    find_vcgencmd,
    firmware_sensors,
    flag_names,
    pmic_sensors,
    throttled_flags,
    why_no_flags,
)
from devices.sensors.reading import Tree
from devices.sensors.spec import METER_REMEDY, Discovery, Gap, with_chosen_total
from devices.sensors.thermal import thermal_sensors
from foundation.text import printable

_GENERATION = re.compile(r"Raspberry Pi (?:Compute Module )?(\d)", re.ASCII)
_WITH_POWER_CHIP = 5
_POWER_REMEDY = "use the power supply that belongs to the board, and a short cable"


class RaspberryPiKind:
    """Kind `raspberrypi`."""

    governor_remedy: str | None = GOVERNOR_REMEDY

    def __init__(self, entry: DeviceEntry) -> None:
        self.entry = entry

    def sensors(self, tree: Tree) -> Discovery:
        vcgencmd = find_vcgencmd(tree)
        discovery = (
            memory_sensors(tree)
            + thermal_sensors(tree)
            + _power(tree, vcgencmd)
            + hwmon_sensors(tree)
            + clock_sensors(tree)
            + firmware_sensors(tree, vcgencmd)
        )
        return with_chosen_total(discovery, self.entry.power)

    def facts(self, tree: Tree) -> Facts:
        return read_facts(tree)

    def checks(self, tree: Tree) -> tuple[Check, ...]:
        vcgencmd = find_vcgencmd(tree)
        if vcgencmd is None:
            return (Check("throttling", "warning", f"unknown: {NOT_THERE}", GET_IT),)
        flags = throttled_flags(tree, vcgencmd)
        if flags is None:
            return (Check("throttling", "warning", f"unknown: {why_no_flags(tree, vcgencmd)}", JOIN_VIDEO),)
        now, since_boot = flag_names(flags), flag_names(flags, SINCE_BOOT)
        if not now and not since_boot:
            return (Check("throttling", "ok", "none since boot"),)
        detail = f"now: {', '.join(now) or 'none'}; since boot: {', '.join(since_boot) or 'none'} (0x{flags:x})"
        remedy = _POWER_REMEDY if "under-voltage" in (*now, *since_boot) else "cool the board"
        return (Check("throttling", "warning", detail, remedy),)

    def cpus(self, tree: Tree) -> tuple[int, ...] | None:
        del tree  # all cores are alike
        return None

    def throttling(self, tree: Tree) -> str | None:
        vcgencmd = find_vcgencmd(tree)
        flags = None if vcgencmd is None else throttled_flags(tree, vcgencmd)
        names = flag_names(flags or 0)
        return f"the firmware holds the board back: {', '.join(names)}" if names else None


def _power(tree: Tree, vcgencmd: str | None) -> Discovery:
    """Returns the sensor of a Pi 5's power chip; other boards can't measure power."""
    model = device_tree_text(tree.read(device_tree_paths("model")), "model") or ""
    match = _GENERATION.search(model)
    if match and int(match[1]) >= _WITH_POWER_CHIP:
        if vcgencmd is None:
            return Discovery(unavailable=(Gap("pmic", "power_mw", NOT_THERE, GET_IT),))
        return pmic_sensors(tree, vcgencmd)
    board = printable(model, 60) or "a board of unknown model"
    reason = f"{board} has no current sensor (from the Raspberry Pi 5 on there is one)"
    return Discovery(unavailable=(Gap("power", "power_mw", reason, METER_REMEDY),))
