"""Compares two runs: every metric of every workload that both measured on a device, and what else differs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from foundation.unavailable import Json, Unavailable
from reports.model.histories import Compared, ComparedMetric
from reports.model.measurement import Measurement
from reports.model.quantities import METRICS, Metric
from reports.model.reading import Interval
from reports.model.source import RunContents
from suite.regression.comparison import Comparison, compare
from suite.regression.log_ratios import MIN_EFFECT
from suite.store.identity import canonical, workload_key

_Key = tuple[str, bool, str]
_FACTS = ("os_build", "kernel", "governor", "microcode", "settings", "fingerprint")


def compare_runs(before: RunContents, after: RunContents) -> Compared:
    """Compares two runs, matched by device (an emulated one is a different device) and workload."""
    left, right = _by_key(before), _by_key(after)
    metrics: list[ComparedMetric] = []
    for key in dict.fromkeys([*left, *right]):
        metrics += _compare_metrics(left.get(key), right.get(key))
    return Compared(before.run_id, after.run_id, metrics, list(_differences(before, after)))


def _by_key(run: RunContents) -> dict[_Key, Measurement]:
    return {(item.device, item.emulated, workload_key(item.workload)): item for item in run.measurements}


def _compare_metrics(before: Measurement | None, after: Measurement | None) -> Iterator[ComparedMetric]:
    known = after or before
    if known is None:
        return
    for metric in METRICS:
        first, last = (None if item is None else metric.value(item) for item in (before, after))
        if first is None and last is None:
            continue
        missing = ComparedMetric(
            device=known.device,
            workload=known.workload,
            metric=metric.name,
            direction=metric.direction,
            outcome="missing",
            before=first,
            after=last,
            sentence="Only one of the two runs has this number.",
            emulated=known.emulated,
            origin=known.origin,
            kind=known.kind,
        )
        if before is None or after is None or first is None or last is None:
            yield missing
        else:
            yield _with_outcome(missing, metric, (before, first), (after, last))


def _with_outcome(
    bare: ComparedMetric, metric: Metric, before: tuple[Measurement, float], after: tuple[Measurement, float]
) -> ComparedMetric:
    # One number per valid session if sessions have the metric, otherwise the measurement's own.
    of_sessions = [metric.session_values(run) for run, _ in (before, after)]
    # A measurement from before sessions stored the metric has only one number, so it can't be tested.
    has_sessions = metric.has_sessions and all(of_sessions)
    first, last = of_sessions if has_sessions else ([before[1]], [after[1]])
    if min(*first, *last) <= 0:
        return replace(bare, outcome="insufficient", sentence="A number is not positive, so there is no ratio.")
    if metric.exact:
        ratio = after[1] / before[1]
        outcome = _exact(metric, ratio)
        return replace(bare, outcome=outcome, sentence=f"Known exactly: {outcome}.", ratio=ratio)
    found = compare(first, last, metric.direction, metric.floor)
    return replace(
        bare,
        outcome=found.outcome,
        sentence=(found.sentence if has_sessions else _single(found)) + _doubt(found, before[0], after[0]),
        ratio=found.ratio,
        low=found.interval.low if isinstance(found.interval, Interval) else None,
        high=found.interval.high if isinstance(found.interval, Interval) else None,
        p=found.p if isinstance(found.p, float) else None,
        sessions=(len(first), len(last)) if has_sessions else (0, 0),
    )


def _doubt(found: Comparison, *sides: Measurement) -> str:
    """Returns reasons for doubting a difference that was found."""
    if found.outcome not in ("worse", "better"):
        return ""
    unstable = " One of the two is unstable." if any(side.status == "unstable" for side in sides) else ""
    busy = " A device was busy: this is a first look." if any(side.busy for side in sides) else ""
    return unstable + busy


def _exact(metric: Metric, ratio: float) -> str:
    if abs(ratio - 1) <= max(MIN_EFFECT, metric.floor):
        return "same"
    return "worse" if (ratio > 1) == (metric.direction == "lower") else "better"


def _single(found: Comparison) -> str:
    return f"{100 * (found.ratio - 1):+.1f} %, one number for each run, which can't be tested."


def _differences(before: RunContents, after: RunContents) -> Iterator[tuple[str, str, str]]:
    """Yields versions, devices and firmware that differ."""
    yield from _find_differences("", before.environment, after.environment, None)
    for name in dict.fromkeys([*before.devices, *after.devices]):
        left, right = before.devices.get(name), after.devices.get(name)
        if left is not None and right is not None and left.facts and right.facts:
            yield from _find_differences(f"{name}: ", left.facts, right.facts, _FACTS)
    first, last = _by_key(before), _by_key(after)
    for key in (key for key in first if key in last):
        prefix = f"{first[key].device} {first[key].setting}: "
        then, now = _how(first[key]), _how(last[key])
        # A run from before a value was recorded doesn't differ in it.
        yield from _find_differences(prefix, then, now, [name for name in then if name in now])


def _how(item: Measurement) -> dict[str, Json]:
    """Returns what is known of how a workload was measured: its setup, its training values, and how often."""
    trained = {"lr": item.loss.lr, "eps": item.loss.eps}
    known = {name: value for name, value in trained.items() if not isinstance(value, Unavailable)}
    sums = {} if item.arithmetic is None else {"arithmetic": item.arithmetic}
    sessions = {} if item.latency.range_ms is None else {"sessions": item.latency.range_ms[1]}
    return {**item.setup.known, **sums, **known, **sessions}


def _find_differences(
    prefix: str, before: Mapping[str, Json], after: Mapping[str, Json], keys: Sequence[str] | None
) -> Iterator[tuple[str, str, str]]:
    for key in dict.fromkeys([*before, *after]):
        if (keys is None or key in keys) and canonical(before.get(key)) != canonical(after.get(key)):
            yield f"{prefix}{key.replace('_', ' ')}", _words(before.get(key)), _words(after.get(key))


def _words(value: Json) -> str:
    return "" if value is None else value if isinstance(value, str) else json.dumps(value, sort_keys=True)
