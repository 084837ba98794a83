"""The verdicts of a night as files: CSV with one row per series, JSON with everything that was judged."""

import dataclasses
import json
from collections.abc import Sequence

from reports.escaping import csv_table, csv_text, finite
from reports.histories import SeriesVerdict
from reports.measured import setting_of
from reports.reading import number, text

_NUMBERS = ("centre", "margin", "ratio", "ratio_low", "ratio_high", "p", "q", "points", "pairs")
_NAMES = ("device", "setting", "workload_key", "metric", "direction", "emulated", "measurement_id")
VERDICT_COLUMNS = (*_NAMES, "verdict", "rule", "at", "value", *_NUMBERS, "sentence", "command")


def verdicts_csv(verdicts: Sequence[SeriesVerdict]) -> str:
    """One row per series, in the order given; numbers with all their digits, what is not known is empty."""
    rows = []
    for one in verdicts:
        named = (one.device, setting_of(one.workload), one.workload_key, one.metric, one.direction)
        row = [csv_text(part) for part in named]
        row += [str(one.emulated).lower(), csv_text(one.measurement_id), one.verdict, csv_text(one.rule), one.at]
        found = [number(one.numbers, key) for key in _NUMBERS]
        values = [one.value, *(value if isinstance(value, float) else None for value in found)]
        row += ["" if value is None else repr(value) for value in values]
        row += [csv_text(text(one.numbers, key) or text(one.inputs, key)) for key in ("sentence", "command")]
        rows.append(row)
    return csv_table(VERDICT_COLUMNS, rows)


def verdicts_json(verdicts: Sequence[SeriesVerdict]) -> str:
    """The same as a JSON list, with the inputs of each verdict."""
    return json.dumps(finite([dataclasses.asdict(one) for one in verdicts]), ensure_ascii=False, indent=1) + "\n"
