"""Peaks of a device: the most that its processor and memory can do, as measured by the runner."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Annotated

from pydantic import Field, TypeAdapter

from foundation.unavailable import Json

MEMORY, CACHE = "memory", "cache"
"""A buffer larger than any cache, and one that fits each thread's own cache."""

_Positive = Annotated[int, Field(gt=0)]


@dataclass(frozen=True)
class Peak:
    """One measurement of several repetitions: each took `ns` nanoseconds (by the clock for memory, else in processor
    time) and did `count`.

    `of` is the type of products (`float32`, `float16`, `bfloat16`, `int8`), with the instructions as `by`, or the
    access to memory (`read`, `copy`, `triad`), with `memory` or `cache` as `by`. `count` is operations, two per
    product, or bytes read and written. `buffer_bytes` is the size of the memory accessed.
    """

    of: str
    by: str
    unit: str
    count: _Positive
    ns: Annotated[tuple[_Positive, ...], Field(min_length=1)]
    buffer_bytes: int | None = None

    @property
    def giga_per_s(self) -> float:
        """GFLOP/s or GB/s of the fastest repetition; the others were slowed down by something else."""
        return self.count / min(self.ns)


@dataclass(frozen=True)
class Peaks:
    """All peaks of one device, with `threads` threads."""

    peaks_id: str
    measured_at: str
    device: str
    kind: str
    emulated: bool
    machine: Mapping[str, str | int]
    threads: int
    peaks: tuple[Peak, ...]

    def gflops_per_s(self, dtype: str) -> float | None:
        """Returns the peak of products in a type, None if the processor does not compute in it."""
        return next((peak.giga_per_s for peak in self.peaks if peak.of == dtype), None)

    def gb_per_s(self, place: str = MEMORY) -> float:
        """Returns the best bandwidth of a place, over all kinds of access."""
        return max(peak.giga_per_s for peak in self.peaks if peak.by == place)

    def document(self) -> dict[str, Json]:
        """Returns its form as JSON."""
        found = [{**asdict(peak), "giga_per_s": peak.giga_per_s} for peak in self.peaks]
        return {**asdict(self), "schema": 1, "peaks": found}

    @classmethod
    def from_document(cls, document: Json) -> Peaks:
        """Reads what :meth:`document` returns. Raises ValueError for anything else."""
        if not isinstance(document, Mapping) or document.get("schema") != 1:
            raise ValueError("its schema is not known")
        found = _adapter().validate_python(document)
        if fault := found.fault():
            raise ValueError(fault)
        return found

    def fault(self) -> str | None:
        """Returns what is wrong with the peaks as a whole: one is there twice, or one that all devices have is
        missing."""
        names = [peak.of if peak.buffer_bytes is None else f"{peak.of} {peak.by}" for peak in self.peaks]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            return f"two peaks of {twice}"
        there = {name for peak in self.peaks for name in (peak.of, peak.by)}
        missing = next((name for name in ("float32", MEMORY, CACHE) if name not in there), None)
        return None if missing is None else f"no peak of {missing}"


@lru_cache(maxsize=1)
def _adapter() -> TypeAdapter[Peaks]:
    return TypeAdapter(Peaks)
