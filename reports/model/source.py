"""What a report is made of: the one interface between the store and the pages.

The store implements :class:`ReportSource`; nothing here knows how results are kept.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from reports.model.histories import (
    Compared,
    DeviceSummary,
    HealthPoint,
    HistorySummary,
    MetricHistory,
    SeriesVerdict,
    WorkloadSummary,
)
from reports.model.measurement import Measurement
from reports.model.run_contents import RunContents


@dataclass(frozen=True)
class RunSummary:
    """One line of the index. Times are ISO 8601 with an offset; ``finished_at`` is None while a run is going on
    or when it was interrupted. ``measurements`` is their count; ``purpose`` is ``run``, ``nightly`` or ``imported``;
    ``verdicts`` counts those of a night by their word; ``tags`` are names that people gave it; ``origin`` is the
    lab that an imported run came from. ``stamp`` changes whenever what the pages of the run show changes; an empty
    one has them built every time (so it is with all stamps)."""

    run_id: str
    started_at: str
    finished_at: str | None
    status: str
    command: str
    devices: Sequence[str]
    settings: Sequence[str]
    measurements: int
    purpose: str = "run"
    verdicts: Mapping[str, int] = field(default_factory=dict)
    tags: Sequence[str] = ()
    stamp: str = ""
    origin: str = ""


@dataclass(frozen=True)
class Step:
    """One training step as the runner reported it.

    ``index`` counts from 0 with the first warm-up step; ``phase`` is ``warm_up`` or ``measured``; times are
    nanoseconds of the device's monotonic clock; ``losses`` is the flattened [2, q] output
    (``+`` first, then ``-``), NaN allowed.
    """

    index: int
    phase: str
    t0_ns: int
    t1_ns: int
    losses: Sequence[float]


@dataclass(frozen=True)
class Samples:
    """What one sensor gave: ``values[i]`` at ``t_ns[i]`` (the clock of the steps). The quantity names its unit:
    ``memory_kib``, ``power_mw``, ``temperature_mc``."""

    quantity: str
    t_ns: Sequence[int]
    values: Sequence[float]


@dataclass(frozen=True)
class SessionTrace:
    """Steps and sensor samples of one session; both empty when the session left none."""

    steps: Sequence[Step] = ()
    samples: Mapping[str, Samples] = field(default_factory=dict)


class ReportSource(Protocol):
    """Where the pages get their facts."""

    def runs(self) -> list[RunSummary]:
        """Every run there is, in any order."""
        ...

    def run(self, run_id: str) -> RunContents:
        """A run with its measurements. Only called with the ``run_id`` of one of :meth:`runs`."""
        ...

    def surroundings(self, run_id: str) -> RunContents:
        """The environment, devices, origin and remarks of a run, without its measurements."""
        ...

    def trace(self, session_id: str) -> SessionTrace:
        """Steps and samples of one session of a document; an empty trace when nothing was recorded."""
        ...

    def verdicts(self, run_id: str) -> list[SeriesVerdict]:
        """What a night judged, one per series, the latest where a series was judged twice; empty for other runs."""
        ...

    def histories(self, run_id: str | None = None) -> list[HistorySummary]:
        """Every workload that has a history on a device; with ``run_id`` those that this run added to."""
        ...

    def history(self, device: str, workload_key: str) -> list[MetricHistory]:
        """The history of every metric of a workload on a device."""
        ...

    def devices(self, run_id: str | None = None) -> list[DeviceSummary]:
        """Every device ever seen; with ``run_id`` those of this run."""
        ...

    def health(self, device: str) -> list[HealthPoint]:
        """The state of a device at each run, the oldest first."""
        ...

    def workloads(self, run_id: str | None = None) -> list[WorkloadSummary]:
        """Every workload, its settings together; with ``run_id`` those of this run."""
        ...

    def latest(self, workload: str) -> list[Measurement]:
        """The newest measurement of each setting of a workload on each device."""
        ...

    def compared(self, before: str, after: str) -> Compared:
        """Two runs side by side. Only called with ids of :meth:`runs`."""
        ...
