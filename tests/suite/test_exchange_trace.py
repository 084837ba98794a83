"""A run as a trace: what Perfetto needs of the format, and that times and values are those of the store."""

from __future__ import annotations

import gzip
import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import recorded_session as recorded
from stored_run import Begun, begin

from suite.errors import UserError
from suite.exchange import perfetto
from suite.exchange.perfetto import write_trace

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
    yield made
    made.store.close()


def traced(begun: Begun, path: Path) -> list[dict[str, Any]]:
    return json.loads(write_trace(begun.store, begun.run_id, path).read_text())["traceEvents"]


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
            assert event["name"] in ("process_name", "thread_name") and isinstance(event["args"]["name"], str)
            threads.add((event["pid"], event.get("tid")))
            continue
        assert isinstance(event["ts"], float)
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
    names = [event["args"]["name"] for event in traced(begun, tmp_path / "t.json") if event["ph"] == "M"]
    assert names == ["jetson", "int8 session 1", "int8 session 2"]


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
    assert {event["name"] for event in counters} == {
        "VDD_IN (mW)",
        'VDD"<script> (degC)',
    }
    assert {json.dumps(event["args"]) for event in counters} == {'{"mW": 5000.0}', '{"degC": 41.5}'}


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
    empty = recorded.collect(f"{begun.run_id}.s0.a0", [], recorded.ExitOutcome(rc=1))
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
