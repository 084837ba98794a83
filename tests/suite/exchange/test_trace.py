"""A run as a trace: what Perfetto needs of the format, and that times and values are those of the store."""

from __future__ import annotations

import gzip
import json
import typing
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from devices.sensors.spec import Quantity
from foundation.errors import UserError
from suite.exchange import perfetto
from suite.exchange.perfetto import write_trace
from tests.support.suite import recorded_session as recorded
from tests.support.suite.stored_run import KEY, WORKLOAD, Begun, begin

HOSTILE = 'VDD"<script>'


def add(begun: Begun, ordinal: int = 0, **how: Any):
    """A session with two sensors, the second one's temperature in thousandths."""
    samples = [
        *recorded.samples("VDD_IN", 5000.0, seconds=1.0),
        *recorded.samples(HOSTILE, 41500.0, seconds=1.0),
    ]
    session = f"{begun.run_id}.s{ordinal}.a0"
    quantities = {"VDD_IN": "power_mw", HOSTILE: "temperature_mc"}
    made = recorded.result(ordinal, *samples, session=session, quantities=quantities, **how)
    begun.store.add_session(begun.measurement_id, made)
    return made


@pytest.fixture
def begun(tmp_path: Path):
    made = begin(tmp_path / "store.sqlite", device="jetson")
    alter(made, "UPDATE run SET started_at = '2026-11-22T00:00:00.000+00:00'")
    yield made
    made.store.close()


def alter(begun: Begun, statement: str) -> None:
    with begun.store.database.writing() as connection:
        connection.exec_driver_sql(statement)


def traced(begun: Begun, path: Path) -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = json.loads(write_trace(begun.store, begun.run_id, path).read_text())["traceEvents"]
    return events


def test_trace_keeps_the_rules_of_the_format(begun, tmp_path):
    add(begun, losses=[(2.0, 2.5), *[("nan", 1.0)] * 6])
    add(begun, 1)
    document = json.loads(write_trace(begun.store, begun.run_id, tmp_path / "t.json").read_text())
    assert document["displayTimeUnit"] == "ms"
    threads = set()
    for event in document["traceEvents"]:
        assert event["ph"] in ("X", "C", "M")
        assert isinstance(event["pid"], int) and isinstance(event["name"], str)
        if event["ph"] == "M":
            what, (value,) = event["name"], event["args"].values()
            assert {"name": str, "index": int}[what.rpartition("_")[2]] is type(value)
            threads.add((event["pid"], event.get("tid")))
            continue
        assert isinstance(event["ts"], float) and event["ts"] >= 0
        if event["ph"] == "X":
            assert event["dur"] >= 0 and (event["pid"], event["tid"]) in threads
        else:
            assert event["args"] and all(isinstance(value, float) for value in event["args"].values())


def test_no_thread_has_the_number_of_a_process(begun, tmp_path):
    for ordinal in range(3):
        add(begun, ordinal)
    events = traced(begun, tmp_path / "t.json")
    threads = [event["tid"] for event in events if event["name"] == "thread_name"]
    assert len(set(threads)) == 3
    assert not set(threads) & {0, *(event["pid"] for event in events)}


def test_slices_of_a_session_lie_within_it_one_after_the_other(begun, tmp_path):
    add(begun)
    slices = [event for event in traced(begun, tmp_path / "t.json") if event["ph"] == "X"]
    (session,) = [event for event in slices if event["cat"] == "session"]
    inner = sorted((event for event in slices if event["cat"] != "session"), key=lambda event: event["ts"])
    end = session["ts"]
    for event in inner:
        assert event["ts"] >= end - 0.001
        end = event["ts"] + event["dur"]
    assert end <= session["ts"] + session["dur"] + 0.001
    assert [event["name"] for event in inner] == ["load", *["warm-up step"] * 2, *["step"] * 5]


def test_device_is_the_process_and_the_session_the_thread(begun, tmp_path):
    add(begun)
    add(begun, 1)
    events = traced(begun, tmp_path / "t.json")
    names = [event["args"]["name"] for event in events if event["name"] in ("process_name", "thread_name")]
    assert names == ["jetson", "int8 session 1", "int8 session 2"]


def test_devices_and_sessions_are_sorted_in_the_order_of_the_run(begun, tmp_path):
    add(begun)
    add(begun, 1)
    events = traced(begun, tmp_path / "t.json")
    order = [(event["name"], event["args"]["sort_index"]) for event in events if event["name"].endswith("sort_index")]
    assert [what for what, _ in order] == ["process_sort_index", "thread_sort_index", "thread_sort_index"]
    assert order[1][1] < order[2][1]


def test_steps_keep_the_distances_of_the_device_clock(begun, tmp_path):
    made = add(begun, ms=123.456)
    steps = [event for event in traced(begun, tmp_path / "t.json") if event.get("cat") == "step"]
    assert [event["dur"] for event in steps] == pytest.approx([123456.0] * 7, abs=0.002)
    first = made.record.steps[0].t0_ns
    expected = [(step.t0_ns - first) / 1e3 for step in made.record.steps]
    assert [event["ts"] - steps[0]["ts"] for event in steps] == pytest.approx(expected, abs=0.002)


def test_session_ends_where_the_host_stored_it(begun, tmp_path):
    add(begun)
    (session,) = [event for event in traced(begun, tmp_path / "t.json") if event.get("cat") == "session"]
    with begun.store.database.reading() as connection:
        ((started,),) = connection.exec_driver_sql("SELECT started_at FROM run")
        ((stored,),) = connection.exec_driver_sql("SELECT committed_at FROM session")
    expected = (datetime.fromisoformat(stored) - datetime.fromisoformat(started)).total_seconds() * 1e6
    assert session["ts"] + session["dur"] == pytest.approx(expected, abs=1.0)


def test_counters_have_their_unit_and_hostile_names_are_text(begun, tmp_path):
    add(begun)
    counters = [event for event in traced(begun, tmp_path / "t.json") if event["ph"] == "C"]
    # Perfetto puts name and unit together: "VDD_IN mW".
    assert {(event["name"], json.dumps(event["args"])) for event in counters} == {
        ("VDD_IN", '{"mW": 5000.0}'),
        (HOSTILE, '{"degC": 41.5}'),
    }


@pytest.mark.parametrize("quantity", typing.get_args(Quantity))
def test_every_quantity_has_a_unit_that_a_person_reads(begun, tmp_path, quantity):
    samples = recorded.samples("it", 7.0, seconds=1.0)
    made = recorded.result(0, *samples, session=f"{begun.run_id}.s0.a0", quantities={"it": quantity})
    begun.store.add_session(begun.measurement_id, made)
    units = {unit for event in traced(begun, tmp_path / "t.json") if event["ph"] == "C" for unit in event["args"]}
    assert len(units) == 1 and "_" not in units.pop()


def test_every_letter_stands_as_it_is(begun, tmp_path):
    """Perfetto 58 refuses a trace that has one of them escaped as two halves."""
    name = "näme 漢字 \N{SLIGHTLY SMILING FACE}"
    made = recorded.result(0, *recorded.samples(name, 1.0, seconds=1.0), session=f"{begun.run_id}.s0.a0")
    begun.store.add_session(begun.measurement_id, made)
    text = write_trace(begun.store, begun.run_id, tmp_path / "t.json").read_text(encoding="utf-8")
    assert f'"name":"{name}"' in text and "\\ud83d" not in text


def test_sessions_tell_what_the_runs_workloads_differ_in(begun, tmp_path):
    add(begun)
    for other in ({"q": 16}, {"quant": "nf4", "model": "smollm2-135m"}):
        measurement = begun.store.begin_measurement(
            begun.run_id, begun.device_id, WORKLOAD | other, planned_sessions=1, artifact_hash="abc123"
        )
        session = f"{begun.run_id}.{measurement}.s0.a0"
        begun.store.add_session(measurement, recorded.result(0, session=session))
    slices = [event for event in traced(begun, tmp_path / "t.json") if event.get("cat") == "session"]
    assert {event["name"]: event["args"]["workload"] for event in slices} == {
        "tiny int8 q4 session 1": KEY,
        "tiny int8 q16 session 1": KEY.replace("q4", "q16"),
        "smollm2-135m nf4 q4 session 1": KEY.replace("tiny", "smollm2-135m").replace("int8", "nf4"),
    }


def test_session_that_is_not_ok_says_so_and_which_sensors_failed(begun, tmp_path):
    session = f"{begun.run_id}.s0.a1"
    error = {"event": "sensor_error", "sensor": "VDD_IN", "errors": 3, "reason": "No such device"}
    made = recorded.result(0, error, session=session, attempt=1, status="lost")
    begun.store.add_session(begun.measurement_id, made)
    (lost,) = [event for event in traced(begun, tmp_path / "t.json") if event.get("cat") == "session"]
    assert lost["name"] == "int8 session 1, attempt 2, lost"
    assert lost["args"]["reason"] == "it is lost"
    assert lost["args"]["failed_sensors"].startswith("VDD_IN: ") and "No such device" in lost["args"]["failed_sensors"]


def test_what_is_not_known_is_left_out(begun, tmp_path):
    session = f"{begun.run_id}.s0.a0"
    lines = recorded.text([recorded.header(session), recorded.load(rss_kib=None), *recorded.steps(losses=[()] * 7)])
    made = recorded.result(0, session=session)
    object.__setattr__(made, "record", recorded.collect(session, lines, recorded.ProcessEnd(rc=0)))
    begun.store.add_session(begun.measurement_id, made)
    slices = [event for event in traced(begun, tmp_path / "t.json") if event["ph"] == "X"]
    assert [event["args"] for event in slices if event["cat"] == "load"] == [{}]
    assert [event["args"] for event in slices if event["cat"] == "step"] == [{"index": index} for index in range(7)]
    assert "reason" not in next(event["args"] for event in slices if event["cat"] == "session")


def test_metadata_names_the_run_and_the_time_of_its_zero(begun, tmp_path):
    document = json.loads(write_trace(begun.store, begun.run_id, tmp_path / "t.json").read_text())
    assert document["metadata"] == {"run": begun.run_id, "zero_is_at": "2026-11-22T00:00:00.000+00:00"}


def test_session_stored_by_a_clock_that_was_set_back_begins_with_the_run(begun, tmp_path):
    made = add(begun)
    alter(begun, "UPDATE session SET committed_at = '2026-11-21T23:59:59.000+00:00'")
    slices = [event for event in traced(begun, tmp_path / "t.json") if event["ph"] == "X"]
    assert min(event["ts"] for event in slices) == 0.0
    steps = [event for event in slices if event["cat"] == "step"]
    expected = [(step.t0_ns - made.record.steps[0].t0_ns) / 1e3 for step in made.record.steps]
    assert [event["ts"] - steps[0]["ts"] for event in steps] == pytest.approx(expected, abs=0.002)


def test_large_trace_is_compressed_by_itself(begun, tmp_path, monkeypatch):
    add(begun)
    monkeypatch.chdir(tmp_path)
    assert write_trace(begun.store, begun.run_id, None).name == f"trace-{begun.run_id}.json"
    monkeypatch.setattr(perfetto, "COMPRESSED_FROM", 10)
    path = write_trace(begun.store, begun.run_id, None)
    assert path.name == f"trace-{begun.run_id}.json.gz"
    plain = gzip.decompress(path.read_bytes())
    assert plain == Path(f"trace-{begun.run_id}.json").read_bytes()


def test_session_of_which_nothing_arrived_has_only_its_name(begun, tmp_path):
    made = recorded.result(0, session=f"{begun.run_id}.s0.a0")
    empty = recorded.collect(f"{begun.run_id}.s0.a0", [], recorded.ProcessEnd(rc=1))
    object.__setattr__(made, "record", empty)
    begun.store.add_session(begun.measurement_id, made)
    assert {event["ph"] for event in traced(begun, tmp_path / "t.json")} == {"M"}


def test_unknown_run_is_refused(begun, tmp_path):
    for name in ("2020", "all"):
        with pytest.raises(UserError, match="there is no run"):
            write_trace(begun.store, name, tmp_path / "t.json")


def test_trace_that_cannot_be_written_is_one_sentence_and_leaves_nothing(begun, tmp_path):
    with pytest.raises(UserError, match=r"cannot be written to .*error 2\): name another file with --to"):
        write_trace(begun.store, begun.run_id, tmp_path / "nowhere/t.json")
