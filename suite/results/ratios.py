"""Compares each setting with the reference setting of the same workload on the same device."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

from foundation.unavailable import Unavailable
from reports.model.measurement import Measurement
from reports.model.reading import Interval
from reports.model.statistics import Ratio
from suite import stats
from workloads.quantize.settings import QUANTIZATION_SETTINGS


def with_ratios(measurements: Sequence[Measurement]) -> list[Measurement]:
    """Returns the measurements with their ratio to the reference.

    ratio = median(session medians) / median(session medians of the reference); its interval by Welch's t on logarithms.
    The reference is fp32 if it has valid sessions, else the next setting that has.
    """
    groups: dict[str, list[Measurement]] = {}
    for measurement in measurements:
        groups.setdefault(_group(measurement), []).append(measurement)
    references = {key: _reference(group) for key, group in groups.items()}
    return [replace(item, ratio=_ratio(item, references[_group(item)])) for item in measurements]


def _group(measurement: Measurement) -> str:
    """Returns what must be equal for a ratio to reflect the setting: the device and the rest of the workload."""
    rest = {key: value for key, value in measurement.workload.items() if key != "quant"}
    return json.dumps([measurement.device, rest], sort_keys=True)


def _medians(measurement: Measurement) -> Sequence[float]:
    medians = measurement.latency.sessions_ms
    return () if isinstance(medians, Unavailable) else medians


def _reference(group: Sequence[Measurement]) -> Measurement | None:
    with_medians = {item.setting: item for item in group if _medians(item)}
    return next((with_medians[setting] for setting in QUANTIZATION_SETTINGS if setting in with_medians), None)


def _ratio(measurement: Measurement, reference: Measurement | None) -> Ratio:
    if reference is None:
        return Ratio.from_document(Unavailable("no setting of this workload has valid sessions"))
    own, against = _medians(measurement), _medians(reference)
    if not own:
        return Ratio.from_document(Unavailable("this setting has no valid sessions"))
    if measurement is reference:
        return Ratio(reference.setting, 1.0, Interval(1.0, 1.0))
    return Ratio(reference.setting, stats.median(own) / stats.median(against), stats.ratio_interval(own, against))
