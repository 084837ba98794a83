"""Turns stored points and facts into input for the regression statistics, and chooses baselines for suspects.

The baseline of a suspect is the program and runner of a point in its comparison window.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from devices.deployment.built_runner import BuiltRunner, read_built
from foundation.unavailable import Unavailable
from reports.model.quantities import METRIC_BY_NAME, Metric
from reports.model.reading import known_number, records, text
from suite.regression.drift import NIGHTS_BETWEEN_CHECKS, Drift, total_drift
from suite.regression.screen import (
    MIN_POINTS,
    NEWEST_LEFT_OUT,
    Insufficient,
    Screening,
    Suspect,
    compared_with,
    is_like,
    screen,
)
from suite.regression.segments import DeviceState, Point, comparable, segments, since_device_change
from suite.store.nights import Provenance, SeriesTonight, StoredPoint
from suite.store.points import MIN_NIGHT_SESSIONS
from workloads.export.artifact import Artifact, ArtifactCache


@dataclass(frozen=True)
class ScreenedSeries:
    """A series with a point tonight, and how that compares with its history."""

    series: SeriesTonight
    metric: Metric
    screening: Screening
    drift: Drift | None

    @property
    def is_suspect(self) -> bool:
        """Whether the series must be measured again."""
        return self.is_unlike or (self.drift is not None and self.drift.found)

    @property
    def is_unlike(self) -> bool:
        """Whether tonight's point is unlike its history; in a series that only drifts it is not."""
        return isinstance(self.screening, Suspect)


_ONE_SESSION = "A single session may be a chance result: measure 2 or more a night."


def screen_series(series: SeriesTonight) -> ScreenedSeries:
    """Screens tonight's point against the comparable points before it, and checks the segment for drift."""
    metric = METRIC_BY_NAME[series.metric]
    before = [as_point(point) for point in series.before]
    tonight = as_point(series.tonight)
    if (sessions := series.tonight.valid_sessions) is not None and sessions < MIN_NIGHT_SESSIONS:
        return ScreenedSeries(series, metric, Insufficient(0, _ONE_SESSION), None)
    history = comparable(before) if before and _same_segment(before[-1], tonight) else ()
    found = screen(history, tonight.value, metric.direction, metric.floor)
    drift = None if _looked_into(series.before) else _drift([*before, tonight], metric)
    return ScreenedSeries(series, metric, found, drift)


def _drift(points: Sequence[Point], metric: Metric) -> Drift | None:
    found = total_drift(since_device_change(points), metric.direction, metric.floor)
    return found if isinstance(found, Drift) else None


def _looked_into(before: Sequence[StoredPoint]) -> bool:
    """Returns whether the series was confirmed recently: a drifting one would otherwise be a suspect every night."""
    return any("first_look_pairs" in point.numbers for point in before[-(NIGHTS_BETWEEN_CHECKS - 1) :])


def as_point(stored: StoredPoint) -> Point:
    """Converts a stored point. A regressed one is excluded from histories unless it was accepted."""
    return Point(
        value=stored.value,
        fingerprint=stored.fingerprint,
        accepted=stored.accepted,
        excluded=stored.verdict == "regressed" and not stored.accepted,
        device_level=stored.numbers.get("device_level"),
        drift_traced=bool(stored.numbers.get("drift_traced", 0.0)),
    )


def device_state(made: Provenance) -> DeviceState:
    """Returns the device's state at a measurement, as far as known. Firmware is part of the fingerprint."""
    found, facts = made.measurement, made.facts
    start, charger = found.temperature.start_c, facts.get("charger_plugged")
    governors = {text(policy, "governor") for policy in records(facts, "policies")} - {""}
    return DeviceState(
        temperature_c=None if isinstance(start, Unavailable) else float(start),
        governor="/".join(sorted(governors)) or None,
        throttled=None if isinstance(found.throttled, Unavailable) else found.throttled,
        battery_percent=known_number(facts, "battery_percent"),
        charging=charger if isinstance(charger, bool) else None,
    )


def _same_segment(last: Point, tonight: Point) -> bool:
    return last.fingerprint == tonight.fingerprint and not tonight.accepted


@dataclass(frozen=True)
class KeptProgram:
    """The program and runner of an earlier night. `runner` is None for the device's own, or if it is unknown."""

    artifact: Artifact
    runner: BuiltRunner | None


@dataclass(frozen=True)
class Baseline:
    """What is measured in turn with the candidate, and the measurement that it comes from."""

    provenance: Provenance
    artifact: Artifact
    runner: BuiltRunner | None


def candidates_for(suspects: Sequence[ScreenedSeries]) -> list[int]:
    """Returns the ids of measurements that can be the baseline of all these suspects of one workload, best first.

    The oldest compared nights come first: the newest may have the change already, if it came in small steps. Nights
    whose own points are unlike the histories come last.
    """
    windows = [_find_compared(item) for item in suspects]
    common = set[int].intersection(*map(set, windows)) if windows else set[int]()
    return sorted(
        (point.measurement_id for point in suspects[0].series.before if point.measurement_id in common),
        key=lambda key: not all(is_at_level(item, key) for item in suspects),
    )


def is_at_level(item: ScreenedSeries, measurement_id: int) -> bool:
    """Returns whether a compared night's own point is like a suspect's history; if it only drifts, any point is."""
    if not isinstance(item.screening, Suspect):
        return True
    numbers, value = item.screening.numbers, np.array([_find_compared(item).get(measurement_id, math.nan)])
    least = math.log1p(numbers.floor)
    return bool(is_like(value, np.array([numbers.centre]), np.array([numbers.margin]), least)[0])


def baseline_of(
    candidates: Sequence[int],
    facts: Mapping[int, Provenance],
    runner_hash: str | None,
    cache: ArtifactCache,
    runner_home: Path,
) -> Baseline | str:
    """Returns the first candidate whose program and runner are still available, or why there is none.

    `runner_hash` is tonight's: a baseline with the same runner needs no other.
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
        return f"the programs or runners of {gone} earlier nights are no longer on this host, so there is no baseline"
    return "no earlier night of this series can serve as the baseline"


def _find_compared(item: ScreenedSeries) -> dict[int, float]:
    """Returns the points that tonight's was compared with, by measurement id, oldest first.

    For a drift this is the whole segment; its newest nights are left out, as in the screen.
    """
    points = [as_point(point) for point in item.series.before]
    last = segments(points)[-1].start if points else 0
    kept = [point.measurement_id for point in item.series.before[last:] if not as_point(point).excluded]
    values = comparable(points)
    if item.is_unlike:
        (places,) = compared_with(np.arange(len(kept), dtype=np.float64)[None, :])
        return {kept[int(place)]: values[int(place)] for place in places}
    count = max(min(MIN_POINTS, len(kept)), len(kept) - NEWEST_LEFT_OUT)
    return dict(zip(kept[:count], values, strict=False))
