"""Each setting against the reference setting of the same workload on the same device."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from foundation.unavailable import as_document, unavailable
from suite import stats

#: The reference is the first of these that was measured.
REFERENCE_ORDER = ("fp32", "fp16", "int8", "nf4")


def with_ratios(measurements: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Copies of the measurement documents with `ratio_to_reference` filled in.

    ratio = median(session medians) / median(session medians of the reference); interval by bootstrap of that ratio.
    The reference is fp32 where it has valid sessions, else the next setting that has.
    """
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for measurement in measurements:
        groups.setdefault(_group(measurement), []).append(measurement)
    references = {key: _reference(group) for key, group in groups.items()}
    return [dict(item) | {"ratio_to_reference": _ratio(item, references[_group(item)])} for item in measurements]


def _group(measurement: Mapping[str, Any]) -> str:
    """Everything that must be equal for a ratio to mean the setting: the device and the rest of the workload."""
    rest = {key: value for key, value in measurement["workload"].items() if key != "quant"}
    return json.dumps([measurement["device"], rest], sort_keys=True)


def _medians(measurement: Mapping[str, Any]) -> list[float]:
    latency = measurement["latency_ms"]
    return list(latency["sessions"]) if "sessions" in latency else []


def _reference(group: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    measured = {item["workload"]["quant"]: item for item in group if _medians(item)}
    return next((measured[setting] for setting in REFERENCE_ORDER if setting in measured), None)


def _ratio(measurement: Mapping[str, Any], reference: Mapping[str, Any] | None) -> dict[str, Any]:
    if reference is None:
        return unavailable("no setting of this workload has valid sessions")
    own = _medians(measurement)
    if not own:
        return unavailable("this setting has no valid sessions")
    setting = reference["workload"]["quant"]
    if measurement is reference:
        return {"setting": setting, "latency": {"ratio": 1.0, "ci95": [1.0, 1.0]}}
    against = _medians(reference)
    return {
        "setting": setting,
        "latency": {
            "ratio": stats.median(own) / stats.median(against),
            "ci95": as_document(stats.ratio_interval(own, against)),
        },
    }
