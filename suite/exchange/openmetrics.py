"""Writes the newest numbers of every series in the OpenMetrics text format, for Prometheus and other readers of it.

All are gauges in base units without timestamps, so that node_exporter's textfile collector accepts the same text
[OpenMetrics 1.0, https://prometheus.io/docs/specs/om/open_metrics_spec/].
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from foundation.unavailable import Json, Unavailable
from reports.model.findings import CATEGORIES
from reports.model.measurement import Measurement
from reports.model.quantities import METRICS, OWN, sensor_quantity
from reports.model.reading import Number
from reports.model.source import ReportSource, RunSummary
from reports.text.numbers import parse_moment

CONTENT_TYPE = "application/openmetrics-text; version=1.0.0; charset=utf-8"
Labels = Mapping[str, str]

_PREFIX = "edge_training_"
_LABEL = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_BASE_UNITS = {
    "_ms": ("seconds", 1e-3),
    "_kib": ("bytes", 1024.0),
    "_bytes": ("bytes", 1.0),
    "_mj_per_step": ("joules", 1e-3),
    "_mw": ("watts", 1e-3),
}
"""The base unit, and the factor to it, by the ending of a metric's name."""

_HELP = {
    "measured_timestamp_seconds": "When the run began that measured the workload last.",
    "temperature_max_celsius": "Hottest thermal zone during the measured sessions.",
    "own_sensor": "Mean of a sensor that the inventory or a plugin defines, in the unit that its label has.",
    "device_reached": "Whether the last run with the device could reach it.",
    "device_last_run_timestamp_seconds": "When the last run with the device began.",
    "night_timestamp_seconds": "When the newest night began.",
    "night_finished": "Whether the newest night was carried out to its end.",
    "night_verdicts": "Series of the newest night by their verdict.",
    "open_findings": "Findings of the newest night that are neither muted, accepted nor fixed, by category.",
    "concern": "A series that the newest night found regressed or inconclusive.",
}


@dataclass
class _Family:
    """A metric with its samples. If two have the same labels, the first counts."""

    name: str
    help: str
    unit: str = ""
    samples: dict[tuple[tuple[str, str], ...], float] = field(default_factory=dict)

    def add(self, labels: Labels, value: float) -> None:
        if math.isfinite(value):
            self.samples.setdefault(tuple(sorted(labels.items())), value)

    def lines(self) -> Iterator[str]:
        name = f"{_PREFIX}{self.name}"
        yield f"# TYPE {name} gauge"
        if self.unit:
            yield f"# UNIT {name} {self.unit}"
        yield f"# HELP {name} {_escaped(self.help)}"
        for labels, value in self.samples.items():
            inner = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels)
            yield f"{name}{{{inner}}} {value!r}" if inner else f"{name} {value!r}"


class _Families:
    def __init__(self) -> None:
        self.by_name: dict[str, _Family] = {}

    def add(self, name: str, labels: Labels, value: float, *, about: str = "", unit: str = "") -> None:
        self.by_name.setdefault(name, _Family(name, about or _HELP[name], unit)).add(labels, value)

    def text(self) -> str:
        families = (family for family in self.by_name.values() if family.samples)
        return "\n".join([*(line for family in families for line in family.lines()), "# EOF", ""])


def openmetrics(source: ReportSource, run_id: str | None = None) -> str:
    """Returns the newest measurement of every workload on every device, or those of a run; the newest night; devices.

    Imported runs of other labs are left out.
    """
    found = _Families()
    runs = source.runs()
    for measurement in _measurements(source, run_id):
        _add_measurement(found, measurement)
    _add_devices(found, source, run_id)
    nights = [run for run in runs if run.purpose == "nightly" and run_id in (None, run.run_id)]
    if nights:
        _add_night(found, source, max(nights, key=lambda run: _seconds(run.started_at)))
    return found.text()


def _measurements(source: ReportSource, run_id: str | None) -> list[Measurement]:
    if run_id is None:
        found = [one for workload in source.workloads() for one in source.latest(workload.key)]
    else:
        contents = source.run(run_id)
        found = [replace(one, started_at=contents.started_at) for one in contents.measurements]
    return [one for one in found if not one.origin and one.role in (None, "measured")]


def _add_measurement(found: _Families, one: Measurement) -> None:
    labels = _labels(one.device, one.workload, one.emulated)
    for metric in METRICS:
        value = metric.value(one)
        ending = next((ending for ending in _BASE_UNITS if metric.name.endswith(ending)), None)
        if value is not None and ending is not None:
            unit, factor = _BASE_UNITS[ending]
            name = f"{metric.name.removesuffix(ending)}_{unit}"
            found.add(name, labels, value * factor, about=f"{metric.title}.", unit=unit)
    _add_number(found, "temperature_max_celsius", labels, one.temperature.max_c)
    for sensor in one.sensors:
        if sensor.quantity.startswith(OWN) and sensor.readings is not None:
            own = {"sensor": sensor.name, "unit": sensor_quantity(sensor.quantity).unit}
            found.add("own_sensor", {**labels, **own}, sensor.readings.mean)
    if one.started_at:
        found.add("measured_timestamp_seconds", labels, _seconds(one.started_at), unit="seconds")


def _add_number(found: _Families, name: str, labels: Labels, value: Number) -> None:
    if not isinstance(value, Unavailable):
        found.add(name, labels, float(value), unit=name.rpartition("_")[2])


def _add_devices(found: _Families, source: ReportSource, run_id: str | None) -> None:
    for device in source.devices(run_id):
        if device.origin:
            continue
        labels = {"device": device.name, "kind": device.kind, "emulated": _truth(device.emulated)}
        found.add("device_reached", labels, float(not device.unreached))
        if device.last_at:
            found.add("device_last_run_timestamp_seconds", labels, _seconds(device.last_at), unit="seconds")


def _add_night(found: _Families, source: ReportSource, night: RunSummary) -> None:
    found.add("night_timestamp_seconds", {}, _seconds(night.started_at), unit="seconds")
    found.add("night_finished", {}, float(night.status in ("finished", "partial")))
    for verdict, count in night.verdicts.items():
        found.add("night_verdicts", {"verdict": verdict}, float(count))
    still_open = Counter(one.category for one in source.findings(night.run_id) if one.is_open)
    for category in CATEGORIES:  # also empty ones, so that an alert notices when findings are gone
        found.add("open_findings", {"category": category}, float(still_open[category]))
    for labels in _concerns(source, night.run_id):
        found.add("concern", labels, 1.0)


def _concerns(source: ReportSource, run_id: str) -> Iterator[Labels]:
    """Yields the labels of what needs attention in a night. Only this function knows what a verdict is."""
    for one in source.verdicts(run_id):
        if one.verdict in ("regressed", "inconclusive"):
            yield {**_labels(one.device, one.workload, one.emulated), "metric": one.metric, "verdict": one.verdict}


def _labels(device: str, workload: Mapping[str, Json], emulated: bool) -> dict[str, str]:
    """Returns the labels of a workload on a device, which tell it from all others."""
    known = {key: _word(value) for key, value in workload.items() if value is not None and _LABEL.fullmatch(key)}
    return {**known, "device": device, "emulated": _truth(emulated)}


def _word(value: Json) -> str:
    if isinstance(value, bool):
        return _truth(value)
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _truth(value: bool) -> str:
    return "true" if value else "false"


def _seconds(iso: str) -> float:
    moment = parse_moment(iso)
    return math.nan if moment is None else moment.timestamp()


def _escaped(text: str) -> str:
    whole = text.encode("utf-8", "replace").decode()  # a store may contain half a surrogate pair
    return whole.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')
