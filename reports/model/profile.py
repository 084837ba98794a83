"""A profile: where the time of a training step goes, operator by operator, for each setting that was profiled."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from statistics import median
from typing import Annotated

from pydantic import Field, TypeAdapter
from pydantic_core import core_schema

from foundation.unavailable import Json

NOT_ATTRIBUTED = "not attributed"
"""The group for time that no operator reported."""
FROZEN = "frozen products"

Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class _Facts:
    """Reads an object with any values: pydantic can't handle a recursive type such as Json."""

    def __get_pydantic_core_schema__(self, source: object, handler: object) -> core_schema.CoreSchema:
        del source, handler
        return core_schema.dict_schema(core_schema.str_schema())


Facts = Annotated[Mapping[str, Json], _Facts()]


@dataclass(frozen=True)
class ProfileRow:
    """An operator of one layer (or of none) over all its calls in a step.

    `place` is where it ran: `delegate`, `kernel` (an operator of the runtime or one of ours) or `runtime`. `ms`,
    `flops` and `bytes` are per step; None if they are not counted.
    """

    group: str
    part: str
    name: str
    place: str
    layer: int | None
    calls: int
    ms: Amount
    flops: Amount | None
    bytes: Amount | None


@dataclass(frozen=True)
class SettingProfile:
    """One workload's profile. Steps with and without profiling alternated; `profiled_ms` and `plain_ms` are their
    times.

    `rows` are the mean of `counted_steps` profiled steps, without the slowest and the fastest quarter;
    `overhead_percent` is the median over neighbouring pairs of what profiling adds to a step.
    """

    workload: Facts
    program: str
    threads: int
    plain_ms: tuple[Amount, ...]
    profiled_ms: tuple[Amount, ...]
    counted_steps: int
    rows: tuple[ProfileRow, ...]

    @property
    def setting(self) -> str:
        return str(self.workload.get("quant", "?"))

    @property
    def step_ms(self) -> float:
        """The mean profiled step: the sum of all rows."""
        return sum(row.ms for row in self.rows)

    @property
    def overheads_percent(self) -> list[float]:
        """What profiling adds to a step, for each neighbouring pair, sorted."""
        pairs = zip(self.profiled_ms, self.plain_ms, strict=False)
        return sorted(100 * (with_ms / without - 1) for with_ms, without in pairs)

    @property
    def overhead_percent(self) -> float:
        """The median of these."""
        return median(self.overheads_percent)

    @property
    def outside_percent(self) -> float:
        """The share of a step outside the layers' frozen products."""
        inside = sum(row.ms for row in self.rows if row.group == FROZEN)
        return 100 * (1 - inside / self.step_ms)


@dataclass(frozen=True)
class Profile:
    """Profiles of one device, made by one command. `failed` has the settings without one, with the reason."""

    profile_id: str
    started_at: str
    device: str
    kind: str
    emulated: bool
    machine: Facts
    settings: tuple[SettingProfile, ...]
    failed: Mapping[str, str]

    def document(self) -> dict[str, Json]:
        """Returns its form as JSON."""
        settings = [
            {
                **asdict(one),
                "step_ms": one.step_ms,
                "overhead_percent": one.overhead_percent,
                "outside_of_frozen_products_percent": one.outside_percent,
            }
            for one in self.settings
        ]
        return {**asdict(self), "schema": 1, "settings": settings}

    @classmethod
    def from_document(cls, document: Json) -> Profile:
        """Reads what :meth:`document` returns. Raises ValueError for anything else."""
        if not isinstance(document, Mapping) or document.get("schema") != 1:
            raise ValueError("its schema is not known")
        found = _adapter().validate_python(document)
        for one in found.settings:
            if not one.plain_ms or not one.profiled_ms or min(*one.plain_ms, *one.profiled_ms, one.step_ms) <= 0:
                raise ValueError("a step without time")
        return found


@lru_cache(maxsize=1)
def _adapter() -> TypeAdapter[Profile]:
    return TypeAdapter(Profile)


@dataclass(frozen=True)
class RowSum:
    """The sum of several rows. Rates leave out rows whose operations or bytes are not counted."""

    ms: float
    calls: int
    flops: float
    flops_ms: float
    bytes: float
    bytes_ms: float

    @classmethod
    def of(cls, rows: Iterable[ProfileRow]) -> RowSum:
        kept = list(rows)
        counted = [row for row in kept if row.flops]
        moving = [row for row in kept if row.bytes]
        return cls(
            ms=sum(row.ms for row in kept),
            calls=sum(row.calls for row in kept),
            flops=sum(row.flops or 0.0 for row in counted),
            flops_ms=sum(row.ms for row in counted),
            bytes=sum(row.bytes or 0.0 for row in moving),
            bytes_ms=sum(row.ms for row in moving),
        )

    @property
    def gflops_per_s(self) -> float | None:
        return self.flops / self.flops_ms / 1e6 if self.flops and self.flops_ms else None

    @property
    def gb_per_s(self) -> float | None:
        return self.bytes / self.bytes_ms / 1e6 if self.bytes and self.bytes_ms else None


def by_group(rows: Sequence[ProfileRow]) -> dict[str, list[ProfileRow]]:
    """Returns the rows of each group, the longest group first, time that is not attributed last."""
    groups: dict[str, list[ProfileRow]] = {}
    for row in rows:
        groups.setdefault(row.group, []).append(row)
    return dict(sorted(groups.items(), key=lambda item: (item[0] == NOT_ATTRIBUTED, -RowSum.of(item[1]).ms)))


def by_part(rows: Sequence[ProfileRow]) -> dict[tuple[str, str], list[ProfileRow]]:
    """Returns the rows of each part and operator over all layers, the longest first."""
    parts: dict[tuple[str, str], list[ProfileRow]] = {}
    for row in rows:
        parts.setdefault((row.part, row.name), []).append(row)
    return dict(sorted(parts.items(), key=lambda item: -RowSum.of(item[1]).ms))
