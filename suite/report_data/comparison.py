"""Two runs side by side: every metric of every workload that both measured on a device, and what else differs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from reports.model.histories import Compared, ComparedMetric
from suite.regression.comparison import Comparison, compare
from suite.regression.log_ratios import MIN_EFFECT
from suite.stats import Interval
from suite.store.identity import canonical, workload_key
from suite.store.points import METRICS, Metric, metric_value

_Document = Mapping[str, Any]
_Key = tuple[str, bool, str]
# A number of the session behind a metric of the measurement; other metrics are one number a run.
_OF_SESSION = {"load_ms": "load_ms", "peak_memory_kib": "hwm_kib"}
#: Known exactly: no sessions are needed to tell a difference.
_EXACT = ("program_bytes",)
_FACTS = ("os_build", "kernel", "governor", "microcode", "settings", "fingerprint")


def compared_runs(before: _Document, after: _Document) -> Compared:
    """Two documents of `suite.report_data.documents`, matched by device (an emulated one is another) and workload."""
    left, right = _by_key(before), _by_key(after)
    metrics: list[ComparedMetric] = []
    for key in dict.fromkeys([*left, *right]):
        metrics += _compared(left.get(key), right.get(key))
    return Compared(str(before["run_id"]), str(after["run_id"]), metrics, list(_differences(before, after)))


def _by_key(document: _Document) -> dict[_Key, _Document]:
    return {
        (str(item["device"]), bool(item["emulated"]), workload_key(item["workload"])): item
        for item in document["measurements"]
    }


def _compared(before: _Document | None, after: _Document | None) -> Iterator[ComparedMetric]:
    known = after if after is not None else before
    if known is None:
        return
    for metric in METRICS:
        values = [None if item is None else metric_value(item, metric) for item in (before, after)]
        if values == [None, None]:
            continue
        named = (str(known["device"]), known["workload"], metric.name, metric.direction)
        if before is None or after is None or None in values:
            said = "Only one of the two runs has this number."
            yield ComparedMetric(*named, "missing", values[0], values[1], sentence=said, **_marks(known))
        else:
            yield _judged(metric, named, before, after)


def _judged(metric: Metric, named: tuple[str, Any, str, str], before: _Document, after: _Document) -> ComparedMetric:
    sides = (_values(metric, before), _values(metric, after))
    marks = _marks(after)
    first, last = (metric_value(item, metric) for item in (before, after))
    if first is None or last is None or min(*sides[0], *sides[1]) <= 0:
        said = "A number is not positive, so there is no ratio."
        return ComparedMetric(*named, "insufficient", first, last, sentence=said, **marks)
    counts = (len(sides[0]), len(sides[1])) if metric.name == "latency_ms" or metric.name in _OF_SESSION else (0, 0)
    if metric.name in _EXACT:
        outcome = _exact(metric, last / first)
        return ComparedMetric(
            *named, outcome, first, last, last / first, sentence=f"Known exactly: {outcome}.", **marks
        )
    found = compare(*sides, metric.direction, metric.floor)
    low, high = (found.interval.low, found.interval.high) if isinstance(found.interval, Interval) else (None, None)
    p = found.p if isinstance(found.p, float) else None
    sentence = found.sentence if any(counts) else _single(found)
    return ComparedMetric(*named, found.outcome, first, last, found.ratio, low, high, p, counts, sentence, **marks)


def _marks(item: _Document) -> dict[str, Any]:
    return {"emulated": bool(item["emulated"]), "origin": str(item.get("origin", ""))}


def _values(metric: Metric, item: _Document) -> Sequence[float]:
    """One number for each valid session where the sessions have it, otherwise the measurement's own."""
    if metric.name == "latency_ms":
        medians = item["latency_ms"].get("sessions") or ()
        if medians:
            return [float(value) for value in medians]
    key = _OF_SESSION.get(metric.name)
    if key is not None:
        found = [session[key] for session in item["sessions"] if session["status"] == "ok" and session[key] is not None]
        if found:
            return [float(value) for value in found]
    value = metric_value(item, metric)
    return [] if value is None else [value]


def _exact(metric: Metric, ratio: float) -> str:
    if abs(ratio - 1) <= max(MIN_EFFECT, metric.floor):
        return "same"
    return "worse" if (ratio > 1) == (metric.direction == "lower") else "better"


def _single(found: Comparison) -> str:
    return f"{100 * (found.ratio - 1):+.1f} %, one number for each run: no test can be made of it."


def _differences(before: _Document, after: _Document) -> Iterator[tuple[str, str, str]]:
    """Versions, devices and firmware that were not the same."""
    yield from _unlike("", before["environment"], after["environment"], None)
    for device in dict.fromkeys([*before["devices"], *after["devices"]]):
        left, right = (document["devices"].get(device) for document in (before, after))
        if left is not None and right is not None:
            yield from _unlike(f"{device}: ", left["facts"], right["facts"], _FACTS)


def _unlike(
    prefix: str, before: Mapping[str, Any], after: Mapping[str, Any], keys: Sequence[str] | None
) -> Iterator[tuple[str, str, str]]:
    for key in dict.fromkeys([*before, *after]):
        if (keys is None or key in keys) and canonical(before.get(key)) != canonical(after.get(key)):
            yield f"{prefix}{key.replace('_', ' ')}", _shown(before.get(key)), _shown(after.get(key))


def _shown(value: Any) -> str:
    return "" if value is None else value if isinstance(value, str) else json.dumps(value, sort_keys=True)
