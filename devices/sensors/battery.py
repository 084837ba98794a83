"""Power from the battery's gauge (Documentation/ABI/testing/sysfs-class-power): only while it discharges.

power_now is in microwatts, current_now in microamperes and voltage_now in microvolts. A charging battery's power isn't
the device's, and some drivers give a negative current while they discharge.
"""

from __future__ import annotations

from devices.sensors.spec import Discovery, Sensor, Unavailable
from devices.sensors.tree import Texts, Tree, plain_name

_FOLDER = "sys/class/power_supply"
_FILES = ("type", "scope", "present", "status", "power_now", "current_now", "voltage_now")
_MW_PER_UW = 1e-3
_MW_PER_UA_UV = 1e-9
# What anything that runs from a battery can draw; outside it the driver uses another unit, which we don't guess.
_PLAUSIBLE_MW = (50.0, 500_000.0)
_RATE_HZ = 10.0


def battery_sensors(tree: Tree) -> Discovery:
    """One sensor per system battery that discharges now, each a part of the device's total power."""
    supplies = tree.names(_FOLDER)
    texts = tree.read(f"{_FOLDER}/{supply}/{file}" for supply in supplies for file in _FILES)
    sensors: list[Sensor] = []
    missing: list[Unavailable] = []
    names: list[str] = []
    for supply in supplies:
        folder = f"{_FOLDER}/{supply}"
        # Scope `Device` is the battery of a mouse or keyboard.
        if texts.text(f"{folder}/type") != "Battery" or texts.text(f"{folder}/scope") == "Device":
            continue
        name = plain_name(f"battery.{supply}", "battery", names)
        names.append(name)
        found = _sensor(tree, texts, folder, name)
        if isinstance(found, Sensor):
            sensors.append(found)
        else:
            missing.append(found)
    if not names:
        missing.append(Unavailable("battery", "power_mw", f"no system battery in /{_FOLDER}"))
    return Discovery(tuple(sensors), tuple(missing))


def _sensor(tree: Tree, texts: Texts, folder: str, name: str) -> Sensor | Unavailable:
    if texts.text(f"{folder}/present") == "0":
        return Unavailable(name, "power_mw", "the battery isn't there (present reads 0)", "put the battery in")
    status = texts.text(f"{folder}/status")
    if status != "Discharging":
        shown = plain_name(status, "not given")
        reason = f"the battery's status is {shown}: its power is the device's only while it discharges"
        return Unavailable(name, "power_mw", reason, "unplug the charger")
    power_uw = texts.number(f"{folder}/power_now")
    current_ua, voltage_uv = texts.number(f"{folder}/current_now"), texts.number(f"{folder}/voltage_now")
    files: tuple[str, str | None]
    if power_uw is not None:
        files, value, scale = ("power_now", None), power_uw, _MW_PER_UW
    elif current_ua is not None and voltage_uv is not None:
        files, value, scale = ("current_now", "voltage_now"), current_ua * voltage_uv, _MW_PER_UA_UV
    else:
        return Unavailable(name, "power_mw", f"/{folder} has neither power_now nor current_now with voltage_now")
    sign = -1.0 if value < 0 else 1.0
    power_mw = value * scale * sign
    if not _PLAUSIBLE_MW[0] <= power_mw <= _PLAUSIBLE_MW[1]:
        return Unavailable(
            name,
            "power_mw",
            f"the gauge reads {power_mw:g} mW while discharging, outside {_PLAUSIBLE_MW[0]:g} to {_PLAUSIBLE_MW[1]:g}",
        )
    path, times = files
    method = f"battery gauge, {path}{f' times {times}' if times else ''}{', sign reversed' if sign < 0 else ''}"
    return Sensor(
        name,
        "power_mw",
        tree.path(folder, path),
        scale * sign,
        _RATE_HZ,
        f"{method}; the whole device, refreshed by the gauge (often once a second or slower)",
        times=tree.path(folder, times) if times else None,
        total=True,
    )
