"""Sensors of a Jetson that read through jtop: its total, and what the kernel doesn't show to the user himself."""

from __future__ import annotations

from devices.sensors.jtop_service import JtopReading, NoJtop
from devices.sensors.spec import Discovery, Gap, Quantity, Sensor
from devices.sensors.total import METER_REMEDY
from devices.sensors.tree import plain_name

_NAME = "jtop"
_NO_TOTAL = "power"  # the name of the gap that there is where no rail feeds the module
_MC_PER_C = 1000.0
# No module draws more, and none feeds its supply: anything else is a broken reading.
_PLAUSIBLE_MW = (0.0, 200_000.0)


def jtop_sensors(told: JtopReading | NoJtop, beside: Discovery) -> Discovery:
    """All that can be read: `beside`, what the kernel shows, and through jtop its total and what is missing there.

    jtop's total is the device's where no rail of `beside` is. All of them share one process of the device's Python,
    which costs more than the kernel's files: rails and temperatures are read in this way only where there is no other.
    """
    if isinstance(told, NoJtop):
        gap = Gap(_NAME, "power_mw", f"jtop can't be read: {told.reason}", told.remedy)
        return beside + Discovery(unavailable=(gap,))
    return _total(told, beside) + _through(told, beside)


def _through(told: JtopReading, beside: Discovery) -> Discovery:
    """Rails that `beside` doesn't have, and the temperatures if it has none."""
    taken = [sensor.name for sensor in beside.sensors]
    own = [] if told.is_sum else told.total_rails
    lines: list[tuple[Quantity, str, str, float]] = [
        ("power_mw", "rail", name, 1.0)
        for name in told.rails_mw
        if name not in own and plain_name(name, "") not in taken
    ]
    if not any(sensor.quantity == "temperature_mc" for sensor in beside.sensors):
        lines += [("temperature_mc", "temperature", name, _MC_PER_C) for name in told.temperatures_c]
    sensors: list[Sensor] = []
    for quantity, what, label, scale in lines:
        name = plain_name(f"{_NAME}.{label}", _NAME, taken)
        taken.append(name)
        sensors.append(_sensor(told, name, quantity, f"{what} {label}=", scale))
    return Discovery(tuple(sensors))


def _total(told: JtopReading, beside: Discovery) -> Discovery:
    """`beside` with jtop's total, which is the device's where there was none."""
    if told.total_mw is None:
        gap = Gap(_NAME, "power_mw", "jtop knows no power rail of this board", METER_REMEDY)
        return beside + Discovery(unavailable=(gap,))
    whole = "jtop's sum of the rails {}" if told.is_sum else "the rail {}, which feeds the module, as jtop tells it"
    method = whole.format(", ".join(told.total_rails))
    is_total = not any(sensor.total for sensor in beside.sensors)
    if not is_total:
        method = f"{method}; beside the rail that is the device's"
    gaps = tuple(gap for gap in beside.unavailable if not (is_total and gap.name == _NO_TOTAL))
    sensor = _sensor(told, _NAME, "power_mw", "total=", 1.0, method, total=is_total)
    return Discovery((*beside.sensors, sensor), gaps)


def _sensor(
    told: JtopReading, name: str, quantity: Quantity, line: str, scale: float, what: str = "", *, total: bool = False
) -> Sensor:
    what = what or f"{line[:-1]}, as jtop tells it"
    return Sensor(
        name,
        quantity,
        "",
        scale,
        1 / told.interval_s,
        f"{what}; through the device's own Python, every {told.interval_s:g} s",
        field=line,
        total=total,
        command=told.command,
        plausible=_PLAUSIBLE_MW if quantity == "power_mw" else None,
    )
