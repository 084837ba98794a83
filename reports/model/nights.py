"""Nights as the boards of a lab had them: how their measurements ended, what was found, how long a step took."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from reports.model.findings import Finding
from reports.model.histories import SeriesVerdict
from reports.model.measurement import Measurement
from reports.model.quantities import LATENCY

NIGHTS = 30
"""How many nights the overview looks back on."""


@dataclass(frozen=True)
class Night:
    """One night. ``outcomes`` counts the measurements of each device by their status, ``unreached`` are the devices
    that it wanted and could not reach, ``latency_ms`` is by device and workload key. The findings are in the order in
    which they are read."""

    run_id: str
    started_at: str
    outcomes: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    unreached: frozenset[str] = frozenset()
    findings: Sequence[Finding] = ()
    latency_ms: Mapping[tuple[str, str], float] = field(default_factory=dict)

    def finding_of(self, device: str) -> Finding | None:
        """Returns the open finding of a device that is to be read first."""
        return next((one for one in self.findings if one.is_open and device in one.devices), None)

    def began(self, device: str, workload_key: str) -> Finding | None:
        """Returns the finding, new that night, that changed the latency of a workload on a device."""
        sought = (device, workload_key, LATENCY)
        new = [one for one in self.findings if one.state == "new"]
        return next((one for one in new if any((*it.place, it.metric) == sought for it in one.members)), None)


@dataclass(frozen=True)
class Recent:
    """What the overview's first screen is made of: the newest nights, oldest first, at most `NIGHTS`; the newest
    measurement of each setting on each own device among them (without nights: of the newest run), by the key of its
    workload; verdicts of the last night, and the devices that were busy before it."""

    nights: Sequence[Night] = ()
    latest: Mapping[str, Sequence[Measurement]] = field(default_factory=dict)
    verdicts: Sequence[SeriesVerdict] = ()
    busy: Sequence[str] = ()
