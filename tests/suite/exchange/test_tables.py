"""Runs as tables: every number of the store, with its unit in the column's name."""

from __future__ import annotations

import csv
import json
import sys
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as parquet
import pytest
from sqlalchemy import insert

from foundation.errors import UserError
from reports.model.findings import Affected, Finding
from reports.model.statistics import Latency
from suite.exchange.dump import export_tables
from suite.sessions.record import IdlePower
from suite.store import schema
from suite.store.run_contents import chosen_runs
from tests.support.suite import recorded_session as recorded
from tests.support.suite.stored_run import KEY, begin, finish


@pytest.fixture
def begun(tmp_path: Path):
    made = begin(tmp_path / "store.sqlite")
    yield made
    made.store.close()


def with_samples(begun):
    """A run with one session that has a power sensor and a loss that is not finite."""
    losses = [(2.0, 2.5), (1.99, 2.49), *[(1.5, "nan")] * 5]
    samples = recorded.samples("VDD_IN", 5000.0, seconds=1.2)
    made = recorded.result(
        0, *samples, session=f"{begun.run_id}.s0.a0", quantities={"VDD_IN": "power_mw"}, losses=losses
    )
    begun.store.add_session(begun.measurement_id, made)
    finish(begun)
    return made


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_csv_has_the_numbers_of_the_document_with_units_in_names(begun, tmp_path):
    document = finish(begun, 100.0, 101.0, 102.0).document()
    export_tables(begun.store, [begun.run_id], "csv", tmp_path / "out")
    (row,) = read_csv(tmp_path / "out/measurements.csv")
    assert float(row["latency_ms_median"]) == document["latency_ms"]["median"]
    assert int(row["peak_memory_kib"]) == document["peak_memory_kib"]
    assert (row["device"], row["workload_key"], row["throttled"], row["role"]) == ("local", KEY, "false", "measured")
    assert row["energy_mj_per_step_gross"] == ""
    assert "energy_mj_per_step_gross: the device has no power sensor" in row["unavailable"]
    assert [float(row["median_ms"]) for row in read_csv(tmp_path / "out/sessions.csv")] == [100.0, 101.0, 102.0]


def test_steps_and_samples_are_all_there(begun, tmp_path):
    made = with_samples(begun)
    export_tables(begun.store, [begun.run_id], "csv", tmp_path / "out")
    steps, samples = read_csv(tmp_path / "out/steps.csv"), read_csv(tmp_path / "out/samples.csv")
    assert [int(row["t0_ns"]) for row in steps] == [step.t0_ns for step in made.record.steps]
    assert steps[-1]["losses"] == "1.5 nan"
    assert {(row["sensor"], row["quantity"], float(row["value"])) for row in samples} == {
        ("VDD_IN", "power_mw", 5000.0)
    }
    assert [int(row["t_ns"]) for row in samples] == list(made.record.samples["VDD_IN"].t_ns)


def test_what_is_not_finite_stands_there_by_name_and_never_as_a_formula(begun, tmp_path):
    losses = [(2.0, 2.5), (1.99, 2.49), (1.5, "-inf"), (1.5, "inf"), *[(1.5, "nan")] * 3]
    made = recorded.result(0, session=f"{begun.run_id}.s0.a0", losses=losses)
    begun.store.add_session(begun.measurement_id, made)
    export_tables(begun.store, [begun.run_id], "csv", tmp_path / "out")
    steps = read_csv(tmp_path / "out/steps.csv")
    assert [row["mean_loss"] for row in steps[1:5]] == ["2.24", "'-inf", "inf", "nan"]
    assert [row["losses"] for row in steps[2:5]] == ["1.5 -inf", "1.5 inf", "1.5 nan"]


def test_the_ends_of_an_interval_and_idle_power_are_in_their_columns(begun, tmp_path):
    made = recorded.result(0, session=f"{begun.run_id}.s0.a0")
    begun.store.add_session(begun.measurement_id, replace(made, idle=IdlePower(1800.0, 1900.0)))
    latency = Latency.from_document({"median": 100.0, "ci95": [98.0, 103.0]})
    found = replace(finish(begun), latency=latency, peak_memory_kib=2**40)
    begun.store.finish_measurement(begun.measurement_id, found)
    for name in ("csv", "parquet"):
        export_tables(begun.store, [begun.run_id], name, tmp_path / "out")
    measurements, session = (read_csv(tmp_path / f"out/{name}.csv")[0] for name in ("measurements", "sessions"))
    assert (measurements["latency_ms_ci95_low"], measurements["latency_ms_ci95_high"]) == ("98.0", "103.0")
    assert (session["idle_before_mw"], session["idle_after_mw"]) == ("1800.0", "1900.0")
    table = parquet.read_table(tmp_path / "out/measurements.parquet")
    assert table["peak_memory_kib"].to_pylist() == [2**40] and measurements["peak_memory_kib"] == str(2**40)


def test_parquet_says_the_same_as_csv_with_types(begun, tmp_path):
    with_samples(begun)
    export_tables(begun.store, [begun.run_id], "csv", tmp_path / "out")
    export_tables(begun.store, [begun.run_id], "parquet", tmp_path / "out")
    for name in ("measurements", "sessions", "steps", "samples"):
        table, rows = parquet.read_table(tmp_path / f"out/{name}.parquet"), read_csv(tmp_path / f"out/{name}.csv")
        assert table.column_names == list(rows[0])
        assert table.num_rows == len(rows)
    steps = parquet.read_table(tmp_path / "out/steps.parquet")
    assert str(steps.schema.field("losses").type) == "list<element: double>"
    assert steps["latency_ms"].to_pylist() == [100.0] * 7
    measurements = parquet.read_table(tmp_path / "out/measurements.parquet")
    assert measurements["energy_mj_per_step_gross"].to_pylist() == [None]
    assert measurements["throttled"].to_pylist() == [False]


def test_findings_of_the_exported_nights_alone_are_written(begun, tmp_path):
    other = begin(tmp_path / "store.sqlite")
    with begun.store.database.writing() as connection:
        for number, run_id in enumerate((begun.run_id, other.run_id)):
            where = (Affected("local", ("local",), 1),)
            one = Finding(f"F-{number}", "failed", "new", "", "", "device", ("int8",), (), where, (), "=it broke")
            row = {"key": one.id, "run_id": run_id, "state": "seen", "document": json.dumps(one.document())}
            connection.execute(insert(schema.finding), [row])
    other.store.close()
    files = export_tables(begun.store, [begun.run_id], "csv", tmp_path / "out")
    assert tmp_path / "out/findings.csv" in files
    (row,) = read_csv(tmp_path / "out/findings.csv")
    assert (row["finding"], row["run_id"], row["seen"], row["devices"]) == ("F-0", begun.run_id, "true", "local")
    assert row["headline"] == "int8 on local: =it broke" and row["ratio_most"] == row["pairs"] == ""


def test_unfinished_measurement_says_so_and_keeps_its_sessions(begun, tmp_path):
    begun.store.add_session(begun.measurement_id, recorded.result(0, session=f"{begun.run_id}.s0.a0"))
    export_tables(begun.store, [begun.run_id], "csv", tmp_path / "out")
    (row,) = read_csv(tmp_path / "out/measurements.csv")
    assert (row["unavailable"], row["latency_ms_median"]) == ("the measurement was not finished", "")
    assert len(read_csv(tmp_path / "out/sessions.csv")) == 1


def test_csv_text_is_never_a_formula(begun, tmp_path):
    reason = '=HYPERLINK("http://example.org")'
    begun.store.finish_measurement(begun.measurement_id, replace(finish(begun), status="failed", reason=reason))
    export_tables(begun.store, [begun.run_id], "csv", tmp_path / "out")
    assert read_csv(tmp_path / "out/measurements.csv")[0]["reason"] == "'" + reason


def test_parquet_without_pyarrow_says_what_to_install(begun, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UserError, match=r"pip install 'edge-training-suite\[parquet\]'.*--format csv"):
        export_tables(begun.store, [begun.run_id], "parquet", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_folder_that_cannot_be_written_is_one_sentence(begun, tmp_path):
    (tmp_path / "out").write_text("a file")
    with pytest.raises(UserError, match=r"cannot be written to .*out .*error 17.*--to"):
        export_tables(begun.store, [begun.run_id], "csv", tmp_path / "out")


def test_unknown_run_is_refused_and_all_names_every_run(begun):
    with pytest.raises(UserError, match="there is no run or tag '1999'"):
        chosen_runs(begun.store, "1999", own_only=False)
    assert chosen_runs(begun.store, "all", own_only=False) == [begun.run_id]
