"""Sessions of candidate and baseline in turn on the same device, as pairs of numbers.

They are measured like any others, by the fleet and into the same run, under the roles `candidate` and `baseline`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from devices.entry import DeviceEntry
from suite.campaign import Run
from suite.fleet import measure_fleet
from suite.nightly.baselines import Baseline
from suite.plan import described
from suite.preparation import Preparation, Prepared
from suite.regression.pairs import Pair
from suite.run_plan import RunPlan
from suite.store.identity import workload_key
from suite.store.metrics import Metric, metric_value

Place = tuple[str, str]
"""Device name and workload key."""


@dataclass(frozen=True)
class ToConfirm:
    """A workload on a device that is measured again beside its baseline."""

    device: str
    prepared: Prepared
    baseline: Baseline

    @property
    def place(self) -> Place:
        """What tells it from the others of a night."""
        return self.device, workload_key(described(self.prepared.workload))


@dataclass(frozen=True)
class PairedSessions:
    """The measurement documents of single sessions, (baseline, candidate), and what is wrong with those missing."""

    sessions: tuple[tuple[Mapping[str, Any], Mapping[str, Any]], ...]
    reason: str | None

    def of(self, metric: Metric, first: int = 0) -> list[Pair]:
        """The pairs of one metric, without the first `first` ones; those that lack its number are left out."""
        values = [
            (metric_value(baseline, metric), metric_value(candidate, metric))
            for baseline, candidate in self.sessions[first:]
        ]
        return [
            Pair(baseline, candidate)
            for baseline, candidate in values
            if baseline is not None and candidate is not None and _positive(baseline) and _positive(candidate)
        ]


def measure_pairs(
    run: Run, entries: Mapping[str, DeviceEntry], items: Sequence[ToConfirm], pairs: int
) -> dict[Place, PairedSessions]:
    """Measure until each of `items` has `pairs` pairs in all; sessions that are there already are not repeated."""
    if not items:
        return {}
    prepared = tuple(side for item in items for side in _sides(item, pairs))
    again = replace(
        run,
        plan=RunPlan(
            tuple(side.plan for side in prepared if side.role == "candidate"), budget_minutes=run.plan.budget_minutes
        ),
        preparation=Preparation(prepared, run.preparation.weights_source, 0),
    )
    documents = measure_fleet(again, [entries[name] for name in again.plan.devices])
    by_place: dict[Place, dict[str, Mapping[str, Any]]] = {}
    for document in documents:
        place = (str(document["device"]), workload_key(document["workload"]))
        by_place.setdefault(place, {})[str(document["role"])] = document
    return {place: _paired(sides["baseline"], sides["candidate"]) for place, sides in by_place.items()}


def _sides(item: ToConfirm, pairs: int) -> tuple[Prepared, Prepared]:
    """Baseline and candidate, which the campaign takes in this order and then in the other: A B B A."""
    plan = replace(item.prepared.plan, devices=(item.device,), quants=(item.prepared.workload.quant,), sessions=pairs)
    candidate = replace(item.prepared, plan=plan, role="candidate")
    baseline = replace(candidate, role="baseline", artifact=item.baseline.artifact, runner=item.baseline.runner)
    return baseline, candidate


def _paired(baseline: Mapping[str, Any], candidate: Mapping[str, Any]) -> PairedSessions:
    before, after = baseline["by_session"], candidate["by_session"]
    both = sorted(set(before) & set(after))
    reasons = [f"the {side['role']}: {side['reason']}" for side in (baseline, candidate) if side["reason"]]
    return PairedSessions(tuple((before[ordinal], after[ordinal]) for ordinal in both), "; ".join(reasons) or None)


def _positive(value: float) -> bool:
    return math.isfinite(value) and value > 0
