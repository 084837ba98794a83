"""Temperatures and throttling: Linux's thermal zones, and Android's thermal service.

Zones are documented as millidegrees Celsius, keyed by type (Documentation/driver-api/thermal/sysfs-api.rst), but the
kernels of some vendors use whole degrees or tenths: magnitude and trip points decide. `dumpsys thermalservice` reports
a status from 0 (none) to 6 (shutdown).
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from devices.sensors.reading import Answer, Texts, Tree, looped, plain_name
from devices.sensors.spec import Discovery, Gap, Sensor

_FOLDER = "sys/class/thermal"
# Zones that are switched off read absolute zero or -256 degC; faulty ones read thousands of degrees.
_PLAUSIBLE_MC = (-40_000.0, 200_000.0)
_TRIPS = ("passive", "hot", "critical")
_TRIP_COUNT = 12


def thermal_sensors(tree: Tree) -> Discovery:
    """Returns a sensor for each zone with a plausible temperature; `limit` is its lowest active trip point."""
    zones = tree.names(_FOLDER, r"thermal_zone\d+")
    if not zones:
        reason = f"no thermal zone in /{_FOLDER}, which is usual in a virtual machine"
        return Discovery(unavailable=(Gap("thermal", "temperature_mc", reason),))
    files = [f"{_FOLDER}/{zone}/{name}" for zone in zones for name in ("type", "temp")]
    listed = tree.names_in([f"{_FOLDER}/{zone}" for zone in zones], r"trip_point_\d{1,2}_(type|temp)")
    trips = [f"{folder}/{name}" for folder, names in listed.items() for name in names[: 2 * _TRIP_COUNT]]
    texts = tree.read([*files, *trips])
    sensors: list[Sensor] = []
    missing: list[Gap] = []
    names: list[str] = []
    for zone in zones:
        folder = f"{_FOLDER}/{zone}"
        name = plain_name(texts.text(f"{folder}/type"), zone, names)
        names.append(name)
        found = _zone(tree, texts, folder, name, trips)
        if isinstance(found, Sensor):
            sensors.append(found)
        else:
            missing.append(found)
    return Discovery(tuple(sensors), tuple(missing))


def _zone(tree: Tree, texts: Texts, folder: str, name: str, trips: Sequence[str]) -> Sensor | Gap:
    path = f"{folder}/temp"
    value = texts.number(path)
    if value is None:
        return Gap(name, "temperature_mc", texts.why_not(path))
    points = [
        (texts.text(file) or "", point)
        for file in trips
        if file.startswith(f"{folder}/trip_point_") and file.endswith("_type")
        if (point := texts.number(f"{file.removesuffix('_type')}_temp")) is not None
    ]
    if abs(value) < _WHOLE and _NO_TEMPERATURE.search(name):
        return Gap(
            name,
            "temperature_mc",
            f"/{path} reads {value:g}, which is a charge, voltage or current, judging by the zone's name",
        )
    unit = zone_unit_mc(value, [point for _, point in points])
    if isinstance(unit, str):
        return Gap(name, "temperature_mc", f"/{path} reads {value:g}, {unit}")
    if not _PLAUSIBLE_MC[0] < value * unit < _PLAUSIBLE_MC[1]:
        return Gap(name, "temperature_mc", f"/{path} reads {value:g} m°C, which means switched off")
    method = f"thermal zone of type {name}, refreshed by its driver{_UNIT_WORDS[unit]}"
    limits = [limit for kind, point in points if kind in _TRIPS and (limit := _trip_mc(point, unit)) is not None]
    limit = min(limits, default=None)
    return Sensor(name, "temperature_mc", tree.path(path), unit, 1.0, method, limit=limit)


_MILLI, _TENTHS, _WHOLE = 1.0, 100.0, 1000.0
_UNIT_WORDS = {
    _MILLI: "",
    _TENTHS: "; in tenths of a degree, judging by its size",
    _WHOLE: "; in whole degrees, judging by its size",
}
# The temperatures in degrees at which a computer intervenes; a trip point of 0 or less isn't set.
_TRIP_C = (30.0, 200.0)
# Zones with which phones' kernels limit the battery's load: percent, millivolts, milliamperes, levels.
_NO_TEMPERATURE = re.compile(r"^soc$|vbat|ibat|bcl|-lvl\d", re.IGNORECASE)
# The range of a computer's temperature in whole degrees; a lower value could be tenths of a degree, or not a
# temperature.
_WHOLE_C = (15.0, 130.0)


def zone_unit_mc(value: float, points: Sequence[float]) -> float | str:
    """Returns the factor from a zone's reading to millidegrees Celsius, or why it can't be decided.

    From 1000 up, a reading is in millidegrees, as documented (in tenths if all trip points are). Below, it would be
    within a degree of the freezing point: the trip points decide then (85, 850 or 85000 for the same temperature), and
    without any only whole degrees of a running computer are taken.
    """
    units = {unit for point in points if (unit := _trip_unit(point)) is not None}
    if abs(value) >= _WHOLE and not (units == {_TENTHS} and value * _TENTHS <= _TRIP_C[1] * _WHOLE):
        return _MILLI
    if _MILLI in units:
        return (
            f"which is {value:g} degrees or {value / 1000:g}: its trip points are in millidegrees, and if the reading "
            "is too, it is within a degree of the freezing point"
        )
    if len(units) == 1 and value > 0:
        (unit,) = units
        if value * unit <= _TRIP_C[1] * _WHOLE:
            return unit
    if not any(point > 0 for point in points) and _WHOLE_C[0] <= value <= _WHOLE_C[1]:
        return _WHOLE
    trip_points = "its trip points disagree about" if units else "no trip point indicates"
    return f"which can't be millidegrees, and {trip_points} the unit"


def _trip_unit(point: float) -> float | None:
    """Returns the factor to millidegrees that makes the trip point plausible for a computer, None if it isn't set."""
    return next((unit for unit in (_WHOLE, _TENTHS, _MILLI) if _TRIP_C[0] <= point * unit / _WHOLE <= _TRIP_C[1]), None)


def _trip_mc(point: float, unit: float) -> float | None:
    """Returns a trip point in millidegrees, whatever its unit; a small one has the temperature's unit."""
    own = _trip_unit(point)
    limit = point * (unit if own is None else own)
    return limit if 0 < limit < _PLAUSIBLE_MC[1] else None


STATUS = "Thermal Status:"
# True after `cmd thermalservice override-status N`: the status is then N, however hot the phone is.
_OVERRIDE = "IsStatusOverride:"
#: Named as in android.os.PowerManager.
LEVELS = ("none", "light", "moderate", "severe", "critical", "emergency", "shutdown")

_NAME = "thermal-status"
_PERIOD_S = 5.0


def thermal_status(output: Answer) -> int | None:
    """Returns the status from the output of `dumpsys thermalservice`, None if it has none or it was set by hand."""
    text = None if output.line(_OVERRIDE) == "true" else output.line(STATUS)
    return int(text) if text is not None and text.isdecimal() else None


def why_no_status(output: Answer) -> tuple[str, str | None]:
    """Returns the reason why `thermal_status` is None, and the remedy if there is one."""
    if output.line(_OVERRIDE) == "true":
        reason = "dumpsys thermalservice shows a status that was set by hand (IsStatusOverride: true)"
        return reason, "make the phone report it again: adb shell cmd thermalservice reset"
    return output.why_not or "dumpsys thermalservice reports no status (available from Android 10 on)", None


def level_name(status: int) -> str:
    """Returns the level's name."""
    return LEVELS[status] if status < len(LEVELS) else str(status)


def thermal_service_sensors(dumpsys: str, output: Answer) -> Discovery:
    """Returns the sensor of the status as flags: any status above `none` is throttling."""
    if thermal_status(output) is None:
        reason, remedy = why_no_status(output)
        return Discovery(unavailable=(Gap(_NAME, "throttle_flags", reason, remedy),))
    sensor = Sensor(
        _NAME,
        "throttle_flags",
        "",
        1.0,
        1 / _PERIOD_S,
        f"dumpsys thermalservice, every {_PERIOD_S:g} s; any status above 0 ({LEVELS[0]}) is throttling",
        field=STATUS,
        command=looped([dumpsys, "thermalservice"], _PERIOD_S),
    )
    return Discovery((sensor,))
