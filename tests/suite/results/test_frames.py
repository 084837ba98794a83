"""Results as data frames: the numbers of the store and of exported files, typed, and only what is asked for."""

from __future__ import annotations

import json
import shutil
import sqlite3
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas
import pytest
from pandas.testing import assert_frame_equal
from sqlalchemy import event, insert

from foundation.errors import UserError
from reports.model.findings import Affected, Confirmation, Difference, Estimate, Finding, Member
from reports.model.quantities import COLUMNS
from suite import results
from suite.errors import DamagedStore, StoreError
from suite.exchange.dump import export_documents, export_tables
from suite.results import frames, tables
from suite.results.findings import add_note
from suite.sessions.record import IdlePower
from suite.store import schema
from suite.store.series import accept_points, newest_point, series_names
from suite.store.store import Store, VerdictRow
from suite.store.tags import tag_run
from tests.support.suite import recorded_session as recorded
from tests.support.suite.stored_run import KEY, WORKLOAD, begin, finish

NAMES = ("measurements", "sessions", "steps", "samples", "verdicts", "findings")
SLOWER = Finding(
    id="F-00000a", category="regressed", state="known", metric="latency_ms", side="worse", level="boards",
    settings=("int8", "nf4"), workloads=("tiny, prge, q=2", "tiny, prge, q=4"),
    where=(Affected("jetson", ("board", "board-2"), 3), Affected("phone", ("pixel",), 1)),
    members=(
        Member("board", "k", "latency_ms", Estimate(1.061, 1.04, 1.08)),
        Member("board-2", "k", "latency_ms", Estimate(1.074, 1.06, 1.09)),
        Member("board", "k", "energy_gross_mj_per_step", Estimate(1.2)),
    ),
    since_at="2026-01-02T02:30:00.000+00:00", nights=3,
    differences=(Difference("torch", "2.12.0", "2.13.0"), Difference("4 programs", "", "changed")),
    confirmation=Confirmation(10, 1e-5, 1e-4),
)  # fmt: skip
LOST = Finding(
    id="F-00000b", category="missing", state="new", metric="", side="", level="device", settings=(), workloads=(),
    where=(Affected("phone", ("pixel",), 1),), members=(Member("pixel", "k", ""),), reason="not reached",
    since_at="2026-01-04T02:30:00.000+00:00",
)  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A night of int8 on a board with sensors and a verdict, a run of nf4 on a phone, and one that did not finish."""
    folder = tmp_path_factory.mktemp("made") / "home"
    folder.mkdir()
    board = begin(folder / "store.sqlite", device="board", purpose="nightly")
    losses = [(2.0, 2.5), (1.99, 2.49), (1.5, "-inf"), (1.5, "inf"), *[(1.5, "nan")] * 3]
    samples = [*recorded.samples("VDD_IN", 5000.0, seconds=1.2), *recorded.samples("soc", 41500.0, seconds=0.5)]
    quantities = {"VDD_IN": "power_mw", "soc": "temperature_mc"}
    session = recorded.result(0, *samples, session=f"{board.run_id}.s7.a0", quantities=quantities, losses=losses)
    board.store.add_session(board.measurement_id, replace(session, ordinal=7, idle=IdlePower(1800.0, 1900.0)))
    finish(board, 100.0, 101.0, 102.0, device="board")
    (series,) = (one for one in series_names(board.store) if one.metric == "latency_ms")
    point = newest_point(board.store, series)
    numbers = {"centre": 95.0, "ratio": 1.06, "ratio_low": 1.04, "ratio_high": 1.08, "p": 0.001, "q": 0.004}
    inputs = {"cause": "code", "sentence": "Slower.", "command": "suite run --device board"}
    for word in ("inconclusive", "regressed"):
        row = VerdictRow(point.series_id, point.measurement_id, word, "nightly 3", inputs, numbers)
        board.store.add_verdicts([row])
    accept_points(board.store, [point], "ada", "larger batches")
    tag_run(board.store, "v1", board.run_id, "ada")
    found = ((LOST, "seen"), (SLOWER, "unseen"))
    rows = [{"key": one.id, "state": word, "document": json.dumps(one.document())} for one, word in found]
    with board.store.database.writing() as connection:
        connection.execute(insert(schema.finding), [row | {"run_id": board.run_id} for row in rows])
    add_note(board.store, "note", "ada", "a new kernel", finding=SLOWER.id)
    add_note(board.store, "link", "ada", "https://bugs.example/17", finding=SLOWER.id)
    add_note(board.store, "mute", "ada", "its battery", device="pixel")
    board.store.close()
    phone = begin(folder / "store.sqlite", quant="nf4", device="phone")
    finish(phone, 200.0, 201.0, device="phone")
    phone.store.finish_measurement(phone.measurement_id, replace(finish(phone), status="failed", reason="=odd"))
    phone.store.close()
    begin(folder / "store.sqlite", device="phone").store.close()
    return folder


@pytest.fixture(scope="module")
def exports(made: Path) -> dict[str, Path]:
    """The folders that it was exported to, by format."""
    store = Store.open(made / "store.sqlite", read_only=True)
    run_ids = [str(row[0]) for row in rows(made, "SELECT id FROM run ORDER BY id")]
    for file_format in ("csv", "parquet"):
        export_tables(store, run_ids, file_format, made.parent / file_format)
    store.close()
    return {file_format: made.parent / file_format for file_format in ("csv", "parquet")}


@pytest.fixture
def home(made: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SUITE_HOME", str(made))
    return made


@pytest.fixture
def lab(home: Path):
    with results.open() as opened:
        yield opened


def rows(home: Path, statement: str) -> list[tuple[object, ...]]:
    connection = sqlite3.connect(home / "store.sqlite")
    try:
        return connection.execute(statement).fetchall()
    finally:
        connection.close()


def ordered(frame: pandas.DataFrame) -> pandas.DataFrame:
    """The runs of a test begin in one second and have random ids."""
    return frame.sort_values("measurement_id", kind="stable", ignore_index=True)


def test_measurements_have_the_numbers_of_the_exported_documents(home, lab, tmp_path):
    store = Store.open(home / "store.sqlite", read_only=True)
    frame = ordered(lab.measurements())
    for path in export_documents(store, sorted(frame.run_id.unique()), tmp_path):
        document = json.loads(path.read_text())
        (measurement,) = document["measurements"]
        (row,) = frame[frame.run_id == document["run_id"]].to_dict("records")
        assert (row["device"], row["workload_key"], row["quant"]) == (
            *(measurement["device"], KEY.replace("int8", measurement["workload"]["quant"])),
            measurement["workload"]["quant"],
        )
        assert row["started_at"] == datetime.fromisoformat(document["started_at"])
        assert row["planned_sessions"] == measurement["planned_sessions"]
        found = measurement["document"]
        if found is None:
            assert pandas.isna(row["latency_ms_median"]) and row["unavailable"] == "the measurement was not finished"
        elif found["status"] == "ok":
            assert row["latency_ms_median"] == found["latency_ms"]["median"]
            assert row["peak_memory_kib"] == found["peak_memory_kib"]
            assert "energy_mj_per_step_gross: the device has no power sensor" in row["unavailable"]
    store.close()


def test_sessions_steps_and_samples_have_the_numbers_of_the_store(home, lab):
    sessions = lab.sessions()
    known = "SELECT id, ordinal, status, median_ms, hwm_kib FROM session ORDER BY id"
    columns = ["session_id", "ordinal", "status", "median_ms", "hwm_kib"]
    assert [tuple(row) for row in sessions.sort_values("session_id")[columns].itertuples(index=False)] == rows(
        home, known
    )
    assert sessions.idle_before_mw.dropna().tolist() == [1800.0] and sessions.idle_after_mw.dropna().tolist() == [
        1900.0
    ]
    steps, samples = lab.steps(devices="board"), lab.samples(devices="board")
    of_session = steps[steps.session_id.str.endswith(".s7.a0")]
    assert of_session.step.tolist() == [*range(7)]
    assert of_session.phase.tolist() == ["warm_up"] * 2 + ["measured"] * 5
    assert of_session.latency_ms.tolist() == [100.0] * 7
    assert ((of_session.t1_ns - of_session.t0_ns) / 1e6 == of_session.latency_ms).all()
    assert of_session.losses.tolist()[:3] == [(2.0, 2.5), (1.99, 2.49), (1.5, -np.inf)]
    assert of_session.mean_loss.tolist()[:4] == [2.25, 2.24, -np.inf, np.inf] and of_session.mean_loss[4:].isna().all()
    assert samples.groupby(["sensor", "quantity"], observed=True).value.agg(["size", "max"]).to_dict("index") == {
        ("VDD_IN", "power_mw"): {"size": 13, "max": 5000.0},
        ("soc", "temperature_mc"): {"size": 6, "max": 41500.0},
    }
    assert samples.t_ns.iloc[:2].tolist() == [recorded.START_NS, recorded.START_NS + 100_000_000]


def test_the_last_verdict_on_each_series_says_whether_it_was_accepted(lab):
    (row,) = lab.verdicts().to_dict("records")
    assert {key: row[key] for key in ("device", "metric", "direction", "verdict", "accepted", "cause", "rule")} == {
        **{"device": "board", "metric": "latency_ms", "direction": "lower", "verdict": "regressed", "accepted": True},
        **{"cause": "code", "rule": "nightly 3"},
    }
    assert [row[key] for key in ("value", "centre", "ratio", "p", "q")] == [100.5, 95.0, 1.06, 0.001, 0.004]
    assert (row["sentence"], row["command"]) == ("Slower.", "suite run --device board")


def test_a_finding_has_what_where_and_how_much_in_one_row(home, lab):
    row = lab.findings(devices="board").to_dict("records")[0]
    begun = datetime.fromisoformat(str(rows(home, "SELECT started_at FROM run WHERE purpose = 'nightly'")[0][0]))
    assert (row.pop("run_id"), row.pop("at")) == (lab.verdicts().run_id[0], begun)
    assert row.pop("since") == datetime(2026, 1, 2, 2, 30, tzinfo=UTC)
    where = "int8 and nf4 of tiny, prge, q=2; tiny, prge, q=4 on board, board-2 and pixel"
    assert row.pop("headline").startswith(f"{where}: Latency of a step +6.1 to +7.4 %; ")
    assert pandas.isna(row.pop("muted"))
    assert row == {
        **{"finding": "F-00000a", "category": "regressed", "state": "known", "seen": False, "level": "boards"},
        **{"metric": "latency_ms", "side": "worse", "settings": "int8, nf4", "devices": "board, board-2, pixel"},
        **{"workloads": "tiny, prge, q=2; tiny, prge, q=4", "boards": 3, "of": 4, "nights": 3},
        **{"ratio_least": 1.061, "ratio_least_low": 1.04, "ratio_least_high": 1.08},
        **{"ratio_most": 1.074, "ratio_most_low": 1.06, "ratio_most_high": 1.09},
        **{"pairs": 10, "p": 1e-5, "q": 1e-4, "differences": "torch 2.12.0 → 2.13.0; 4 programs changed"},
        "notes": "note by ada: a new kernel; link by ada: https://bugs.example/17",
    }


def test_what_a_finding_does_not_have_is_missing_and_who_muted_it_is_there(lab):
    (row,) = lab.findings().query("category == 'missing'").to_dict("records")
    assert (row["headline"], row["muted"], row["boards"], row["seen"]) == (
        *("pixel: not reached", "muted by ada: its battery", 1, True),
    )
    for name in ("metric", "side", "settings", "workloads", "ratio_most", "ratio_least_low", "pairs", "p", "notes"):
        assert pandas.isna(row[name]), name


@pytest.mark.parametrize("kind", ["store", "csv", "parquet"])
def test_filters_choose_findings_that_name_a_device_and_that_a_setting_is_part_of(home, exports, kind):
    with results.open(exports.get(kind, home)) as opened:

        def chosen(**filters) -> list[str]:
            return list(opened.findings(**filters).finding)

        night, other = (opened.sessions(devices=name).run_id[0] for name in ("board", "phone"))
        both = ["F-00000a", "F-00000b"]
        assert chosen() == chosen(runs=night) == chosen(settings="nf4") == both
        assert chosen(devices="board") == ["F-00000a"] and chosen(devices=["board", "phone"]) == ["F-00000a"]
        assert chosen(runs=other) == chosen(devices="phone") == chosen(until="2020-01-01") == []
        with pytest.raises(UserError, match="findings have no models to choose: leave `models` out"):
            chosen(models="tiny")
        with pytest.raises(UserError, match="findings have no sensors to choose"):
            chosen(sensors="soc")
        for filters, sentence in (({"devices": "bord"}, "no device 'bord'"), ({"settings": "nf5"}, "no setting 'nf5'")):
            with pytest.raises(UserError, match=f"there is {sentence}: did you mean"):
                chosen(**filters)
        with pytest.raises(UserError, match="there is no run"):
            chosen(runs="1999")


@pytest.mark.parametrize("file_format", ["csv", "parquet"])
def test_a_folder_of_an_earlier_export_says_that_it_has_no_findings(exports, tmp_path, file_format):
    folder = shutil.copytree(exports[file_format], tmp_path / "earlier")
    (folder / f"findings.{file_format}").unlink()
    with results.open(folder) as opened:
        assert len(opened.measurements()) == 3
        with pytest.raises(UserError, match=r"no findings\.csv or findings\.parquet: export with `suite data export`"):
            opened.findings()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("file_format", ["csv", "parquet"])
def test_an_exported_folder_gives_the_same_frames_as_the_store(exports, lab, name, file_format):
    with results.open(exports[file_format]) as folder:
        for filters in ({}, {"devices": "board"}, {"settings": ["nf4"], "since": "2020-01-01"}):
            assert_frame_equal(getattr(folder, name)(**filters), getattr(lab, name)(**filters))


@pytest.mark.parametrize("name", NAMES)
def test_types_are_those_of_the_columns_also_without_a_row(lab, name):
    dtypes = {
        **{"text": "string", "category": "category", "time": "datetime64[us, UTC]", "whole": "Int64"},
        **{"number": "Float64", "truth": "boolean", "count": "int64", "value": "float64", "numbers": "object"},
    }
    table = next(table for table in tables.TABLES if table.name == name)
    for filters in ({}, {"until": "2020-01-01"}):
        frame = getattr(lab, name)(**filters)
        assert frame.dtypes.astype(str).to_dict() == {key: dtypes[kind] for key, kind in table.columns.items()}
        assert frame.empty is bool(filters)


def test_all_columns_of_numbers_are_there_with_their_units(lab):
    assert {column.name for column in COLUMNS} < set(lab.measurements().columns)


def test_filters_choose_rows(home, lab):
    board, phone = (set(lab.measurements(devices=name).measurement_id) for name in ("board", "phone"))
    assert (len(board), len(phone)) == (1, 2)
    assert set(lab.measurements(devices=["board", "phone"]).measurement_id) == board | phone
    assert set(lab.measurements(settings="int8", devices="phone").measurement_id) < phone
    assert len(lab.measurements(models=WORKLOAD["model"])) == 3
    assert set(lab.measurements(runs="v1").measurement_id) == board
    begun = datetime.fromisoformat(str(rows(home, "SELECT min(started_at) FROM run")[0][0]))
    assert len(lab.measurements(since=begun)) == 3 and lab.measurements(until=begun).empty
    assert len(lab.measurements(until=begun + timedelta(days=1), since=(begun - timedelta(days=1)).date())) == 3
    assert lab.measurements(since=f"{datetime.now(UTC) + timedelta(days=2):%Y-%m-%d}").empty
    assert set(lab.samples(sensors="soc").sensor) == {"soc"}
    assert lab.verdicts(devices="phone").empty and len(lab.sessions(devices="phone")) == 2


def test_only_what_is_asked_for_is_read(lab):
    read = []
    engine = lab._source._store.database._engine
    event.listen(engine, "after_cursor_execute", lambda *called: read.append(called[2]))
    assert lab.samples(devices="phone", settings="int8").empty
    assert read and not any("sample.data" in statement and "sensor" in statement for statement in read[:2])
    lab.measurements(devices="board")
    assert not any(".data" in statement for statement in read[-3:])


@pytest.mark.parametrize(
    ("filters", "sentence"),
    [
        ({"devices": "bord"}, "there is no device 'bord': did you mean board"),
        ({"settings": ["int8", "nf5"]}, "there is no setting 'nf5': did you mean nf4"),
        ({"models": "tini"}, "there is no model 'tini': did you mean tiny"),
        ({"runs": "1999"}, "there is no run"),
        ({"since": "yesterday"}, "since is 'yesterday', not a date or time: write 2026-11-22"),
        ({"devices": []}, "devices is an empty list"),
        ({"sensors": "VDD"}, "measurements have no sensors to choose"),
    ],
)
@pytest.mark.parametrize("kind", ["store", "csv", "parquet"])
def test_a_name_that_does_not_exist_is_one_sentence_with_what_was_meant(home, exports, kind, filters, sentence):
    with results.open(exports.get(kind, home)) as opened:
        with pytest.raises(UserError, match=sentence.replace("(", r"\(")):
            opened.measurements(**filters)
        with pytest.raises(UserError, match="there is no sensor 'VDD': did you mean VDD_IN"):
            opened.samples(sensors="VDD")
        with pytest.raises(TypeError, match="device"):
            opened.measurements(device="board")


def test_what_fits_into_no_frame_is_refused(lab, monkeypatch):
    monkeypatch.setattr(frames, "MOST_ROWS", 20)
    with pytest.raises(UserError, match=r"more than 20 steps.*select fewer"):
        lab.steps(devices="board")
    assert len(lab.measurements()) == 3


def test_a_store_is_found_by_its_file_its_home_and_the_folder_beside_it(home, lab, tmp_path):
    (tmp_path / ".suite").symlink_to(home)
    for place in (home, str(home / "store.sqlite"), tmp_path):
        with results.open(place) as opened:
            assert_frame_equal(opened.measurements(), lab.measurements())
            assert str(place) in repr(opened)


def test_what_holds_no_results_is_one_sentence(tmp_path):
    for place, sentence in ((tmp_path / "nowhere", "it does not exist"), (tmp_path, "name a suite home")):
        with pytest.raises(UserError, match=f"there are no results in {place}: {sentence}"):
            results.open(place)
    (tmp_path / "2026.json").write_text("{}")
    with pytest.raises(UserError, match="into a store by `suite data import FILE --from LAB`"):
        results.open(tmp_path)
    odd = tmp_path / "odd.sqlite"
    odd.write_text("no store")
    with pytest.raises(StoreError, match="not an SQLite file"):
        results.open(odd)


def test_a_damaged_store_is_one_sentence(home, tmp_path):
    path = tmp_path / "store.sqlite"
    shutil.copy(home / "store.sqlite", path)
    connection = sqlite3.connect(path)
    connection.execute("UPDATE sample SET data = x'00' WHERE kind = 'steps'")
    connection.execute("UPDATE session SET idle = 'x'")
    connection.commit()
    connection.close()
    with results.open(path) as lab:
        with pytest.raises(StoreError, match="a stored sample has 0 bytes instead of 392"):
            lab.steps()
        with pytest.raises(DamagedStore, match=r"session\.idle"):
            lab.sessions()


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda text: text.replace("measurement_id", "id"), "it lacks the columns measurement_id"),
        (lambda text: text + "1,2\n", "a row does not have 13 cells"),
        (lambda text: text.replace("100.0", "1OO"), "could not convert string to float: '1OO'"),
        (lambda text: text.replace("measured,5", "measured,x5"), "invalid literal for int"),
    ],
)
def test_a_damaged_csv_is_one_sentence(exports, tmp_path, change, sentence):
    path = shutil.copytree(exports["csv"], tmp_path / "csv") / "steps.csv"
    path.write_text(change(path.read_text()))
    with results.open(path.parent) as folder, pytest.raises(UserError, match=f"steps.csv cannot be read .*{sentence}"):
        folder.steps()


def test_a_damaged_or_missing_parquet_file_is_one_sentence(exports, tmp_path):
    folder = shutil.copytree(exports["parquet"], tmp_path / "parquet")
    whole = (folder / "steps.parquet").read_bytes()
    (folder / "steps.parquet").write_bytes(whole[:200])
    (folder / "verdicts.parquet").unlink()
    with results.open(folder) as opened:
        with pytest.raises(UserError, match=r"steps\.parquet cannot be read .*export again"):
            opened.steps()
        with pytest.raises(UserError, match=r"has no verdicts\.csv or verdicts\.parquet"):
            opened.verdicts()


def test_parquet_without_pyarrow_says_what_to_install(exports, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with (
        results.open(exports["parquet"]) as opened,
        pytest.raises(UserError, match=r"Parquet files need pyarrow.*read CSV"),
    ):
        opened.measurements()
