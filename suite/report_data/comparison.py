"""Compares two runs: every metric of every workload that both measured on a device, and what else differs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from foundation.unavailable import Json
from reports.model.histories import Compared, ComparedMetric
from reports.model.measurement import Measurement
from reports.model.quantities import METRICS, Metric
from reports.model.reading import Interval
from reports.model.run_contents import RunContents
from suite.regression.comparison import Comparison, compare
from suite.regression.log_ratios import MIN_EFFECT
from suite.store.identity import canonical, workload_key

_Key = tuple[str, bool, str]
_FACTS = ("os_build", "kernel", "governor", "microcode", "settings", "fingerprint")


def compare_runs(before: RunContents, after: RunContents) -> Compared:
    """Compares two runs, matched by device (an emulated one is another) and workload."""
    left, right = _by_key(before), _by_key(after)
    metrics: list[ComparedMetric] = []
    for key in dict.fromkeys([*left, *right]):
        metrics += _compared(left.get(key), right.get(key))
    return Compared(before.run_id, after.run_id, metrics, list(_differences(before, after)))


def _by_key(run: RunContents) -> dict[_Key, Measurement]:
    return {(item.device, item.emulated, workload_key(item.workload)): item for item in run.measurements}


def _compared(before: Measurement | None, after: Measurement | None) -> Iterator[ComparedMetric]:
    known = after or before
    if known is None:
        return
    for metric in METRICS:
        first, last = (None if item is None else metric.value(item) for item in (before, after))
        if first is None and last is None:
            continue
        if before is None or after is None or first is None or last is None:
            why = "Only one of the two runs has this number."
            yield _Result("missing", why).of(metric, known, first, last)
        else:
            yield _result(metric, before, after, first, last).of(metric, after, first, last)


@dataclass(frozen=True)
class _Result:
    """The outcome of comparing two numbers."""

    outcome: str
    sentence: str
    ratio: float | None = None
    low: float | None = None
    high: float | None = None
    p: float | None = None
    sessions: tuple[int, int] = (0, 0)

    def of(self, metric: Metric, item: Measurement, before: float | None, after: float | None) -> ComparedMetric:
        """Returns it as reports take it."""
        return ComparedMetric(
            device=item.device,
            workload=item.workload,
            metric=metric.name,
            direction=metric.direction,
            outcome=self.outcome,
            before=before,
            after=after,
            ratio=self.ratio,
            low=self.low,
            high=self.high,
            p=self.p,
            sessions=self.sessions,
            sentence=self.sentence,
            emulated=item.emulated,
            origin=item.origin,
        )


def _result(metric: Metric, before: Measurement, after: Measurement, first: float, last: float) -> _Result:
    # One number per valid session if sessions have the metric, otherwise the measurement's own.
    sides = (metric.session_values(before) or [first], metric.session_values(after) or [last])
    if min(*sides[0], *sides[1]) <= 0:
        return _Result("insufficient", "A number is not positive, so there is no ratio.")
    if metric.exact:
        outcome = _exact(metric, last / first)
        return _Result(outcome, f"Known exactly: {outcome}.", last / first)
    counts = (len(sides[0]), len(sides[1])) if metric.has_sessions else (0, 0)
    found = compare(*sides, metric.direction, metric.floor)
    low, high = (found.interval.low, found.interval.high) if isinstance(found.interval, Interval) else (None, None)
    p = found.p if isinstance(found.p, float) else None
    return _Result(found.outcome, found.sentence if any(counts) else _single(found), found.ratio, low, high, p, counts)


def _exact(metric: Metric, ratio: float) -> str:
    if abs(ratio - 1) <= max(MIN_EFFECT, metric.floor):
        return "same"
    return "worse" if (ratio > 1) == (metric.direction == "lower") else "better"


def _single(found: Comparison) -> str:
    return f"{100 * (found.ratio - 1):+.1f} %, one number for each run: no test can be made of it."


def _differences(before: RunContents, after: RunContents) -> Iterator[tuple[str, str, str]]:
    """Yields versions, devices and firmware that differ."""
    yield from _unlike("", before.environment, after.environment, None)
    for name in dict.fromkeys([*before.devices, *after.devices]):
        left, right = before.devices.get(name), after.devices.get(name)
        if left is not None and right is not None:
            yield from _unlike(f"{name}: ", left.facts, right.facts, _FACTS)


def _unlike(
    prefix: str, before: Mapping[str, Json], after: Mapping[str, Json], keys: Sequence[str] | None
) -> Iterator[tuple[str, str, str]]:
    for key in dict.fromkeys([*before, *after]):
        if (keys is None or key in keys) and canonical(before.get(key)) != canonical(after.get(key)):
            yield f"{prefix}{key.replace('_', ' ')}", _words(before.get(key)), _words(after.get(key))


def _words(value: Json) -> str:
    return "" if value is None else value if isinstance(value, str) else json.dumps(value, sort_keys=True)
