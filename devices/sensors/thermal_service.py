"""What Android says of its own throttling: `dumpsys thermalservice`, status 0 (none) to 6 (shutdown)."""

from __future__ import annotations

from devices.sensors.programs import Told, looped
from devices.sensors.spec import Discovery, Gap, Sensor

STATUS = "Thermal Status:"
#: As android.os.PowerManager names them.
LEVELS = ("none", "light", "moderate", "severe", "critical", "emergency", "shutdown")

_NAME = "thermal-status"
_PERIOD_S = 5.0


def thermal_status(told: Told) -> int | None:
    """The status that `dumpsys thermalservice` told, None if it didn't."""
    text = told.line(STATUS)
    return int(text) if text is not None and text.isdecimal() else None


def level_name(status: int) -> str:
    """The level's name."""
    return LEVELS[status] if status < len(LEVELS) else str(status)


def thermal_service_sensors(dumpsys: str, told: Told) -> Discovery:
    """The status as flags: any above `none` is throttling."""
    if thermal_status(told) is None:
        reason = told.why_not or "dumpsys thermalservice tells no status (it does from Android 10 on)"
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
