"""Peaks of a device: what its processor and its memory can do at best, as the runner has measured it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Annotated

from pydantic import Field, TypeAdapter

from foundation.unavailable import Json

MEMORY, CACHE = "memory", "cache"
"""A buffer that no cache holds, and one that each thread's own cache does."""

_Positive = Annotated[int, Field(gt=0)]


@dataclass(frozen=True)
class Peak:
    """One measurement, of several repetitions of `ns` nanoseconds, in each of which `count` is done: by the clock in
    memory, else by the processor's own time.

    `of` is a type that products are made in (`float32`, `float16`, `bfloat16`, `int8`), by instructions, or how memory
    is gone through (`read`, `copy`, `triad`), by `memory` or `cache`. `count` is operations, two for each product, or
    bytes read and written. `buffer_bytes` is the size of what memory was gone through.
    """

    of: str
    by: str
    unit: str
    count: _Positive
    ns: Annotated[tuple[_Positive, ...], Field(min_length=1)]
    buffer_bytes: int | None = None

    @property
    def giga_per_s(self) -> float:
        """GFLOP/s or GB/s of the fastest repetition: what held up the others was something else."""
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
        """Returns the peak of products in a type, None where the processor does not compute in it."""
        return next((peak.giga_per_s for peak in self.peaks if peak.of == dtype), None)

    def gb_per_s(self, place: str = MEMORY) -> float:
        """Returns the best bandwidth of a place, in whichever way it is gone through."""
        return max(peak.giga_per_s for peak in self.peaks if peak.by == place)

    def document(self) -> dict[str, Json]:
        """Returns its form as JSON."""
        found = [{**asdict(peak), "giga_per_s": peak.giga_per_s} for peak in self.peaks]
        return {**asdict(self), "schema": 1, "peaks": found}

    @classmethod
    def from_document(cls, document: Json) -> Peaks:
        """Returns the peaks of a document. Raises ValueError for another one."""
        if not isinstance(document, Mapping) or document.get("schema") != 1:
            raise ValueError("its schema is not known")
        found = _adapter().validate_python(document)
        if fault := found.fault():
            raise ValueError(fault)
        return found

    def fault(self) -> str | None:
        """Returns what is wrong with the peaks as a whole: what every device has is missing, or is there twice."""
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
