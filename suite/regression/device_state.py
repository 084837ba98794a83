"""Was the device in the same state both times? If it was not, a difference in speed is nobody's fault yet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

RULE = "device_state"
VERSION = 1

#: Larger differences are differences of state: temperature at the start of a session, charge of the battery.
TEMPERATURE_C = 5.0
BATTERY_PERCENT = 20.0


@dataclass(frozen=True)
class DeviceState:
    """A device while it was measured; None is what could not be read."""

    temperature_c: float | None = None
    governor: str | None = None
    throttled: bool | None = None
    battery_percent: float | None = None
    charging: bool | None = None
    firmware: str | None = None


@dataclass(frozen=True)
class StateDifference:
    """One respect in which two states differ; `then` and `now` as they are shown."""

    what: str
    then: str
    now: str

    def __str__(self) -> str:
        return f"{self.what} was {self.then} and is {self.now}"


def state_differences(then: DeviceState, now: DeviceState) -> tuple[StateDifference, ...]:
    """What differs enough to explain a change of speed. What was not read both times is no difference; throttling is
    one in itself, whenever it happened."""
    found = [
        StateDifference(what, str(before), str(after))
        for what, before, after in (
            ("governor", then.governor, now.governor),
            ("firmware", then.firmware, now.firmware),
            ("charging", _yes_no(then.charging), _yes_no(now.charging)),
        )
        if before is not None and after is not None and before != after
    ]
    if then.throttled or now.throttled:
        found.append(StateDifference("throttling", _yes_no(then.throttled) or "?", _yes_no(now.throttled) or "?"))
    if _apart(then.temperature_c, now.temperature_c, TEMPERATURE_C):
        found.append(StateDifference("temperature", f"{then.temperature_c:.1f} degC", f"{now.temperature_c:.1f} degC"))
    if _apart(then.battery_percent, now.battery_percent, BATTERY_PERCENT):
        found.append(StateDifference("battery", f"{then.battery_percent:.0f} %", f"{now.battery_percent:.0f} %"))
    return tuple(found)


def listed(differences: Sequence[StateDifference]) -> str:
    """The differences as part of a sentence."""
    return "; ".join(str(item) for item in differences)


def _apart(then: float | None, now: float | None, allowed: float) -> bool:
    return then is not None and now is not None and abs(then - now) > allowed


def _yes_no(value: bool | None) -> str | None:
    return None if value is None else "on" if value else "off"
