"""The roofline model [Williams, Waterman, Patterson 2009] of a profile: what limits each operator, what would help.

An operator with F operations that moves B bytes takes at least max(F / P, B / W) on a device that makes P operations
and moves W bytes per second. The larger of the two is its roof: `compute` or `bandwidth`. P is the peak in the type in
which the operator multiplies. W is that of memory, or of the cache if the operator was faster than memory, because its
operands were still there. The share of the roof is this least time divided by the time that the operator took.

The forecast of a changed step lets every operator keep its share of its roof, and changes the roofs: other operations
and bytes for another q and b, another P for another type. Weights are read and decoded once for each pass of a group of
rows through the model (`chunks_of_step`); noise is drawn once for each query of a pass.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from foundation.errors import UserError
from reports.model.peaks import CACHE, MEMORY, Peaks
from reports.model.profile import FROZEN, NOT_ATTRIBUTED, ProfileRow, SettingProfile
from suite.planning.plan import described_workload
from workloads.estimates.session_memory import chunks_of_step
from workloads.profile.operator import Group
from workloads.workload import Workload

COMPUTE, BANDWIDTH = "compute", "bandwidth"

WORTH = 1.02
"""A change with a smaller forecast gain is not advised, as sessions of the same program differ by as much."""

_DECODING = "dequantize"

_TYPES = {"fp32": "float32", "fp16": "float16", "bf16": "bfloat16", "int8-dynamic": "int8"}
"""Settings and the type in which they multiply, if the processor does. All other settings multiply in float32."""

_FLOAT_HEADS = ("fp16", "bf16")
"""Settings whose head multiplies float32 rows nevertheless."""

_ROUNDED = ("product", "x A^T", "x A^T B", "scores", "mix")
"""A layer's products in our kernels, whose operands bf16 rounds."""


@dataclass(frozen=True)
class Roof:
    """The least time that an operator can take, and what sets it. `place` is where its bytes come from."""

    least_ms: float
    bound: str
    place: str


@dataclass(frozen=True)
class Point:
    """An operator in a step, over all layers. `least_ms` is its least time, `dtype` the type in which it multiplies."""

    group: str
    part: str
    name: str
    dtype: str
    ms: float
    flops: float
    bytes: float
    roof: Roof

    @property
    def intensity(self) -> float:
        """Operations per byte."""
        return self.flops / self.bytes

    @property
    def gflops_per_s(self) -> float:
        return self.flops / self.ms / 1e6

    @property
    def share(self) -> float:
        """The share of its roof that it reaches; above 1 if something else used memory while peaks were measured."""
        return self.roof.least_ms / self.ms


@dataclass(frozen=True)
class GroupShare:
    """The operators of a group: their time, how much of it is under which roof, and the share of the roofs they reach.

    `ms` is the time of the points; `uncounted_ms` is that of operators whose operations and bytes are unknown.
    """

    group: str
    ms: float
    uncounted_ms: float
    compute_ms: float
    bandwidth_ms: float
    share: float | None

    @property
    def bound(self) -> str | None:
        """The roof for most of its time."""
        if not self.compute_ms and not self.bandwidth_ms:
            return None
        return COMPUTE if self.compute_ms >= self.bandwidth_ms else BANDWIDTH


@dataclass(frozen=True)
class Advice:
    """A change of the workload and its forecast gain: the present time for the same forward tokens / the changed one.

    `saved_ms` is what each group saves, for the present step's work; `step_ms` is the forecast of the changed step.
    """

    change: Mapping[str, int | str]
    step_ms: float
    gain: float
    saved_ms: Mapping[str, float]

    @property
    def words(self) -> str:
        """The change in words, such as `q 8, b 2`."""
        return ", ".join(f"{name} {value}" for name, value in self.change.items())


def points_of(profile: SettingProfile, peaks: Peaks) -> tuple[Point, ...]:
    """Returns the operators whose operations or bytes are known, longest first."""
    found: dict[tuple[str, str, str], list[ProfileRow]] = {}
    for row in profile.rows:
        if row.group != NOT_ATTRIBUTED and row.ms and row.bytes:
            found.setdefault((row.group, row.part, row.name), []).append(row)
    points = (_point(rows, profile.setting, peaks) for rows in found.values())
    return tuple(sorted(points, key=lambda point: -point.ms))


def _point(rows: Sequence[ProfileRow], setting: str, peaks: Peaks) -> Point:
    first, ms = rows[0], sum(row.ms for row in rows)
    flops, size = sum(row.flops or 0.0 for row in rows), sum(row.bytes or 0.0 for row in rows)
    dtype = _type_of(first, setting, peaks)
    return Point(first.group, first.part, first.name, dtype, ms, flops, size, _roof(peaks, dtype, flops, size, ms))


def _type_of(row: ProfileRow, setting: str, peaks: Peaks) -> str:
    """Returns the type in which an operator multiplies, from XNNPACK's name such as `(NC, QDU8, F32, QC8W) GEMM`.

    If the processor has no products of float16 or bfloat16, they are computed in float32.
    """
    named = "int8" if ", QD" in row.name else "float16" if ", F16" in row.name else "float32"
    if setting == "bf16" and row.group != Group.HEAD and row.name in _ROUNDED:
        named = "bfloat16"
    return named if peaks.gflops_per_s(named) else "float32"


def _roof(peaks: Peaks, dtype: str, flops: float, size: float, ms: float) -> Roof:
    from_memory = size / peaks.gb_per_s(MEMORY) / 1e6 <= ms
    return _roof_at(peaks, dtype, flops, size, MEMORY if from_memory else CACHE)


def _roof_at(peaks: Peaks, dtype: str, flops: float, size: float, place: str) -> Roof:
    compute_ms = flops / (peaks.gflops_per_s(dtype) or 1.0) / 1e6
    bandwidth_ms = size / peaks.gb_per_s(place) / 1e6
    bound = COMPUTE if compute_ms >= bandwidth_ms else BANDWIDTH
    return Roof(max(compute_ms, bandwidth_ms), bound, place)


def group_shares(profile: SettingProfile, peaks: Peaks) -> tuple[GroupShare, ...]:
    """Returns all groups of a profile, longest first."""
    points: dict[str, list[Point]] = {}
    for point in points_of(profile, peaks):
        points.setdefault(point.group, []).append(point)
    times: dict[str, float] = {}
    for row in profile.rows:
        times[row.group] = times.get(row.group, 0.0) + row.ms
    shares = (_share(group, ms, points.get(group, [])) for group, ms in times.items())
    return tuple(sorted(shares, key=lambda share: -(share.ms + share.uncounted_ms)))


def _share(group: str, whole_ms: float, points: Sequence[Point]) -> GroupShare:
    ms = sum(point.ms for point in points)
    compute_ms = sum(point.ms for point in points if point.roof.bound == COMPUTE)
    share = sum(point.roof.least_ms for point in points) / ms if ms else None
    return GroupShare(group, ms, max(0.0, whole_ms - ms), compute_ms, ms - compute_ms, share)


def advise(profile: SettingProfile, peaks: Peaks) -> tuple[Advice, ...]:
    """Returns changes with a forecast gain of at least WORTH, largest gain first.

    Raises UserError if the profile's workload is invalid.
    """
    step = _Step(profile, peaks)
    found = (step.advice(change) for change in step.changes())
    return tuple(sorted((one for one in found if one is not None), key=lambda one: -one.gain))


class _Step:
    """A profiled step, from which others are forecast."""

    def __init__(self, profile: SettingProfile, peaks: Peaks) -> None:
        self._profile, self._peaks = profile, peaks
        self._workload = described_workload(profile.workload)

    def changes(self) -> Iterator[Mapping[str, int | str]]:
        """Yields single changes: more queries, more rows, rows for queries, queries for rows, another setting."""
        now = self._workload
        yield {"b": 2 * now.b}
        if now.training_method.queries is None:
            yield {"q": 2 * now.q}
            if now.q % 2 == 0:
                yield {"q": now.q // 2, "b": 2 * now.b}
            if now.b % 2 == 0:
                yield {"q": 2 * now.q, "b": now.b // 2}
        yield from ({"quant": name} for name, dtype in _TYPES.items() if self._differs(name, dtype))

    def _differs(self, name: str, dtype: str) -> bool:
        return name != self._workload.quant and self._peaks.gflops_per_s(dtype) is not None

    def advice(self, change: Mapping[str, int | str]) -> Advice | None:
        """Returns the forecast of a change, or None if there is no such workload."""
        try:
            then = replace(self._workload, **change)  # type: ignore[arg-type]  # its own fields
        except UserError:
            return None
        work = then.forward_tokens / self._workload.forward_tokens
        scale = _Scale.between(self._workload, then)
        step_ms, saved_ms = 0.0, dict.fromkeys((row.group for row in self._profile.rows), 0.0)
        for row in self._profile.rows:
            then_ms = self._forecast_ms(row, then, scale)
            step_ms += then_ms
            saved_ms[row.group] += row.ms - then_ms / work
        return Advice(change, step_ms, self._profile.step_ms * work / step_ms, saved_ms)

    def _forecast_ms(self, row: ProfileRow, then: Workload, scale: _Scale) -> float:
        """Returns the forecast time of a row in a step of `then`."""
        if row.group == NOT_ATTRIBUTED:
            return row.ms * (scale.tokens if row.place == "kernel" else scale.passes)
        if row.group == Group.NOISE:
            return row.ms * (scale.draws if row.name.startswith("perturb") else scale.queries)
        if row.group == Group.DECODE or row.name == _DECODING:
            return row.ms * scale.passes if then.by_kernel else 0.0
        if not row.bytes or not row.ms:
            return row.ms * scale.tokens
        now = _type_of(row, self._workload.quant, self._peaks)
        flops, weights = row.flops or 0.0, self._weight_bytes(row)
        size = weights * scale.passes * self._width(then) + (row.bytes - weights) * scale.tokens
        float_head = row.group == Group.HEAD and then.quant in _FLOAT_HEADS
        moved = "float32" if float_head else _TYPES.get(then.quant, "float32")
        dtype = moved if self._moves_type(row, then) else now
        roof = _roof(self._peaks, now, flops, row.bytes, row.ms)
        # Bytes will come from the same place as now.
        then_roof = _roof_at(self._peaks, dtype, flops * scale.tokens, size, roof.place)
        return row.ms * then_roof.least_ms / roof.least_ms

    def _moves_type(self, row: ProfileRow, then: Workload) -> bool:
        """Returns whether a row is a product with a frozen weight that `then` computes in another type."""
        return then.quant != self._workload.quant and _is_frozen_product(row)

    def _weight_bytes(self, row: ProfileRow) -> float:
        """Returns how many of a row's bytes are frozen weights; for the head's product with few rows, nearly all."""
        if not _is_frozen_product(row) or not row.bytes:
            return 0.0
        if row.group == Group.HEAD:
            return row.bytes
        width = 4.0 if row.place == "kernel" else self._workload.setting.bits / 8  # kernels read decoded tiles
        values = (row.flops or 0.0) / 2 / self._workload.forward_tokens
        return min(row.bytes, values * width * row.calls)

    def _width(self, then: Workload) -> float:
        """Returns the width of a stored weight in `then` as a share of the present one."""
        return then.setting.bits / self._workload.setting.bits


def _is_frozen_product(row: ProfileRow) -> bool:
    if row.group not in (FROZEN, Group.HEAD) or not row.flops:
        return False
    return row.name == "product" or row.name.startswith("Fully Connected")


@dataclass(frozen=True)
class _Scale:
    """The ratios of two steps: forward tokens, queries, passes through the model, draws of noise."""

    tokens: float
    queries: float
    passes: float
    draws: float

    @classmethod
    def between(cls, now: Workload, then: Workload) -> _Scale:
        """Returns the scale of a step of `then`."""
        passes, others = chunks_of_step(now), chunks_of_step(then)
        draws = [sum(one.queries for one in each) for each in (passes, others)]
        return cls(
            then.forward_tokens / now.forward_tokens, then.q / now.q, len(others) / len(passes), draws[1] / draws[0]
        )
