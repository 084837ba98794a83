import json

import pytest

from foundation.errors import UserError
from reports.model.source import SessionTrace
from suite.report_data.source import StoreSource
from suite.sessions.validity import SessionResult
from tests.support.suite import recorded_session as recorded
from tests.support.suite.stored_run import HARDWARE, WORKLOAD, begin, finish, session


@pytest.fixture
def begun(tmp_path):
    return begin(tmp_path / "store.sqlite")


def source(begun) -> StoreSource:
    return StoreSource(begun.store)


def test_a_run_is_summed_up_for_the_index(begun):
    finish(begun, 100.0, 101.0, 99.0)
    summary = source(begun).runs()[0]
    assert summary.run_id == begun.run_id
    assert summary.status == "finished"
    assert summary.finished_at is not None
    assert summary.started_at < summary.finished_at
    assert summary.command == "suite run --task 'my file'"
    assert (summary.devices, summary.settings, summary.measurements) == (["local"], ["int8"], 1)


def test_runs_come_newest_first_and_a_running_one_has_no_end(begun):
    later = begun.store.begin_run({}, ["suite"], {})
    summaries = source(begun).runs()
    assert {item.run_id for item in summaries} == {later, begun.run_id}
    assert [item.run_id for item in summaries] == sorted((item.run_id for item in summaries), reverse=True)
    assert {(item.status, item.finished_at) for item in summaries} == {("running", None)}


def test_the_document_of_a_run_is_the_measurements_with_their_surroundings(begun):
    stored = finish(begun, 100.0, 101.0, 99.0).document()
    document = source(begun).document(begun.run_id)
    assert document["environment"] == {"torch": "2.13.0"}
    assert document["devices"]["local"] == {
        "kind": "local",
        "emulated": False,
        "facts": HARDWARE | {"os_build": "Debian 12", "governor": "performance"},
        "preflight": [{"name": "disk", "status": "ok", "detail": "", "remedy": ""}],
    }
    found = document["measurements"][0]
    assert {key: found[key] for key in stored} == stored
    assert found["measurement_id"] == str(begun.measurement_id)
    assert found["reference_losses"] == [[2.0, 2.5], [1.99, 2.49]]
    assert found["sessions"][1] == {
        "session_id": f"{begun.run_id}.s1.a0",
        "ordinal": 1,
        "attempt": 0,
        "status": "ok",
        "reason": None,
        "median_ms": 101.0,
        "t_begin_ns": recorded.START_NS,
        "load_ms": 250.0,
        "hwm_kib": 120_000,
    }
    json.dumps(document, allow_nan=False)


def test_a_measurement_that_was_cut_off_shows_its_sessions_and_says_so(begun):
    begun.store.add_session(begun.measurement_id, session(begun.run_id, 0))
    found = source(begun).document(begun.run_id)["measurements"][0]
    assert found["status"] == "partial"
    assert "1 of 3 sessions are stored" in found["reason"]
    assert found["latency_ms"] == {"unavailable": found["reason"]}
    assert found["workload"] == WORKLOAD
    assert [item["status"] for item in found["sessions"]] == ["ok"]


def test_a_cut_off_measurement_has_the_keys_of_a_finished_one(begun):
    cut_off = source(begun).document(begun.run_id)["measurements"][0]
    finish(begun, 100.0)
    assert set(source(begun).document(begun.run_id)["measurements"][0]) == set(cut_off)


def test_the_trace_of_a_session_is_all_its_steps_and_samples(begun):
    made = session(begun.run_id, 0)
    lines = [recorded.sample(5, 1.5, "p"), recorded.sample(6, 2.5, "p")]
    record = recorded.record(*lines, session=made.session_id, quantities={"p": "power_mw"})
    begun.store.add_session(begun.measurement_id, SessionResult(made.session_id, 0, 0, record, made.validity))
    trace = source(begun).trace(made.session_id)
    assert [(step.index, step.phase) for step in trace.steps][:3] == [(0, "warm_up"), (1, "warm_up"), (2, "measured")]
    assert trace.steps[0].t1_ns == record.steps[0].t1_ns
    assert tuple(trace.steps[0].losses) == record.steps[0].losses
    samples = trace.samples["p"]
    assert (samples.quantity, tuple(samples.t_ns), tuple(samples.values)) == ("power_mw", (5, 6), (1.5, 2.5))


def test_a_session_without_a_trace_is_empty(begun):
    assert source(begun).trace("nonesuch") == SessionTrace(steps=[], samples={})


def test_an_unknown_run_is_one_sentence(begun):
    with pytest.raises(UserError, match="there is no run 'x'"):
        source(begun).document("x")


def test_the_latest_state_of_a_device_counts(begun):
    begun.store.record_device_state(begun.run_id, begun.device_id, "Debian 13", {"governor": "powersave"})
    found = source(begun).document(begun.run_id)["devices"]["local"]
    assert found["facts"]["os_build"] == "Debian 13"
    assert found["facts"]["governor"] == "powersave"
    assert found["preflight"] == []
