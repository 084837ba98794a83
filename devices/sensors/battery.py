"""Power from the battery's gauge (Documentation/ABI/testing/sysfs-class-power), and whether a charger is plugged in.

The gauge measures the device's power only while the battery discharges.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from devices.sensors.battery_cells import IDENTITY_FILES, Batteries, GaugeReading, distinct_batteries
from devices.sensors.reading import Answer, Texts, Tree, ask, plain_name
from devices.sensors.spec import METER_REMEDY, Discovery, Gap, Sensor
from foundation.text import printable

#: Prefix of the sensors' names.
BATTERY = "battery"

#: Where the kernel lists batteries and chargers, below the device's root.
SUPPLIES = "sys/class/power_supply"
_FILES = ("type", "scope", "present", "status", "power_now", "current_now", "voltage_now", *IDENTITY_FILES)
_MW_PER_UW = 1e-3
_MW_PER_UA_UV = 1e-9
_RATE_HZ = 10.0
_PLAUSIBLE_MWH = (100.0, 1e6)
# The system's note after somebody has set values by hand (`dumpsys battery set|unplug`): no value changes then.
_STOPPED = "UPDATES STOPPED"
STOPPED_REASON = "dumpsys battery shows values that were set by hand (UPDATES STOPPED)"
RESET = "make the phone report its battery again: adb shell dumpsys battery reset"
_CHARGE = re.compile(r"^\s*(level|scale): (\d{1,6})\s*$", re.MULTILINE | re.ASCII)
# Drivers without a value return the ends of their integer range.
_SENTINELS = frozenset({-1.0, 65535.0, 2.0**31 - 1, -(2.0**31), 2.0**63 - 1, -(2.0**63)})


@dataclass(frozen=True)
class Gauge:
    """How to read a device's gauge.

    `scale` corrects a value in the units of the kernel's documentation, for another unit or for a gauge of one of two
    cells (2); `sign` is -1 for a gauge that counts what flows into the battery. None: not calibrated, so the sign is
    deduced from the fact that it discharges. `plausible_mw` is the range that such a device can draw; outside of it the
    driver uses another unit, which is not guessed.
    """

    scale: float | None = None
    sign: int | None = None
    plausible_mw: tuple[float, float] = (50.0, 500_000.0)
    remedy: str | None = None


@dataclass(frozen=True)
class RawGauge:
    """A gauge's files, and their value in milliwatts if it uses the documented units."""

    supply: str
    path: str
    times: str | None
    milliwatts: float
    scale: float  # from the files' product to milliwatts, in the documented units


def battery_sensors(tree: Tree, gauge: Gauge | None = None, plugged: tuple[str, ...] = ()) -> Discovery:
    """Returns a sensor for each gauge of a system battery that is discharging; one for each battery is a part of the
    device's total power (`devices.sensors.battery_cells`).

    `plugged`: the chargers that are connected.
    """
    gauge = gauge or Gauge()
    supplies, texts = _read(tree)
    sensors: dict[str, Sensor] = {}
    missing: list[Gap] = []
    names: list[str] = []
    for supply in supplies:
        name = plain_name(f"{BATTERY}.{supply}", BATTERY, names)
        names.append(name)
        found = _sensor(tree, texts, supply, name, gauge, plugged)
        if isinstance(found, Sensor):
            sensors[supply] = found
        else:
            missing.append(found)
    if not names:
        hidden = [supply for supply in tree.names(SUPPLIES) if texts.is_kept(f"{SUPPLIES}/{supply}/type")]
        hint = f" that this user may read ({printable(', '.join(hidden), 80)} may be one)" if hidden else ""
        missing.append(Gap(BATTERY, "power_mw", f"no system battery in /{SUPPLIES}{hint}"))
    return _counted_once(sensors, _batteries(texts, tuple(sensors))) + Discovery(unavailable=tuple(missing))


def _counted_once(sensors: Mapping[str, Sensor], batteries: Batteries) -> Discovery:
    """Removes gauges of an already counted battery from the total, and all gauges if in doubt."""
    total = set() if batteries.doubtful else set(batteries.counted)
    of_another = "; measures the same as {}, so it is not added"
    found = tuple(
        sensor
        if supply in total
        else replace(
            sensor,
            total=False,
            method=sensor.method + (of_another.format(batteries.beside[supply]) if supply in batteries.beside else ""),
        )
        for supply, sensor in sensors.items()
    )
    if not batteries.doubtful:
        return Discovery(found)
    one, other = batteries.doubtful[0]
    reason = (
        f"{one} and {other} may be two gauges of one battery or two batteries: their voltages agree, and their powers "
        "are neither equal nor clearly different"
    )
    remedy = f"name the one that measures all as power.sensor in the inventory ({sensors[one].name}), or {METER_REMEDY}"
    return Discovery(found, (Gap("power", "power_mw", reason, remedy),))


def _batteries(texts: Texts, supplies: Sequence[str]) -> Batteries:
    readings = [
        GaugeReading(supply, raw.milliwatts, texts.number(f"{folder}/voltage_now"), _identity(texts, folder))
        for supply in supplies
        for folder in (f"{SUPPLIES}/{supply}",)
        if isinstance(raw := _raw(texts, supply), RawGauge)
    ]
    return distinct_batteries(readings)


def _identity(texts: Texts, folder: str) -> Mapping[str, str]:
    """Returns the texts of those of a supply's `IDENTITY_FILES` that can be read."""
    return {file: text for file in IDENTITY_FILES if (text := texts.text(f"{folder}/{file}"))}


def raw_gauges(tree: Tree) -> tuple[RawGauge, ...]:
    """Returns a readable gauge for each battery for calibration, discharging or not, whatever it reads."""
    supplies, texts = _read(tree)
    counted = _batteries(texts, supplies).counted
    return tuple(raw for supply in counted if isinstance(raw := _raw(texts, supply), RawGauge))


def battery_states(tree: Tree) -> tuple[str, ...]:
    """Returns the status of each system battery: `Discharging`, `Charging`, ..."""
    supplies, texts = _read(tree)
    return tuple(plain_name(texts.text(f"{SUPPLIES}/{supply}/status"), "not given") for supply in supplies)


def battery_percent(tree: Tree) -> float | None:
    """Returns the battery's charge from 0 to 100, the lowest of several; None if none reports it."""
    folders = [f"{SUPPLIES}/{supply}" for supply in tree.names(SUPPLIES)]
    if not folders:
        return None
    texts = tree.read(f"{folder}/{file}" for folder in folders for file in ("type", "scope", "present", "capacity"))
    charges = [
        texts.number(f"{folder}/capacity")
        for folder in folders
        if _feeds_the_device(texts, folder) and texts.text(f"{folder}/present") != "0"
    ]
    return min((charge for charge in charges if charge is not None and 0 <= charge <= 100), default=None)


def battery_mwh(tree: Tree) -> float | None:
    """Returns the capacity of all batteries in milliwatt-hours; None unless it is known for each.

    For a battery that counts charge, it is charge times its current voltage, which is accurate to about a tenth.
    """
    supplies, texts = _read(tree)
    batteries = _batteries(texts, supplies)
    sizes = [_full_mwh(texts, f"{SUPPLIES}/{supply}") for supply in batteries.counted]
    low, high = _PLAUSIBLE_MWH
    known = [size for size in sizes if size is not None and low <= size <= high]
    return sum(known) if known and len(known) == len(sizes) and not batteries.doubtful else None


def _full_mwh(texts: Texts, folder: str) -> float | None:
    energy, charge, voltage = (
        texts.number(f"{folder}/{file}") for file in ("energy_full", "charge_full", "voltage_now")
    )
    if energy is not None:
        return energy * _MW_PER_UW
    return None if charge is None or voltage is None else charge * voltage * _MW_PER_UA_UV


def charge_of_android(dumpsys_battery: str) -> float | None:
    """Returns the charge from the output of `dumpsys battery` (`level` by `scale`); None if it was set by hand."""
    if _STOPPED in dumpsys_battery:
        return None
    found = {match[1]: int(match[2]) for match in _CHARGE.finditer(dumpsys_battery)}
    level, scale = found.get("level"), found.get("scale")
    return None if level is None or not scale or level > scale else 100.0 * level / scale


def _feeds_the_device(texts: Texts, folder: str) -> bool:
    """Returns whether it powers the device, unlike the battery of a mouse or keyboard."""
    return texts.text(f"{folder}/type") == "Battery" and texts.text(f"{folder}/scope") != "Device"


def _read(tree: Tree) -> tuple[tuple[str, ...], Texts]:
    """Returns the batteries that power the device."""
    supplies = tree.names(SUPPLIES)
    texts = tree.read(f"{SUPPLIES}/{supply}/{file}" for supply in supplies for file in _FILES)
    return tuple(supply for supply in supplies if _feeds_the_device(texts, f"{SUPPLIES}/{supply}")), texts


def _sensor(tree: Tree, texts: Texts, supply: str, name: str, gauge: Gauge, plugged: tuple[str, ...]) -> Sensor | Gap:
    folder = f"{SUPPLIES}/{supply}"
    if texts.text(f"{folder}/present") == "0":
        return Gap(name, "power_mw", "the battery is not installed (present reads 0)", "insert the battery")
    status = texts.text(f"{folder}/status")
    if status != "Discharging":
        state = plain_name(status, "not given")
        reason = f"the battery's status is {state}: its power is the device's only while it discharges"
        return Gap(name, "power_mw", reason, "unplug the charger")
    if plugged:
        reason = f"a charger is plugged in ({', '.join(plugged)}): the battery supplies only part of the device's power"
        return Gap(name, "power_mw", reason, "unplug the charger")
    raw = _raw(texts, supply)
    if isinstance(raw, str):
        return Gap(name, "power_mw", raw, gauge.remedy)
    sign = float(gauge.sign) if gauge.sign is not None else -1.0 if raw.milliwatts < 0 else 1.0
    factor = (gauge.scale or 1.0) * sign
    low, high = gauge.plausible_mw
    if not low <= raw.milliwatts * factor <= high:
        reason = f"the gauge reads {raw.milliwatts * factor:g} mW while discharging, outside {low:g} to {high:g}"
        return Gap(name, "power_mw", reason, gauge.remedy)
    method = _method(raw, gauge, sign)
    return Sensor(
        name,
        "power_mw",
        tree.path(raw.path),
        raw.scale * factor,
        _RATE_HZ,
        method,
        times=tree.path(raw.times) if raw.times else None,
        total=True,
        plausible=gauge.plausible_mw,
    )


def _method(raw: RawGauge, gauge: Gauge, sign: float) -> str:
    corrected = f", times {gauge.scale:g}" if gauge.scale not in (None, 1.0) else ""
    times = f" times {raw.times.rpartition('/')[2]}" if raw.times else ""
    turned = ", sign reversed" if sign < 0 else ""
    return (
        f"battery gauge, {raw.path.rpartition('/')[2]}{times}{corrected}{turned}; the whole device, refreshed by the "
        "gauge (often once a second or slower)"
    )


def _raw(texts: Texts, supply: str) -> RawGauge | str:
    """Returns the gauge's files, or why there is none."""
    folder = f"{SUPPLIES}/{supply}"
    power, current, voltage = (f"{folder}/{file}" for file in ("power_now", "current_now", "voltage_now"))
    power_uw, current_ua, voltage_uv = (texts.number(path) for path in (power, current, voltage))
    if power_uw is not None:
        numbers: tuple[float, ...] = (power_uw,)
        gauge = RawGauge(supply, power, None, power_uw * _MW_PER_UW, _MW_PER_UW)
    elif current_ua is not None and voltage_uv is not None:
        numbers = (current_ua, voltage_uv)
        gauge = RawGauge(supply, current, voltage, current_ua * voltage_uv * _MW_PER_UA_UV, _MW_PER_UA_UV)
    else:
        return f"/{folder} has neither power_now nor current_now with voltage_now that can be read"
    sentinels = _SENTINELS.intersection(numbers)
    if sentinels:
        return f"the gauge in /{folder} reads {min(sentinels):.0f}, which means no value"
    return gauge


_TYPES = ("Mains", "USB", "Wireless")
_COUNT_PLUGGED = (
    'while :; do out=$("$1" battery) || exit; '
    f'case $out in *"{_STOPPED}"*) echo "{STOPPED_REASON}" >&2; exit 1;; esac; '
    'printf "%s\\n" "$out" | grep -c "powered: true"; sleep "$0"; done'
)
_DUMPSYS_PERIOD_S = 5.0
_POWERED = re.compile(r"^\s*\S.* powered: (?:true|false)\s*$", re.MULTILINE)


@dataclass(frozen=True)
class Chargers:
    """The chargers of a device: those plugged in now, and the sensors that notice new ones."""

    plugged: tuple[str, ...]
    sensors: Discovery

    @property
    def is_plugged(self) -> bool | None:
        """Whether one is plugged in; None if not reported by the device."""
        return bool(self.plugged) if self.sensors.sensors else None


def all_chargers(tree: Tree) -> Chargers:
    """Reads the chargers from the kernel if its files are readable, else from Android's battery service."""
    found = chargers_in(tree)
    if found.sensors.sensors:
        return found
    dumpsys = tree.program("dumpsys")
    return found if dumpsys is None else chargers_of_android(dumpsys, ask(tree, [dumpsys, "battery"]))


def chargers_in(tree: Tree) -> Chargers:
    """Returns the kernel's power supplies that are not batteries."""
    supplies = tree.names(SUPPLIES)
    texts = tree.read(f"{SUPPLIES}/{supply}/{file}" for supply in supplies for file in ("type", "online"))
    plugged: list[str] = []
    sensors: list[Sensor] = []
    names: list[str] = []
    for supply in supplies:
        path = f"{SUPPLIES}/{supply}/online"
        online = texts.number(path)
        if not (texts.text(f"{SUPPLIES}/{supply}/type") or "").startswith(_TYPES) or online is None:
            continue
        name = plain_name(f"charger.{supply}", "charger", names)
        names.append(name)
        if online:
            plugged.append(name.removeprefix("charger."))
        method = "1 while a source is plugged in, from the kernel's power_supply class"
        sensors.append(Sensor(name, "chargers", tree.path(path), 1.0, 1.0, method))
    return Chargers(tuple(plugged), Discovery(tuple(sensors)))


def chargers_of_android(dumpsys: str, output: Answer) -> Chargers:
    """Reads the chargers from `dumpsys battery`, for phones whose shell may not read the kernel's files."""
    if output.text is None:
        return Chargers((), Discovery(unavailable=(Gap("charger", "chargers", output.why_not),)))
    if _STOPPED in output.text:
        return Chargers((), Discovery(unavailable=(Gap("charger", "chargers", STOPPED_REASON, RESET),)))
    if not _POWERED.search(output.text):
        reason = "dumpsys battery has no line about chargers (`... powered: true|false`)"
        return Chargers((), Discovery(unavailable=(Gap("charger", "chargers", reason),)))
    lines = [line.strip() for line in output.text.splitlines()]
    plugged = tuple(line.partition(" powered:")[0] for line in lines if line.endswith("powered: true"))
    sensor = Sensor(
        "charger",
        "chargers",
        "",
        1.0,
        1 / _DUMPSYS_PERIOD_S,
        "sources plugged in, counted in `dumpsys battery`",
        command=("sh", "-c", _COUNT_PLUGGED, f"{_DUMPSYS_PERIOD_S:g}", dumpsys),
    )
    return Chargers(plugged, Discovery((sensor,)))
