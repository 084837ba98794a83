"""Sensors defined in the inventory: what is read on the device, and in which unit.

They are for anything that no kind of device knows: a fan, a probe beside the board, a rail of a power supply. Readings
are stored and displayed with their unit; only if `quantity` is power, energy or temperature, the suite uses them like
its own.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StrictBool,
    StrictFloat,
    StrictInt,
    StrictStr,
    model_validator,
)

UNIT_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,23}")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,47}")
_UNITS: Mapping[str, Mapping[str, float]] = MappingProxyType(
    {
        "power": {"W": 1e3, "mW": 1.0, "uW": 1e-3},
        "energy": {"J": 1e3, "mJ": 1.0, "uJ": 1e-3, "Wh": 3.6e6},
        "temperature": {"degC": 1e3, "mdegC": 1.0},
    }
)
"""The units of the suite's own quantities, each in mW, mJ and millidegrees."""

_READ_AS = MappingProxyType({"power": "power_mw", "energy": "energy_mj", "temperature": "temperature_mc"})


def _name(text: str) -> str:
    if not _NAME.fullmatch(text):
        raise ValueError(
            "a sensor's name is 1 to 48 letters, digits, `.`, `_` or `-`, and starts with a letter or digit"
        )
    return text


def _finite(number: float) -> float:
    if not math.isfinite(number):
        raise ValueError("it must be a finite number")
    return number


def own_quantity(unit: str) -> str:
    """Returns the quantity of readings in a user-defined unit. Raises ValueError for text that can't be a unit."""
    if not UNIT_PATTERN.fullmatch(unit):
        raise ValueError(
            "a unit is 1 to 24 letters, digits, `_`, `.` or `-`, such as rpm, percent or l_per_min, and starts with a "
            "letter or digit"
        )
    return f"own_{unit}"


def _unit(text: str) -> str:
    own_quantity(text)
    return text


def _path(text: str) -> str:
    if not text.startswith("/") or "\0" in text or len(text) > 1000:
        raise ValueError("it must be the absolute path of a file on the device")
    return text


def _word(text: str) -> str:
    if not text or "\0" in text:
        raise ValueError("it is empty or contains a null character")
    return text


SensorName = Annotated[StrictStr, AfterValidator(_name)]
Number = Annotated[StrictInt | StrictFloat, AfterValidator(_finite)]
_Path = Annotated[StrictStr, AfterValidator(_path)]
_Word = Annotated[StrictStr, AfterValidator(_word)]


class OwnSensor(BaseModel):
    """One sensor. Its numbers come from either `file`, `command` or `plugin`.

    `file`: a file on the device; its first number (or the first on the line that starts with `field`) is multiplied by
    the number in the file `times`. `command`: a program on the device that prints one number per line, after `field`;
    it is started again and again unless it is a `stream`. A number times `scale` is in `unit`. `every_s`: how often it
    is read. `range`: the valid readings, in `unit`; others are dropped. `wraps_at`: where a counter of energy restarts
    at 0. `options` are for the plugin, which has its own units.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    file: _Path | None = None
    field: _Word | None = None
    times: _Path | None = None
    command: Annotated[tuple[_Word, ...], Field(min_length=1, max_length=64)] | None = None
    stream: StrictBool = False
    plugin: _Word | None = None
    options: dict[_Word, StrictBool | StrictInt | float | StrictStr] = {}
    unit: Annotated[StrictStr, AfterValidator(_unit)] | None = None
    quantity: Literal["power", "energy", "temperature"] | None = None
    scale: Number = 1.0
    every_s: Annotated[Number, Field(ge=0.02, le=3600)] = 1.0
    range: Annotated[tuple[Number, ...], Field(min_length=2, max_length=2)] | None = None
    wraps_at: Annotated[Number, Field(gt=0)] | None = None

    @model_validator(mode="after")
    def _is_consistent(self) -> OwnSensor:
        sources = [name for name in ("file", "command", "plugin") if getattr(self, name) is not None]
        if len(sources) != 1:
            raise ValueError(f"a sensor needs one of `file`, `command` and `plugin`, and has {len(sources)}; give one")
        given = self.model_fields_set - {sources[0]}
        allowed = {
            "plugin": {"options"},
            "file": {"field", "times", *_SHARED},
            "command": {"field", "stream", *_SHARED},
        }
        if excess := sorted(given - allowed[sources[0]]):
            raise ValueError(f"a sensor with `{sources[0]}` has no `{excess[0]}`; leave it out")
        if self.plugin is not None:
            return self
        if self.unit is None:
            raise ValueError("a sensor needs the `unit` of its readings, such as rpm, V or degC; add it")
        if self.quantity is not None and self.unit not in _UNITS[self.quantity]:
            raise ValueError(f"{self.quantity} is in {', '.join(_UNITS[self.quantity])}, not {self.unit!r}; correct it")
        if self.scale == 0:
            raise ValueError("a `scale` of 0 makes all readings 0; correct it")
        if self.range is not None and self.range[0] >= self.range[1]:
            raise ValueError("`range` starts above its end; write [lowest, highest]")
        if self.wraps_at is not None and self.quantity != "energy":
            raise ValueError("`wraps_at` is for a counter of energy (`quantity: energy`); leave it out")
        return self

    @property
    def read_as(self) -> str:
        """The quantity of its samples, which ends with the unit they are stored in."""
        return own_quantity(self.unit or "") if self.quantity is None else _READ_AS[self.quantity]

    @property
    def per_unit(self) -> float:
        """The factor from `unit` to the unit of `read_as`."""
        return 1.0 if self.quantity is None else _UNITS[self.quantity][self.unit or ""]


_SHARED = ("unit", "quantity", "scale", "every_s", "range", "wraps_at")
