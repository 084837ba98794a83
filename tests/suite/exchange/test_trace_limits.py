"""Traces of sessions that are odd or large: nothing is lost from the timeline, and nothing breaks the format."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest

from suite.exchange import perfetto
from suite.exchange.perfetto import write_trace
from suite.sessions.record import SensorTrace
from suite.store.run_contents import sample_count
from tests.support.suite import recorded_session as recorded
from tests.support.suite.stored_run import begin


@pytest.fixture
def begun(tmp_path):
    made = begin(tmp_path / "store.sqlite", device="jetson")
    yield made
    made.store.close()


def add(begun, t_ns, values):
    made = recorded.result(0, session=f"{begun.run_id}.s0.a0")
    trace = SensorTrace("VDD", "power_mw", t_ns, values)
    record = replace(made.record, samples={"VDD": trace})
    begun.store.add_session(begun.measurement_id, replace(made, record=record))


def events(begun, tmp_path):
    path = write_trace(begun.store, begun.run_id, tmp_path / "trace.json")
    return json.loads(path.read_text())["traceEvents"]


def at(seconds):
    return recorded.START_NS + int(seconds * 1e9)


def test_what_is_no_number_is_left_out_and_the_rest_stays(begun, tmp_path):
    add(begun, (at(1), at(2), at(3), at(4)), (1.0, math.nan, math.inf, 4.0))
    values = [list(event["args"].values()) for event in events(begun, tmp_path) if event["ph"] == "C"]
    assert values == [[1.0], [4.0]]


def test_a_session_covers_all_its_samples_in_whatever_order_they_came(begun, tmp_path):
    add(begun, (at(2), at(-3), at(30), at(1)), (1.0, 2.0, 3.0, 4.0))
    found = events(begun, tmp_path)
    (session,) = (event for event in found if event.get("cat") == "session")
    assert session["dur"] == pytest.approx(33e6)
    counters = [event["ts"] - session["ts"] for event in found if event["ph"] == "C"]
    assert sorted(counters) == pytest.approx([0, 4e6, 5e6, 33e6])


@pytest.mark.parametrize(("more", "compressed"), [(0, True), (1, False)])
def test_a_trace_is_compressed_from_so_many_steps_and_samples_on(begun, tmp_path, monkeypatch, more, compressed):
    add(begun, (at(1), at(2)), (1.0, 2.0))
    with begun.store.database.reading() as connection:
        count = sample_count(connection, begun.run_id)
    monkeypatch.setattr(perfetto, "COMPRESSED_FROM", count + more)
    monkeypatch.chdir(tmp_path)
    assert (write_trace(begun.store, begun.run_id, None).suffix == ".gz") is compressed
