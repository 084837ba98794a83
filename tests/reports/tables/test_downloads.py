"""The data beside a page: complete, in stored units, safe to open in a spreadsheet."""

import csv
import io
import json
from pathlib import Path
from typing import Any

from reports.model.histories import SeriesVerdict
from reports.model.measurement import measurements
from reports.model.source import Samples, SessionTrace
from reports.site.build import build
from reports.tables import downloads
from reports.tables.verdicts import verdicts_csv
from tests.support.reports.report_fixtures import HOSTILE, RUN_ID, realistic


def _rows(folder: Path, name: str) -> list[dict[str, str]]:
    text = (folder / "runs" / RUN_ID / name).read_text(encoding="utf-8")
    return list(csv.DictReader(io.StringIO(text)))


def test_json_beside_the_page_is_the_document(tmp_path: Path) -> None:
    source = realistic(steps=4)
    page = build(source, tmp_path, [RUN_ID])
    assert json.loads((page.parent / downloads.DOCUMENT).read_text(encoding="utf-8")) == source.document(RUN_ID)


def test_nan_in_the_document_does_not_make_the_json_invalid() -> None:
    def refuse(word: str) -> Any:
        raise AssertionError(word)

    written = downloads.document_text({"loss": float("nan"), "power": float("-inf")})
    assert json.loads(written, parse_constant=refuse) == {"loss": "nan", "power": "-inf"}


def test_measurements_csv_has_a_row_each_with_numbers_in_stored_units(tmp_path: Path) -> None:
    source = realistic(steps=4)
    build(source, tmp_path, [RUN_ID])
    rows = _rows(tmp_path, downloads.MEASUREMENTS)
    assert len(rows) == len(source.document(RUN_ID)["measurements"])
    jetson = next(row for row in rows if row["device"] == "jetson" and row["quant"] == "int8")
    record = next(r for r in source.document(RUN_ID)["measurements"] if r["measurement_id"] == "jetson-int8")
    assert float(jetson["latency_ms_median"]) == record["latency_ms"]["median"]
    assert float(jetson["latency_ms_ci95_high"]) == record["latency_ms"]["ci95"][1]
    assert int(jetson["peak_memory_kib"]) == record["peak_memory_kib"]
    assert float(jetson["energy_mj_per_step_net"]) == record["energy_mj_per_step"]["net"]
    assert jetson["sessions"] == "3" and jetson["throttled"] == "false"


def test_missing_value_is_an_empty_cell_with_its_reason_in_the_last_column(tmp_path: Path) -> None:
    build(realistic(steps=4), tmp_path, [RUN_ID])
    local = _rows(tmp_path, downloads.MEASUREMENTS)[0]
    assert local["power_mw_mean"] == ""
    assert "power_mw_mean: RAPL is not readable" in local["unavailable"]
    assert "latency_ms_p99" not in local["unavailable"]


def test_steps_csv_has_every_step_also_of_thinned_traces(tmp_path: Path) -> None:
    source = realistic(steps=1200, sensor_hz=0.1)
    build(source, tmp_path, [RUN_ID])
    rows = _rows(tmp_path, downloads.STEPS)
    assert len(rows) == sum(len(trace.steps) for trace in source.traces.values())
    first = source.trace(rows[0]["session_id"]).steps[0]
    assert int(rows[0]["t0_ns"]) == first.t0_ns
    assert float(rows[0]["latency_ms"]) == (first.t1_ns - first.t0_ns) / 1e6
    assert [float(loss) for loss in rows[0]["losses"].split()] == first.losses


def test_samples_csv_has_every_sample_with_full_nanoseconds(tmp_path: Path) -> None:
    source = realistic(steps=4)
    uptime_ns = 9_007_199_254_740_993  # One more than a double can tell apart.
    for session_id in source.traces:
        source.traces[session_id] = SessionTrace((), {"odd": Samples("power_mw", [uptime_ns], [float("nan")])})
    build(source, tmp_path, [RUN_ID])
    row = _rows(tmp_path, downloads.SAMPLES)[0]
    assert int(row["t_ns"]) == uptime_ns
    assert row["value"] == "nan"


def test_no_cell_of_any_csv_begins_a_formula(tmp_path: Path) -> None:
    source = realistic(steps=4)
    document = source.document(RUN_ID)
    for record in document["measurements"]:
        record["device"] = '=HYPERLINK("http://x")'
        record["workload"] = record["workload"] | {"model": "@SUM(1)", "q": "+1"}
        record["reason"] = "-2+3"
        record["load_ms"] = {"unavailable": "=1"}
    trace = next(iter(source.traces.values()))
    for session_id in source.traces:
        source.traces[session_id] = SessionTrace(trace.steps, {"=sensor": Samples("\t=x", [1], [2.0])})
    build(source, tmp_path, [RUN_ID])
    for name in (downloads.MEASUREMENTS, downloads.STEPS, downloads.SAMPLES):
        for row in _rows(tmp_path, name):
            assert not [cell for cell in row.values() if cell.lstrip()[:1] in {"=", "+", "@", "-"}], name


def test_hostile_device_name_stays_one_cell(tmp_path: Path) -> None:
    source = realistic(steps=4)
    found = measurements(source.document(RUN_ID))
    rows = list(csv.DictReader(io.StringIO(downloads.measurements_text(RUN_ID, found))))
    assert rows[-1]["device"].startswith("<img src=x") and len(rows) == len(found)
    assert "\u202e" not in rows[-1]["device"] and HOSTILE[:20] in rows[-1]["device"]


def test_both_ends_of_an_interval_are_in_their_columns() -> None:
    latency: dict[str, Any] = {"median": 2.0, "ci95": [1.0, 3.0]}
    (found,) = measurements({"measurements": [{"workload": {"quant": "int8"}, "latency_ms": latency}]})
    (row,) = csv.DictReader(io.StringIO(downloads.measurements_text("r", [found])))
    assert (row["latency_ms_ci95_low"], row["latency_ms_ci95_high"]) == ("1.0", "3.0")


def test_numbers_that_are_not_finite_are_words_and_no_formula() -> None:
    broken = {"median": float("-inf"), "max": float("nan"), "cv_percent": float("inf")}
    (found,) = measurements({"measurements": [{"workload": {"quant": "int8"}, "latency_ms": broken}]})
    (row,) = csv.DictReader(io.StringIO(downloads.measurements_text("r", [found])))
    names = ("latency_ms_median", "latency_ms_max", "latency_ms_cv_percent")
    assert [row[name] for name in names] == ["'-inf", "nan", "inf"]


def test_no_cell_of_the_verdicts_begins_a_formula() -> None:
    hostile: dict[str, Any] = {
        "device": "=1",
        "workload_key": "+2",
        "metric": "@3",
        "direction": "-4",
        "measurement_id": "=5",
    }
    inputs = {"sentence": "=HYPERLINK(6)", "command": "-7"}
    one = SeriesVerdict(
        **hostile, workload={"quant": "=8"}, emulated=False, verdict="regressed", rule="=9", at="2026", inputs=inputs
    )
    (row,) = csv.DictReader(io.StringIO(verdicts_csv([one])))
    assert not [cell for cell in row.values() if cell[:1] in {"=", "+", "@", "-"}], row
    assert (row["sentence"], row["command"]) == ("'=HYPERLINK(6)", "'-7")
