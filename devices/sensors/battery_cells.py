"""Decides which fuel gauges of a device measure the same battery, so that its power is counted once.

A phone often has several supplies of type `Battery` for one cell: the battery itself and its gauge chip (`battery` and
`maxfg`, `bms`, `bq27541`), or the sum of two cells and each of them. On a laptop, two supplies are two batteries.
Serial numbers, sizes and readings distinguish the cases; undecided supplies are not added up.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from itertools import combinations

#: Files of a supply that identify its battery.
IDENTITY_FILES = (
    *("serial_number", "capacity", "charge_full_design", "charge_full", "energy_full_design", "energy_full"),
    *("charge_now", "energy_now"),
)
_SIZES = IDENTITY_FILES[2:]
# Firmware (ACPI) has one supply per battery, without separate gauges.
_OF_FIRMWARE = re.compile(r"(?:BAT|CMB)[A-Z0-9]?")
# Chips and drivers that are only gauges: a single one of them besides `battery` measures the same cells.
_OF_GAUGE = re.compile(r"maxfg|max17\w*|bms|bq27[\w-]*|cw20\w*|qg|qpnp-qg|.*(?:gauge|[-_]fg|fgu).*", re.IGNORECASE)
_NO_SERIAL = re.compile(r"(?:0x)?[0\s.-]*|unknown|none|n/?a|default string|not available|to be filled.*", re.IGNORECASE)
_CHARGE_APART = 10.0  # percent; a system may smooth the charge that it reports
_SIZE_APART = 1.2
_UNIT_APART = 100.0  # a larger factor means another unit, not another size
_VOLTS_ALIKE = 0.02
# Two gauges are read a moment apart while the load changes.
_POWER_ALIKE = 0.1
_PAIR = 2
_POWER_DOUBTFUL = 0.6


@dataclass(frozen=True)
class GaugeReading:
    """The readings of one supply: power in mW if the units are known, voltage in the driver's unit."""

    supply: str
    milliwatts: float
    voltage: float | None
    identity: Mapping[str, str] = field(default_factory=dict)

    def number(self, file: str) -> float | None:
        """Returns the number in one of the files of `IDENTITY_FILES`."""
        try:
            return float(self.identity[file])
        except (KeyError, ValueError):
            return None


@dataclass(frozen=True)
class Batteries:
    """`counted`: one supply for each battery. `beside`: other supplies, each with the one that includes it. `doubtful`:
    pairs that may be one battery or two.
    """

    counted: tuple[str, ...]
    beside: Mapping[str, str] = field(default_factory=dict)
    doubtful: tuple[tuple[str, str], ...] = ()


class _Match(Enum):
    SAME = "same"
    APART = "apart"
    DOUBTFUL = "doubtful"


def distinct_batteries(readings: Sequence[GaugeReading]) -> Batteries:
    """Returns which supplies to add up. A battery is represented by the supply `battery`, else by its first gauge."""
    ranked = sorted(readings, key=lambda one: one.supply != "battery")
    names = [one.supply for one in ranked]
    if len(names) == _PAIR and names[0] == "battery" and _OF_GAUGE.fullmatch(names[1]) and not _apart(*ranked):
        return Batteries(("battery",), {names[1]: "battery"})
    whole = _sum_of_others(ranked)
    if whole is not None:
        rest = {one.supply: whole.supply for one in ranked if one is not whole}
        return Batteries((whole.supply,), rest)
    counted: list[GaugeReading] = []
    beside: dict[str, str] = {}
    for one in ranked:
        same = next((other for other in counted if _compare(one, other) is _Match.SAME), None)
        if same is None:
            counted.append(one)
        else:
            beside[one.supply] = same.supply
    pairs = [(a.supply, b.supply) for a, b in combinations(counted, 2) if _compare(a, b) is _Match.DOUBTFUL]
    return Batteries(tuple(one.supply for one in readings if one in counted), beside, tuple(pairs))


def _sum_of_others(readings: Sequence[GaugeReading]) -> GaugeReading | None:
    """Returns the supply whose power is the sum over two or more others, not counting its own gauges."""
    for one in readings:
        if _OF_FIRMWARE.fullmatch(one.supply):
            continue
        others = [other for other in readings if other is not one and _compare(one, other) is not _Match.SAME]
        total = sum(abs(other.milliwatts) for other in others)
        if len(others) > 1 and _alike(abs(one.milliwatts), total, _POWER_ALIKE):
            return one
    return None


def _apart(one: GaugeReading, other: GaugeReading) -> bool:
    """Returns whether they are two batteries, judged by everything but their power, which changes all the time."""
    serials = [_serial(item) for item in (one, other)]
    if None not in serials and serials[0] != serials[1]:
        return True
    if all(_OF_FIRMWARE.fullmatch(item.supply) for item in (one, other)):
        return True
    charges = one.number("capacity"), other.number("capacity")
    if charges[0] is not None and charges[1] is not None and abs(charges[0] - charges[1]) > _CHARGE_APART:
        return True
    if any(_another_size(one.number(file), other.number(file)) for file in _SIZES):
        return True
    return bool(one.voltage and other.voltage) and not _alike(one.voltage or 0, other.voltage or 0, _VOLTS_ALIKE)


def _compare(one: GaugeReading, other: GaugeReading) -> _Match:
    if _apart(one, other):
        return _Match.APART
    powers = abs(one.milliwatts), abs(other.milliwatts)
    if _alike(*powers, _POWER_ALIKE):
        return _Match.SAME
    return _Match.DOUBTFUL if _alike(*powers, _POWER_DOUBTFUL) else _Match.APART


def _serial(reading: GaugeReading) -> str | None:
    text = reading.identity.get("serial_number", "").strip()
    return None if _NO_SERIAL.fullmatch(text) else text


def _another_size(one: float | None, other: float | None) -> bool:
    if not one or not other or one < 0 or other < 0:
        return False
    return _SIZE_APART < max(one, other) / min(one, other) < _UNIT_APART


def _alike(one: float, other: float, share: float) -> bool:
    return abs(one - other) <= share * max(abs(one), abs(other))
