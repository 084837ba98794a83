"""Temperatures and throttling: Linux's thermal zones, and Android's thermal service.

Zones are millidegrees Celsius, keyed by type (Documentation/driver-api/thermal/sysfs-api.rst); `dumpsys
thermalservice` gives a status from 0 (none) to 6 (shutdown).
"""

from __future__ import annotations

from devices.sensors.reading import Answer, Texts, Tree, looped, plain_name
from devices.sensors.spec import Discovery, Gap, Sensor

_FOLDER = "sys/class/thermal"
# Zones that are switched off read absolute zero or -256 degC; broken ones read thousands of degrees.
_PLAUSIBLE_MC = (-40_000.0, 200_000.0)
_TRIPS = ("passive", "hot", "critical")
_TRIP_COUNT = 12


def thermal_sensors(tree: Tree) -> Discovery:
    """Returns a sensor for each zone with a plausible temperature; `limit` is its lowest active trip point."""
    zones = tree.names(_FOLDER, r"thermal_zone\d+")
    if not zones:
        reason = f"no thermal zone in /{_FOLDER}, as is usual in a virtual machine"
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
        value, path = texts.number(f"{folder}/temp"), f"{folder}/temp"
        if value is None:
            missing.append(Gap(name, "temperature_mc", texts.why_not(path)))
        elif not _PLAUSIBLE_MC[0] < value < _PLAUSIBLE_MC[1]:
            missing.append(Gap(name, "temperature_mc", f"/{path} reads {value:g} m°C, which means switched off"))
        else:
            method = f"thermal zone of type {name}, refreshed by its driver"
            limit = _lowest_trip(texts, folder, trips)
            sensors.append(Sensor(name, "temperature_mc", tree.path(path), 1.0, 1.0, method, limit=limit))
    return Discovery(tuple(sensors), tuple(missing))


def _lowest_trip(texts: Texts, folder: str, trips: list[str]) -> float | None:
    limits = [
        value
        for path in trips
        if path.startswith(f"{folder}/trip_point_") and path.endswith("_type") and texts.text(path) in _TRIPS
        if (value := texts.number(f"{path.removesuffix('_type')}_temp")) is not None
        # 0 and below mean that the trip point isn't set.
        if 0 < value < _PLAUSIBLE_MC[1]
    ]
    return min(limits, default=None)


STATUS = "Thermal Status:"
#: Named as in android.os.PowerManager.
LEVELS = ("none", "light", "moderate", "severe", "critical", "emergency", "shutdown")

_NAME = "thermal-status"
_PERIOD_S = 5.0


def thermal_status(output: Answer) -> int | None:
    """Returns the status from the output of `dumpsys thermalservice`, None if it has none."""
    text = output.line(STATUS)
    return int(text) if text is not None and text.isdecimal() else None


def level_name(status: int) -> str:
    """Returns the level's name."""
    return LEVELS[status] if status < len(LEVELS) else str(status)


def thermal_service_sensors(dumpsys: str, output: Answer) -> Discovery:
    """Returns the sensor of the status as flags: any status above `none` is throttling."""
    if thermal_status(output) is None:
        reason = output.why_not or "dumpsys thermalservice reports no status (it does from Android 10 on)"
        return Discovery(unavailable=(Gap(_NAME, "throttle_flags", reason),))
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
