"""Sets of cores, and the power modes of a device that an experiment may compare."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictInt,
    StrictStr,
    WithJsonSchema,
    model_validator,
)

CPU_LIMIT = 4096
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,47}")
_GOVERNOR = re.compile(r"[a-z][a-z0-9_]{0,31}")
_MOST_MODES = 32


def parse_cpus(value: object) -> object:
    """Returns CPU numbers from a list, or from the kernel's notation for lists (`0-3,6`)."""
    if not isinstance(value, str):
        if not isinstance(value, list | tuple):
            raise ValueError("it must be a list of CPU numbers such as [0, 1] or a text such as 0-3")
        return tuple(value)
    cpus: list[int] = []
    for part in value.split(","):
        match = re.fullmatch(r"\s*(\d{1,5})(?:-(\d{1,5}))?\s*", part)
        if not match:
            raise ValueError(f"{part.strip()!r} is not a CPU number or a range such as 0-3")
        first = int(match[1])
        last = int(match[2] or first)
        if not first <= last < CPU_LIMIT:
            raise ValueError(f"the range {part.strip()!r} is empty or exceeds CPU {CPU_LIMIT - 1}")
        cpus.extend(range(first, last + 1))
        if len(cpus) > CPU_LIMIT:
            raise ValueError(f"it names more than {CPU_LIMIT} CPUs, so at least one is there twice")
    return tuple(cpus)


def _governor(text: str) -> str:
    if not _GOVERNOR.fullmatch(text):
        raise ValueError("it must be the name of a cpufreq governor, such as performance or powersave")
    return text


CpuNumber = Annotated[StrictInt, Field(ge=0, lt=CPU_LIMIT)]
_CPUS_SCHEMA = {
    "anyOf": [
        {"type": "array", "items": {"type": "integer", "minimum": 0, "exclusiveMaximum": CPU_LIMIT}},
        {"type": "string", "pattern": r"^\s*\d+(-\d+)?(\s*,\s*\d+(-\d+)?)*\s*$"},
    ]
}
Cpus = Annotated[tuple[CpuNumber, ...], BeforeValidator(parse_cpus), WithJsonSchema(_CPUS_SCHEMA)]


def require_each_once(cpus: tuple[int, ...] | None) -> None:
    """Raises ValueError for a set of cores that is empty or names one twice."""
    if cpus is not None and (not cpus or len(set(cpus)) != len(cpus)):
        raise ValueError("`cpus` is empty or names a CPU twice; list each once or leave it out")


class PowerMode(BaseModel):
    """A device's setting: an nvpmodel mode by number, a governor for all cpufreq policies, or the cores that the runner
    is pinned to; at least one of these.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    nvpmodel: Annotated[StrictInt, Field(ge=0, le=255)] | None = None
    governor: Annotated[StrictStr, AfterValidator(_governor)] | None = None
    cpus: Cpus | None = None

    @model_validator(mode="after")
    def _is_something(self) -> PowerMode:
        if self.nvpmodel is None and self.governor is None and self.cpus is None:
            raise ValueError("a power mode needs `nvpmodel`, `governor` or `cpus`")
        require_each_once(self.cpus)
        return self

    @property
    def changes_device(self) -> bool:
        """Whether something is set on the device itself, and has to be restored."""
        return self.nvpmodel is not None or self.governor is not None

    def __str__(self) -> str:
        parts = []
        if self.nvpmodel is not None:
            parts.append(f"nvpmodel {self.nvpmodel}")
        if self.governor is not None:
            parts.append(f"governor {self.governor}")
        if self.cpus is not None:
            parts.append(f"cores {','.join(map(str, self.cpus))}")
        return ", ".join(parts)


def _mode_name(text: str) -> str:
    if not _NAME.fullmatch(text):
        raise ValueError(
            "a power mode's name is 1 to 48 letters, digits, `.`, `_` or `-`, and starts with a letter or digit"
        )
    return text


ModeName = Annotated[StrictStr, AfterValidator(_mode_name)]
PowerModes = Annotated[dict[ModeName, PowerMode], Field(max_length=_MOST_MODES)]
