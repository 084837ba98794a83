"""Types that span several runs: series, verdicts, the health of devices, comparisons of two runs, and the nights of a
lab.

Numbers are in stored units, with which the names of metrics end (``latency_ms``); times are ISO 8601 with an offset.
``origin`` is the lab that something was imported from, empty for this one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from foundation.unavailable import Json
from reports.model.findings import Finding
from reports.model.measurement import Measurement
from reports.model.quantities import LATENCY
from reports.model.reading import text


@dataclass(frozen=True)
class SeriesVerdict:
    """The verdict on one series in one night.

    ``direction`` is what is better (``lower``, ``higher``); ``numbers`` and ``inputs`` are what the verdict is based
    on: ``ratio``, ``ratio_low``, ``ratio_high``, ``p``, ``q``, ``centre``, ``points``, ``sentence``, ``command``, as
    far as they are known. ``value`` is the night's own number.
    """

    device: str
    workload_key: str
    workload: Mapping[str, Json]
    metric: str
    direction: str
    emulated: bool
    measurement_id: str
    verdict: str
    rule: str
    at: str
    value: float | None = None
    numbers: Mapping[str, Json] = field(default_factory=dict)
    inputs: Mapping[str, Json] = field(default_factory=dict)
    series_id: int = 0

    @property
    def sentence(self) -> str:
        """The verdict in words, empty if none were kept."""
        return text(self.numbers, "sentence") or text(self.inputs, "sentence")

    @property
    def command(self) -> str:
        """The command that measures it again, empty if none was kept."""
        return text(self.numbers, "command") or text(self.inputs, "command")


@dataclass(frozen=True)
class HistorySummary:
    """One workload on one device: the subject of a page of series. ``group`` is the key of the workload with all its
    settings together (:class:`WorkloadSummary`)."""

    device: str
    workload_key: str
    group: str
    workload: Mapping[str, Json]
    emulated: bool
    measurements: int
    stamp: str = ""
    origin: str = ""


@dataclass(frozen=True)
class Confirmed:
    """A change measured in turn with the baseline: the ratio to it, its 95 % interval, the number of pairs."""

    ratio: float
    low: float
    high: float
    pairs: int


@dataclass(frozen=True)
class HistoryPoint:
    """One run's value; ``low`` and ``high`` are its 95 % interval, ``sessions`` the number of sessions, if known.

    ``aside`` says why no night is compared with it, empty for a point of the nights' history. ``centre`` is the level
    it was compared with, ``margin`` the distance from it that is still noise. ``confirmed`` is the change when it was
    measured in turn with the baseline. ``versions`` are those of the packages that made the program.
    """

    at: str
    run_id: str
    measurement_id: str
    value: float
    status: str
    low: float | None = None
    high: float | None = None
    sessions: int | None = None
    verdict: str = ""
    aside: str = ""
    centre: float | None = None
    margin: float | None = None
    confirmed: Confirmed | None = None
    versions: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class HistorySegment:
    """Points ``start <= index < stop`` may be compared with one another; ``reason`` is why the segment starts there."""

    start: int
    stop: int
    reason: str


@dataclass(frozen=True)
class Change:
    """The level moved before point ``at``, from ``before`` to ``after``; ``side`` is ``worse`` or ``better``."""

    at: int
    side: str
    before: float
    after: float


@dataclass(frozen=True)
class Remark:
    """A person's note: an annotation, or why a level was accepted (``kind``). ``run_id`` is empty for a remark on the
    whole series. ``about`` names the part of a run it concerns, empty for the whole run."""

    kind: str
    at: str
    author: str
    text: str
    run_id: str = ""
    about: str = ""

    @classmethod
    def from_document(cls, found: Json) -> Remark:
        """Reads one of a run's ``remarks``."""
        kind, at, author, words, about = (text(found, key) for key in ("kind", "at", "author", "text", "about"))
        return cls(kind, at, author, words, about=about)


@dataclass(frozen=True)
class MetricHistory:
    """One series with its segments, changes and remarks; ``drift`` describes its total drift, if points suffice."""

    metric: str
    direction: str
    points: Sequence[HistoryPoint]
    segments: Sequence[HistorySegment] = ()
    changes: Sequence[Change] = ()
    remarks: Sequence[Remark] = ()
    drift: str = ""


@dataclass(frozen=True)
class DeviceSummary:
    """One device by name, with its last run and its outcomes there.

    ``unreached`` is why that run could not reach it, ``unreached_since`` the start of the first of consecutive runs
    that could not; both are empty for a device that was reached.
    """

    name: str
    kind: str
    emulated: bool
    last_run: str
    last_at: str
    outcomes: Mapping[str, int] = field(default_factory=dict)
    warnings: Sequence[str] = ()
    stamp: str = ""
    origin: str = ""
    unreached: str = ""
    unreached_since: str = ""


@dataclass(frozen=True)
class HealthPoint:
    """A device at one run; what the device does not report is None.

    ``temperature_start_c`` and ``temperature_max_c`` are the highest over its measurements, ``throttled`` counts
    throttled measurements, ``outcomes`` all measurements by status; ``checks`` are the preflight checks that were not
    ok, as (name, status, detail).
    """

    run_id: str
    at: str
    os_build: str
    temperature_start_c: float | None = None
    temperature_max_c: float | None = None
    throttled: int = 0
    battery_percent: float | None = None
    free_mib: float | None = None
    outcomes: Mapping[str, int] = field(default_factory=dict)
    checks: Sequence[tuple[str, str, str]] = ()


@dataclass(frozen=True)
class WorkloadSummary:
    """A workload over all its settings; ``key`` identifies it."""

    key: str
    workload: Mapping[str, Json]
    devices: Sequence[str]
    settings: Sequence[str]
    stamp: str = ""


@dataclass(frozen=True)
class ComparedMetric:
    """One metric of one workload on one device in two runs.

    ``outcome`` is ``worse``, ``better``, ``same``, ``insufficient`` or ``missing`` (only one run has it). ``ratio`` is
    after divided by before, with its 95 % interval if there are enough sessions; ``sentence`` states it in words.
    ``kind`` is the device's.
    """

    device: str
    workload: Mapping[str, Json]
    metric: str
    direction: str
    outcome: str
    before: float | None
    after: float | None
    ratio: float | None = None
    low: float | None = None
    high: float | None = None
    p: float | None = None
    sessions: tuple[int, int] = (0, 0)
    sentence: str = ""
    emulated: bool = False
    origin: str = ""
    kind: str = ""


@dataclass(frozen=True)
class Compared:
    """Two runs compared; ``differences`` lists what else differs (name, before, after): versions, firmware, state."""

    before: str
    after: str
    metrics: Sequence[ComparedMetric]
    differences: Sequence[tuple[str, str, str]] = ()


NIGHTS = 30
"""How many nights the overview covers."""


@dataclass(frozen=True)
class Night:
    """One night. ``outcomes`` counts the measurements of each device by status, ``unreached`` are the devices that it
    could not reach, ``latency_ms`` is by device and workload key. The findings are in reading order."""

    run_id: str
    started_at: str
    outcomes: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    unreached: frozenset[str] = frozenset()
    findings: Sequence[Finding] = ()
    latency_ms: Mapping[tuple[str, str], float] = field(default_factory=dict)

    def finding_of(self, device: str) -> Finding | None:
        """Returns the first open finding of a device, in reading order."""
        return next((one for one in self.findings if one.is_open and device in one.devices), None)

    def began(self, device: str, workload_key: str) -> Finding | None:
        """Returns the finding, if one was new that night, that the latency of a workload changed on a device."""
        sought = (device, workload_key, LATENCY)
        new = [one for one in self.findings if one.state == "new"]
        return next((one for one in new if any((*it.place, it.metric) == sought for it in one.members)), None)


@dataclass(frozen=True)
class Recent:
    """The data of the overview's first screen.

    At most `NIGHTS` newest nights, oldest first; the newest measurement in them of each setting on each of our own
    devices, by the key of its workload (without nights, those of the newest run); the last night's verdicts, and the
    devices that were busy before it.
    """

    nights: Sequence[Night] = ()
    latest: Mapping[str, Sequence[Measurement]] = field(default_factory=dict)
    verdicts: Sequence[SeriesVerdict] = ()
    busy: Sequence[str] = ()
