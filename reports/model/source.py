"""The only interface between the store and the pages, and a run in the form that pages receive.

The store implements :class:`ReportSource`; nothing here knows how results are stored.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from foundation.unavailable import Json
from reports.model.findings import Finding
from reports.model.histories import (
    Compared,
    DeviceSummary,
    HealthPoint,
    HistorySummary,
    MetricHistory,
    Recent,
    Remark,
    SeriesVerdict,
    WorkloadSummary,
)
from reports.model.measurement import Measurement
from reports.model.reading import items, mapping, records, text, value
from reports.model.training import TrainingGroup, TrainingGroupSummary
from reports.text.numbers import sort_key


@dataclass(frozen=True)
class PreflightCheck:
    """The result of a check of a device before its sessions; ``remedy`` is what to do about it."""

    name: str
    status: str
    detail: str = ""
    remedy: str = ""

    @classmethod
    def from_document(cls, found: Json) -> "PreflightCheck":
        """Reads one of a device's ``preflight``."""
        return cls(*(text(found, key) for key in ("name", "status", "detail", "remedy")))


@dataclass(frozen=True)
class RunDevice:
    """A device as it was in a run. ``facts`` are what its kind can read; ``origin`` is the lab it belongs to."""

    kind: str
    emulated: bool
    facts: Mapping[str, Json]
    preflight: tuple[PreflightCheck, ...]
    origin: str = ""

    @classmethod
    def from_document(cls, found: Json) -> "RunDevice":
        """Reads one of a run's ``devices``."""
        return cls(
            kind=text(found, "kind"),
            emulated=value(found, "emulated") is True,
            facts=mapping(found, "facts"),
            preflight=tuple(PreflightCheck.from_document(one) for one in records(found, "preflight")),
            origin=text(found, "origin"),
        )

    @property
    def was_busy(self) -> bool:
        """Whether other programs were running on it before its sessions."""
        return any((check.name, check.status) == ("load", "warning") for check in self.preflight)


@dataclass(frozen=True)
class RunContents:
    """A run. ``started_at`` and ``finished_at`` are ISO 8601 or empty, ``remarks`` oldest first. ``document`` is the
    one it was read from (docs/contracts.md), offered as a download.
    """

    run_id: str
    started_at: str
    finished_at: str
    command: str
    origin: str
    environment: Mapping[str, Json]
    devices: Mapping[str, RunDevice]
    remarks: tuple[Remark, ...]
    tags: tuple[str, ...]
    measurements: tuple[Measurement, ...]
    document: Mapping[str, Any] = field(repr=False, compare=False)

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> "RunContents":
        """Reads a run's document, or a part of one."""
        remarks = [Remark.from_document(one) for one in records(document, "remarks")]
        return cls(
            run_id=text(document, "run_id"),
            started_at=text(document, "started_at"),
            finished_at=text(document, "finished_at"),
            command=text(document, "command"),
            origin=text(document, "origin"),
            environment=mapping(document, "environment"),
            devices={str(name): RunDevice.from_document(one) for name, one in mapping(document, "devices").items()},
            remarks=tuple(sorted(remarks, key=lambda remark: sort_key(remark.at))),
            tags=tuple(str(name) for name in items(document, "tags")),
            measurements=tuple(
                Measurement.from_document(one, place) for place, one in enumerate(records(document, "measurements"))
            ),
            document=document,
        )


@dataclass(frozen=True)
class RunSummary:
    """One line of the index. Times are ISO 8601 with an offset; ``finished_at`` is None while a run is in progress
    or when it was interrupted. ``measurements`` is their count; ``purpose`` is ``run``, ``nightly`` or ``imported``;
    ``verdicts`` counts a night's verdicts by word; ``tags`` are names given by people; ``origin`` is the lab that an
    imported run came from. ``stamp`` changes whenever the content of the run's pages changes; as with all stamps, an
    empty one means that the pages are built every time."""

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

    ``index`` counts from 0 with the first warm-up step; ``phase`` is ``warm_up`` or ``measured``; times are nanoseconds
    of the device's monotonic clock; ``losses`` is the flattened [2, q] output (``+`` first, then ``-``) and may contain
    NaN.
    """

    index: int
    phase: str
    t0_ns: int
    t1_ns: int
    losses: Sequence[float]


@dataclass(frozen=True)
class Samples:
    """The readings of one sensor: ``values[i]`` at ``t_ns[i]`` (the clock of the steps). The quantity names its unit:
    ``memory_kib``, ``power_mw``, ``temperature_mc``."""

    quantity: str
    t_ns: Sequence[int]
    values: Sequence[float]


@dataclass(frozen=True)
class SessionTrace:
    """Steps and sensor samples of one session, both empty if nothing was recorded."""

    steps: Sequence[Step] = ()
    samples: Mapping[str, Samples] = field(default_factory=dict)


class ReportSource(Protocol):
    """Where the pages get their data."""

    def runs(self) -> list[RunSummary]:
        """Returns every run, in any order."""
        ...

    def run(self, run_id: str) -> RunContents:
        """Returns a run with its measurements. Only called with a ``run_id`` from :meth:`runs`."""
        ...

    def surroundings(self, run_id: str) -> RunContents:
        """Returns the environment, devices, origin and remarks of a run, without its measurements."""
        ...

    def trace(self, session_id: str) -> SessionTrace:
        """Returns the steps and samples of one session, an empty trace if nothing was recorded."""
        ...

    def verdicts(self, run_id: str) -> list[SeriesVerdict]:
        """Returns a night's verdicts, one per series, the latest if a series was judged twice; none for other runs."""
        ...

    def findings(self, run_id: str) -> list[Finding]:
        """Returns the findings of a night in reading order; none for other runs."""
        ...

    def recent(self) -> Recent:
        """Returns the data of the overview's first screen; called for every build."""
        ...

    def histories(self, run_id: str | None = None) -> list[HistorySummary]:
        """Returns every workload with a history on a device; with ``run_id`` only those that the run added to."""
        ...

    def history(self, device: str, workload_key: str) -> list[MetricHistory]:
        """Returns the history of every metric of a workload on a device."""
        ...

    def devices(self, run_id: str | None = None) -> list[DeviceSummary]:
        """Returns every device ever seen; with ``run_id`` only those of this run."""
        ...

    def health(self, device: str) -> list[HealthPoint]:
        """Returns the state of a device at each run, oldest first."""
        ...

    def workloads(self, run_id: str | None = None) -> list[WorkloadSummary]:
        """Returns every workload with its settings grouped; with ``run_id`` only those of this run."""
        ...

    def latest(self, workload: str) -> list[Measurement]:
        """Returns the newest measurement of each setting of a workload on each device."""
        ...

    def compared(self, before: str, after: str) -> Compared:
        """Compares two runs. Only called with ids from :meth:`runs`."""
        ...

    def training_groups(self) -> list[TrainingGroupSummary]:
        """Returns the trainings of every command, in any order."""
        ...

    def training_group(self, group_id: str) -> TrainingGroup:
        """Returns the trainings of a command. Only called with a ``group_id`` from :meth:`training_groups`."""
        ...
