"""The data of a page as files beside it: the document as JSON, measurements, steps and samples as CSV.

Numbers are written in stored units with all their digits. What was not measured is an empty cell, and its reason is in
the last column, ``unavailable``. Text that a spreadsheet would run as a formula gets an apostrophe before it.
"""

import csv
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from foundation.unavailable import Unavailable
from reports.files import replacing
from reports.model.measurements import Measurement, as_number, text, value
from reports.model.source import SessionTrace
from reports.model.traces import latency_ms, mean_loss
from reports.text.escaping import csv_table, csv_text, finite

DOCUMENT, MEASUREMENTS, STEPS, SAMPLES = "document.json", "measurements.csv", "steps.csv", "samples.csv"

_WORKLOAD = ("model", "method", "quant", "backend", "q", "b", "T", "rank")
#: Column of a table of measurements: path in the document.
METRICS: dict[str, tuple[str, ...]] = {
    "latency_ms_median": ("latency_ms", "median"),
    "latency_ms_ci95_low": ("latency_ms", "ci95", "0"),
    "latency_ms_ci95_high": ("latency_ms", "ci95", "1"),
    "latency_ms_cv_percent": ("latency_ms", "cv_percent"),
    "latency_ms_max": ("latency_ms", "max"),
    "latency_ms_p50": ("latency_ms", "p50"),
    "latency_ms_p90": ("latency_ms", "p90"),
    "latency_ms_p95": ("latency_ms", "p95"),
    "latency_ms_p99": ("latency_ms", "p99"),
    "load_ms_median": ("load_ms", "median"),
    "peak_memory_kib": ("peak_memory_kib",),
    "memory_after_load_kib": ("memory_after_load_kib",),
    "program_bytes": ("program_bytes",),
    "weight_bytes": ("weight_bytes",),
    "energy_mj_per_step_net": ("energy_mj_per_step", "net"),
    "energy_mj_per_step_gross": ("energy_mj_per_step", "gross"),
    "energy_method": ("energy_mj_per_step", "method"),
    "energy_rate_hz": ("energy_mj_per_step", "rate_hz"),
    "energy_alignment_error_ms": ("energy_mj_per_step", "alignment_error_ms"),
    "energy_short": ("energy_mj_per_step", "short"),
    "power_mw_mean": ("power_mw", "mean"),
    "power_mw_idle": ("power_mw", "idle"),
    "temperature_c_start": ("temperature_c", "start"),
    "temperature_c_max": ("temperature_c", "max"),
    "throttled": ("throttled",),
    "loss_first": ("loss", "first"),
    "loss_last": ("loss", "last"),
    "loss_max_relative_error": ("loss", "max_relative_error"),
    "loss_reference_steps": ("loss", "reference_steps"),
    "stability": ("stability",),
    "reference_setting": ("ratio_to_reference", "setting"),
    "ratio_latency": ("ratio_to_reference", "latency", "ratio"),
    "ratio_latency_ci95_low": ("ratio_to_reference", "latency", "ci95", "0"),
    "ratio_latency_ci95_high": ("ratio_to_reference", "latency", "ci95", "1"),
    "sampler_overhead_percent": ("sampler_overhead_percent",),
}  # fmt: skip
# Percentiles are recorded only where there are steps enough for them: their absence is no gap.
_OPTIONAL = ("latency_ms_p50", "latency_ms_p90", "latency_ms_p95", "latency_ms_p99")
MEASUREMENT_COLUMNS = (
    *("run_id", "measurement_id", "device", "kind", "emulated", "origin"),
    *_WORKLOAD,
    *("status", "reason", "sessions"),
    *METRICS,
    "unavailable",
)
_SESSION_COLUMNS = (
    "run_id",
    "measurement_id",
    "device",
    "setting",
    "session_id",
    "ordinal",
    "attempt",
    "session_status",
)
STEP_COLUMNS = (*_SESSION_COLUMNS, "step", "phase", "t0_ns", "t1_ns", "latency_ms", "mean_loss", "losses")
SAMPLE_COLUMNS = (*_SESSION_COLUMNS, "sensor", "quantity", "t_ns", "value")


def document_text(document: Mapping[str, Any]) -> str:
    """The document as JSON; NaN and infinities as words."""
    return json.dumps(finite(document), ensure_ascii=False, allow_nan=False, indent=1) + "\n"


def measurements_text(run_id: str, found: Iterable[Measurement]) -> str:
    """CSV with one row per measurement."""
    return csv_table(MEASUREMENT_COLUMNS, [_measurement_row(run_id, item) for item in found])


def _measurement_row(run_id: str, item: Measurement) -> list[object]:
    missing: list[str] = []
    metrics = []
    for column, path in METRICS.items():
        found = metric_at(item.record, path)
        if isinstance(found, Unavailable):
            missing += [f"{column}: {found.reason}"] if column not in _OPTIONAL else []
        metrics.append(_cell(found))
    sessions = value(item.record, "latency_ms", "sessions")
    named = [run_id, item.measurement_id, item.device, item.kind, item.emulated, item.origin]
    shape = [item.workload.get(part) for part in _WORKLOAD]
    outcome = [item.status, item.reason, len(sessions) if isinstance(sessions, list | tuple) else 0]
    return [_cell(part) for part in (*named, *shape, *outcome)] + metrics + [csv_text("; ".join(missing))]


def metric_at(record: Mapping[str, Any], path: tuple[str, ...]) -> Any:
    """What is at ``path``, whose last part may be the place in a pair."""
    if not path[-1].isdigit():
        return value(record, *path)
    pair, place = value(record, *path[:-1]), int(path[-1])
    if isinstance(pair, Unavailable):
        return pair
    return pair[place] if isinstance(pair, list | tuple) and len(pair) == 2 else Unavailable("no interval was recorded")


def _cell(found: object) -> object:
    if found is None or isinstance(found, Unavailable):
        return ""
    if isinstance(found, bool):
        return "true" if found else "false"
    if isinstance(found, float) and isinstance(as_number(found), Unavailable):
        return str(finite(found)).replace("-inf", "'-inf")
    return found if isinstance(found, int | float) else csv_text(str(found))


class TraceFiles:
    """The CSV files of every step and every sample, filled session by session."""

    def __init__(self, run_id: str, steps: TextIO, samples: TextIO) -> None:
        self._run_id = run_id
        self._steps = csv.writer(steps, lineterminator="\n")
        self._samples = csv.writer(samples, lineterminator="\n")
        self._steps.writerow(STEP_COLUMNS)
        self._samples.writerow(SAMPLE_COLUMNS)

    def add(self, measurement: Measurement, session: Mapping[str, Any], trace: SessionTrace) -> None:
        """Write all rows of one session."""
        named = [self._run_id, measurement.measurement_id, measurement.device, measurement.setting]
        named += [text(session, key) for key in ("session_id", "ordinal", "attempt", "status")]
        first = [_cell(part) for part in named]
        for step in trace.steps:
            losses = " ".join(str(loss) for loss in step.losses)
            numbers = [step.t0_ns, step.t1_ns, latency_ms(step), _cell(mean_loss(step))]
            self._steps.writerow([*first, step.index, csv_text(step.phase), *numbers, losses])
        for name, samples in trace.samples.items():
            sensor = [csv_text(name), csv_text(samples.quantity)]
            pairs = zip(samples.t_ns, samples.values, strict=True)
            self._samples.writerows([*first, *sensor, int(t_ns), _cell(float(got))] for t_ns, got in pairs)


@contextmanager
def trace_files(run_id: str, folder: Path) -> Iterator[TraceFiles]:
    """Both trace files in ``folder``; they take their places when the block ends well.

    Raises:
        SiteNotWritable: they can't be written.
    """
    with replacing(folder / STEPS) as steps, replacing(folder / SAMPLES) as samples:
        yield TraceFiles(run_id, steps, samples)
