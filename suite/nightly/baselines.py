"""Which program and runner a suspect is compared with: those of a point that the screen compared it with.

The newest points are not taken: a step that the first nights missed would be compared with itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from devices.built_runner import BuiltRunner, read_built
from suite.nightly.evidence import Screened, as_point
from suite.regression.screen import MIN_POINTS, NEWEST_LEFT_OUT
from suite.regression.segments import segments
from suite.store.nights import MeasuredWith, StoredPoint
from workloads.artifact import Artifact, ArtifactCache


@dataclass(frozen=True)
class Baseline:
    """What is measured beside the candidate. `runner` is None where it can't be told, or is the device's own."""

    measured: MeasuredWith
    artifact: Artifact
    runner: BuiltRunner | None


def candidates_for(suspects: Sequence[Screened]) -> list[int]:
    """Measurement ids that can be the baseline of all these suspects of one workload, the best first.

    The newest of the points that every one of them was compared with; for what merely drifts, the oldest.
    """
    allowed = [{point.measurement_id for point in _compared(item)} for item in suspects]
    common = set.intersection(*allowed) if allowed else set()
    oldest_first = [point.measurement_id for point in suspects[0].series.before if point.measurement_id in common]
    return oldest_first[::-1] if any(item.is_unlike for item in suspects) else oldest_first


def baseline_of(
    candidates: Sequence[int],
    facts: Mapping[int, MeasuredWith],
    runner_hash: str | None,
    cache: ArtifactCache,
    runner_home: Path,
) -> Baseline | str:
    """The first candidate whose program is still there, with its runner; else why there is none.

    `runner_hash` is tonight's: a baseline that had the same one needs no other.
    """
    gone = 0
    for key in candidates:
        found = facts.get(key)
        if found is None or found.artifact_hash is None:
            continue
        artifact = cache.by_hash(found.artifact_hash)
        same = found.runner_hash in (None, runner_hash)
        runner = None if same else read_built(runner_home / str(found.runner_hash))
        if artifact is not None and (same or runner is not None):
            return Baseline(found, artifact, runner)
        gone += 1
    if gone:
        return f"program or runner of {gone} earlier nights are no longer on this host, so there is no baseline"
    return "no earlier night of this series can be the baseline"


def _compared(item: Screened) -> Sequence[StoredPoint]:
    """The points of the last segment that count, without the newest as far as enough others are there."""
    points = [as_point(point) for point in item.series.before]
    last = segments(points)[-1].start if points else 0
    kept = [point for point in item.series.before[last:] if not as_point(point).excluded]
    return kept[: max(min(MIN_POINTS, len(kept)), len(kept) - NEWEST_LEFT_OUT)]
