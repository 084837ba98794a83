"""A page's data as files beside it: the document as JSON; measurements, steps and samples as CSV.

Numbers are written in stored units at full precision. A value that was not measured is an empty cell; its reason is in
the last column, ``unavailable``. Text that a spreadsheet would run as a formula gets an apostrophe before it.
"""

import csv
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from foundation.unavailable import Json, Unavailable
from reports.files import replacing
from reports.model.measurement import Measurement, Session
from reports.model.quantities import COLUMNS
from reports.model.reading import Odd
from reports.model.source import SessionTrace
from reports.model.traces import latency_ms, mean_loss
from reports.text.escaping import csv_table, csv_text, finite

DOCUMENT, MEASUREMENTS, STEPS, SAMPLES = "document.json", "measurements.csv", "steps.csv", "samples.csv"

_WORKLOAD = ("model", "method", "quant", "backend", "q", "b", "T", "rank")
MEASUREMENT_COLUMNS = (
    *("run_id", "measurement_id", "device", "kind", "emulated", "origin"),
    *_WORKLOAD,
    *("status", "reason", "sessions"),
    *(column.name for column in COLUMNS),
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


def document_text(document: Mapping[str, Json]) -> str:
    """Returns the document as JSON, with NaN and infinities as words."""
    return json.dumps(finite(document), ensure_ascii=False, allow_nan=False, indent=1) + "\n"


def measurements_text(run_id: str, found: Iterable[Measurement]) -> str:
    """Returns CSV with one row per measurement."""
    return csv_table(MEASUREMENT_COLUMNS, [_measurement_row(run_id, item) for item in found])


def _measurement_row(run_id: str, item: Measurement) -> list[object]:
    values = [(column, column.read(item)) for column in COLUMNS]
    reasons = [
        f"{column.name}: {found.reason}"
        for column, found in values
        if isinstance(found, Unavailable) and not isinstance(found, Odd) and not column.optional
    ]
    medians = item.latency.sessions_ms
    named = [run_id, item.measurement_id, item.device, item.kind, item.emulated, item.origin]
    shape = [item.workload.get(part) for part in _WORKLOAD]
    outcome = [item.status, item.reason, 0 if isinstance(medians, Unavailable) else len(medians)]
    cells = [*named, *shape, *outcome, *(found for _, found in values)]
    return [*(_cell(part) for part in cells), csv_text("; ".join(reasons))]


def _cell(found: object) -> object:
    if isinstance(found, Odd):
        return csv_text(found.recorded)
    if found is None or isinstance(found, Unavailable):
        return ""
    if isinstance(found, bool):
        return "true" if found else "false"
    if isinstance(found, float) and not math.isfinite(found):
        return csv_text(str(found))
    return found if isinstance(found, int | float) else csv_text(str(found))


class TraceFiles:
    """The CSV files of all steps and samples, filled session by session."""

    def __init__(self, run_id: str, steps: TextIO, samples: TextIO) -> None:
        self._run_id = run_id
        self._steps = csv.writer(steps, lineterminator="\n")
        self._samples = csv.writer(samples, lineterminator="\n")
        self._steps.writerow(STEP_COLUMNS)
        self._samples.writerow(SAMPLE_COLUMNS)

    def add(self, measurement: Measurement, session: Session, trace: SessionTrace) -> None:
        """Writes all rows of one session."""
        named = (self._run_id, measurement.measurement_id, measurement.device, measurement.setting)
        ordinals = (None if count is None else str(count) for count in (session.ordinal, session.attempt))
        first = [_cell(part) for part in (*named, session.session_id, *ordinals, session.status)]
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
    """Opens both trace files in ``folder``; they replace earlier ones if the block succeeds.

    Raises:
        SiteNotWritable: they can't be written.
    """
    with replacing(folder / STEPS) as steps, replacing(folder / SAMPLES) as samples:
        yield TraceFiles(run_id, steps, samples)
