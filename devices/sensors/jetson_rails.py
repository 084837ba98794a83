"""Power rails of a Jetson: INA3221 monitors, in the layout of JetPack 4 (iio) or of JetPack 5 and later (hwmon).

The board's input may be on another monitor (AGX Thor: VIN on an INA238, in microwatts).

Old: /sys/bus/i2c/drivers/ina3221x/6-0040/iio:device0/ has `rail_name_N` and `in_powerN_input` in mW. New:
/sys/bus/i2c/drivers/ina3221/1-0040/hwmon/hwmon3/ has `inN_label`, `inN_input` in mV and `currN_input` in mA. Device
numbers change from boot to boot, so a rail is identified by its name. `in7` is a sum of shunt voltages; `NC` means not
connected.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from devices.sensors.power_counters import hwmon_sensors
from devices.sensors.reading import Texts, Tree, plain_name
from devices.sensors.spec import METER_REMEDY, Discovery, Gap, Sensor

#: Rails that feed the whole module, and with it the other rails, in order of preference.
TOTAL_RAILS = ("POM_5V_IN", "VDD_IN", "VIN")

_DRIVERS = "sys/bus/i2c/drivers"
_CHANNELS = (1, 2, 3)
_MW_PER_MV_MA = 1e-3
_TOTAL_RATE_HZ = 10.0
_RAIL_RATE_HZ = 2.0
# No module draws more, or feeds power back: anything else is a faulty reading.
_PLAUSIBLE_MW = (0.0, 200_000.0)
# The power of a running board: a monitor with a wrongly configured shunt is off by a factor of ten or more.
_PLAUSIBLE_INPUT_MW = (300.0, 200_000.0)


@dataclass(frozen=True)
class _Rail:
    label: str
    path: str
    times: str | None
    scale: float
    layout: str


def jetson_power_sensors(tree: Tree) -> Discovery:
    """Returns the rails and all hardware monitors; only the one that feeds the module is the total."""
    return _with_total(_ina3221_rails(tree), hwmon_sensors(tree))


def _ina3221_rails(tree: Tree) -> Discovery:
    rails = (*_old_rails(tree), *_new_rails(tree))
    texts = tree.read(path for rail in rails for path in (rail.path, rail.times) if path is not None)
    sensors: list[Sensor] = []
    missing: list[Gap] = []
    names: list[str] = []
    for rail in rails:
        name = plain_name(rail.label, "rail", names)
        names.append(name)
        unread = [path for path in (rail.path, rail.times) if path is not None and texts.number(path) is None]
        if unread:
            missing.append(Gap(name, "power_mw", texts.why_not(unread[0]), _remedy(texts, rail, unread[0])))
        else:
            sensors.append(_sensor(tree, rail, name))
    return Discovery(tuple(sensors), tuple(missing))


def _remedy(texts: Texts, rail: _Rail, path: str) -> str | None:
    remedy = texts.how_to_read(path)
    if rail.label.upper() not in TOTAL_RAILS:
        return remedy
    return f"{remedy}, or {METER_REMEDY}" if remedy else METER_REMEDY


def _sensor(tree: Tree, rail: _Rail, name: str) -> Sensor:
    times = None if rail.times is None else tree.path(rail.times)
    method = f"INA3221 rail {name} ({rail.layout})"
    path = tree.path(rail.path)
    return Sensor(name, "power_mw", path, rail.scale, _RAIL_RATE_HZ, method, times=times, plausible=_PLAUSIBLE_MW)


def _with_total(rails: Discovery, monitors: Discovery) -> Discovery:
    found = rails + monitors
    powers = [sensor for sensor in found.sensors if sensor.quantity == "power_mw"]
    ranked = [sensor for rail in TOTAL_RAILS for sensor in powers if _label_of(sensor) == rail]
    if ranked:
        total = ranked[0]
        method = total.method.removesuffix("; what it feeds isn't known")
        whole = replace(
            total,
            total=True,
            rate_hz=_TOTAL_RATE_HZ,
            method=f"{method}; the whole module, without the carrier board",
            plausible=total.plausible or _PLAUSIBLE_INPUT_MW,
        )
        return Discovery(tuple(whole if sensor is total else sensor for sensor in found.sensors), found.unavailable)
    if any(_label_of(gap) in TOTAL_RAILS for gap in found.unavailable):
        return found
    names = ", ".join([sensor.name for sensor in powers] or [gap.name for gap in found.unavailable])
    if names:
        reason = (
            f"none of the rails feeds the whole module ({names}; it would be {' or '.join(TOTAL_RAILS)}), "
            "and their sum would leave out what none of them feeds"
        )
        remedy = (
            f"name the one that does as power.sensor in the inventory, or {METER_REMEDY}" if powers else METER_REMEDY
        )
    else:
        reason = f"no INA3221 monitor in /{_DRIVERS}: this board has none, or its kernel doesn't list it"
        remedy = METER_REMEDY
    return found + Discovery(unavailable=(Gap("power", "power_mw", reason, remedy),))


def _label_of(item: Sensor | Gap) -> str:
    """Returns the rail's label: for a monitor, the last part of its name."""
    name = item.name.upper()
    return name.rpartition(".")[2] if name.startswith("HWMON.") else name


def _old_rails(tree: Tree) -> tuple[_Rail, ...]:
    driver = f"{_DRIVERS}/ina3221x"
    folders = [
        f"{driver}/{chip}/{device}"
        for chip in tree.names(driver, r"\d+-[0-9a-f]{4}")
        for device in tree.names(f"{driver}/{chip}", r"iio:device\d+|iio_device")
    ]
    channels = [(folder, number) for folder in folders for number in (0, 1, 2)]
    texts = tree.read(f"{folder}/rail_name_{number}" for folder, number in channels)
    return tuple(
        _Rail(label, f"{folder}/in_power{number}_input", None, 1.0, "iio, milliwatts of the driver")
        for folder, number in channels
        if (label := _label(texts, f"{folder}/rail_name_{number}"))
    )


def _new_rails(tree: Tree) -> tuple[_Rail, ...]:
    driver = f"{_DRIVERS}/ina3221"
    folders = [
        f"{driver}/{chip}/hwmon/{monitor}"
        for chip in tree.names(driver, r"\d+-[0-9a-f]{4}")
        for monitor in tree.names(f"{driver}/{chip}/hwmon", r"hwmon\d+")
    ]
    channels = [(folder, number) for folder in folders for number in _CHANNELS]
    texts = tree.read(f"{folder}/in{number}_label" for folder, number in channels)
    layout = "hwmon, millivolts times milliamperes"
    return tuple(
        _Rail(label, f"{folder}/in{number}_input", f"{folder}/curr{number}_input", _MW_PER_MV_MA, layout)
        for folder, number in channels
        if (label := _label(texts, f"{folder}/in{number}_label"))
    )


def _label(texts: Texts, path: str) -> str | None:
    """Returns a rail's name; None for a channel that has none or is not connected."""
    text = texts.text(path)
    return None if not text or text.upper() == "NC" else text
