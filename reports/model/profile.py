"""A profile: where the time of a training step goes, operator by operator, for each setting that was profiled."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from foundation.unavailable import Json

NOT_ATTRIBUTED = "not attributed"
"""The group of time that no operator has reported."""
FROZEN = "frozen products"


@dataclass(frozen=True)
class ProfileRow:
    """An operator of one layer, or of none, over all its calls in a step.

    `place` is what called it: `delegate`, `kernel` (an operator of the runtime or of ours) or `runtime`. `ms`, `flops`
    and `bytes` are those of a step; None where they are not counted.
    """

    group: str
    part: str
    name: str
    place: str
    layer: int | None
    calls: int
    ms: float
    flops: float | None
    bytes: float | None


@dataclass(frozen=True)
class SettingProfile:
    """One workload's profile. Steps with and without it took turns; `plain_ms` and `profiled_ms` are their times.

    `rows` are those of the mean of `counted_steps` profiled ones, without the slowest and the fastest quarter;
    `overhead_percent` is the median over pairs of neighbours of what the profile adds to a step.
    """

    workload: Mapping[str, Json]
    program: str
    threads: int
    plain_ms: Sequence[float]
    profiled_ms: Sequence[float]
    counted_steps: int
    rows: Sequence[ProfileRow]

    @property
    def setting(self) -> str:
        return str(self.workload.get("quant", "?"))

    @property
    def step_ms(self) -> float:
        """The mean profiled step: the sum of all rows."""
        return sum(row.ms for row in self.rows)

    @property
    def overheads_percent(self) -> list[float]:
        """What the profile adds to a step, by pairs of neighbours, the least first."""
        pairs = zip(self.profiled_ms, self.plain_ms, strict=False)
        return sorted(100 * (with_ms / without - 1) for with_ms, without in pairs)

    @property
    def overhead_percent(self) -> float:
        """Their median."""
        return median(self.overheads_percent)

    @property
    def outside_percent(self) -> float:
        """How much of a step is spent outside of the layers' frozen products."""
        inside = sum(row.ms for row in self.rows if row.group == FROZEN)
        return 100 * (1 - inside / self.step_ms)


@dataclass(frozen=True)
class Profile:
    """Profiles of one device, made by one command. `failed` are the settings without one, with the reason."""

    profile_id: str
    started_at: str
    device: str
    kind: str
    emulated: bool
    machine: Mapping[str, Json]
    settings: Sequence[SettingProfile]
    failed: Mapping[str, str]

    def document(self) -> dict[str, Any]:
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
    def from_document(cls, document: Mapping[str, Any]) -> Profile:
        """Returns the profile of a document; raises what damage leads to."""
        if document["schema"] != 1:
            raise ValueError(f"schema {document['schema']!r} is not known")
        return cls(
            profile_id=str(document["profile_id"]),
            started_at=str(document["started_at"]),
            device=str(document["device"]),
            kind=str(document["kind"]),
            emulated=bool(document["emulated"]),
            machine=dict(document["machine"]),
            settings=tuple(_setting(one) for one in document["settings"]),
            failed={str(quant): str(reason) for quant, reason in document["failed"].items()},
        )


def _setting(document: Mapping[str, Any]) -> SettingProfile:
    plain_ms, profiled_ms = (tuple(_number(ms) for ms in document[name]) for name in ("plain_ms", "profiled_ms"))
    rows = tuple(_row(row) for row in document["rows"])
    if not plain_ms or not profiled_ms or min(*plain_ms, *profiled_ms, sum(row.ms for row in rows)) <= 0:
        raise ValueError("a step without time")
    return SettingProfile(
        workload=dict(document["workload"]),
        program=str(document["program"]),
        threads=int(document["threads"]),
        plain_ms=plain_ms,
        profiled_ms=profiled_ms,
        counted_steps=int(document["counted_steps"]),
        rows=rows,
    )


def _row(document: Mapping[str, Any]) -> ProfileRow:
    group, part, name, place = (str(document[key]) for key in ("group", "part", "name", "place"))
    flops, size = (None if document[key] is None else _number(document[key]) for key in ("flops", "bytes"))
    layer = None if document["layer"] is None else int(document["layer"])
    return ProfileRow(group, part, name, place, layer, int(document["calls"]), _number(document["ms"]), flops, size)


def _number(value: Any) -> float:
    number = float(value)
    if not 0 <= number < math.inf:
        raise ValueError(f"{value!r} is no such number")
    return number


@dataclass(frozen=True)
class RowSum:
    """What several rows come to. Rates leave out rows whose operations or bytes are not counted."""

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
    """Returns the rows of each group, the longest group first, what nobody attributed last."""
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
