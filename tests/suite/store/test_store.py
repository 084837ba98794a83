import re
import sqlite3

import pytest

from devices.processes import ProcessEnd
from foundation.errors import UserError
from suite.errors import StoreError
from suite.sessions.collect import collect
from suite.sessions.record import IdlePower
from suite.sessions.validity import SessionResult, SessionStatus, Validity
from suite.store.store import Store, VerdictRow
from tests.support.suite import recorded_session as recorded
from tests.support.suite import stored_run
from tests.support.suite.stored_run import KEY, REFERENCE, WORKLOAD, begin, session


@pytest.fixture
def begun(tmp_path):
    made = begin(tmp_path / "store.sqlite")
    yield made
    made.store.close()


def test_a_session_comes_back_equal_after_reopening(begun, tmp_path):
    lines = recorded.samples("p", lambda t: 1000.0 + t / 3, seconds=2)
    broken = {"event": "sensor_error", "sensor": "z", "errors": 1, "reason": "gone \N{SNOWMAN}"}
    made = session(begun.run_id, 0, quantities={"p": "power_mw"})
    record = recorded.record(*lines, broken, session=made.session_id, quantities={"p": "power_mw"})
    whole = SessionResult(made.session_id, 0, 0, record, Validity(SessionStatus.OK), IdlePower(1.25, 2.5))
    begun.store.add_session(begun.measurement_id, whole)
    begun.store.close()
    again = Store.open(tmp_path / "store.sqlite").sessions_of(begun.measurement_id)
    assert again == [whole]
    assert len(again[0].record.samples["p"].t_ns) == 21


def test_a_session_that_left_almost_nothing_comes_back_equal(begun):
    record = collect("x", ["noise\x00\x1b", '{"event": "st'], ProcessEnd(rc=137, stderr_tail="\ud800"))
    whole = SessionResult("x", 2, 1, record, Validity(SessionStatus.FAILED, record.sentence))
    begun.store.add_session(begun.measurement_id, whole)
    assert begun.store.sessions_of(begun.measurement_id) == [whole]


def test_losses_that_are_not_finite_are_kept_as_they_were(begun):
    losses = [("nan", "inf"), (1.0, "-inf"), *[(1.0, 2.0)] * 5]
    begun.store.add_session(begun.measurement_id, session(begun.run_id, 0, losses=losses, status="invalid"))
    steps = begun.store.sessions_of(begun.measurement_id)[0].record.steps
    assert [str(loss) for loss in (*steps[0].losses, *steps[1].losses)] == ["nan", "inf", "1.0", "-inf"]


def test_sessions_come_in_the_order_of_ordinal_and_attempt(begun):
    for ordinal, attempt in ((1, 0), (0, 1), (0, 0)):
        begun.store.add_session(begun.measurement_id, session(begun.run_id, ordinal, attempt))
    found = begun.store.sessions_of(begun.measurement_id)
    assert [(item.ordinal, item.attempt) for item in found] == [(0, 0), (0, 1), (1, 0)]


def test_the_same_session_twice_is_refused_and_changes_nothing(begun):
    begun.store.add_session(begun.measurement_id, session(begun.run_id, 0, ms=100.0))
    with pytest.raises(StoreError, match="refused a change"):
        begun.store.add_session(begun.measurement_id, session(begun.run_id, 0, ms=5.0))
    assert [item.record.latencies_ms[0] for item in begun.store.sessions_of(begun.measurement_id)] == [100.0]


def test_a_session_of_no_measurement_is_refused(begun):
    with pytest.raises(StoreError, match="FOREIGN KEY"):
        begun.store.add_session(999, session(begun.run_id, 0))


def test_run_ids_sort_by_time_and_can_be_read(begun):
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d-[0-9a-f]{4}", begun.run_id)


def test_runs_of_one_second_never_share_an_id(begun, monkeypatch):
    drawn = iter([begun.run_id, begun.run_id, "2026-11-22T14-03-22-0001"])
    monkeypatch.setattr("suite.store.store.new_run_id", lambda: next(drawn))
    assert begun.store.begin_run({}, [], {}) == "2026-11-22T14-03-22-0001"


def test_beginning_a_measurement_again_gives_the_same_one(begun):
    again = begun.store.begin_measurement(begun.run_id, begun.device_id, dict(WORKLOAD), planned_sessions=3)
    other = begun.store.begin_measurement(begun.run_id, begun.device_id, WORKLOAD | {"T": 128}, planned_sessions=3)
    assert again == begun.measurement_id != other


@pytest.mark.parametrize(("artifact", "losses"), [("def456", REFERENCE), ("abc123", ((2.0, 2.6),))])
def test_a_measurement_is_not_taken_up_with_another_program_or_other_data(begun, artifact, losses):
    with pytest.raises(UserError, match="start a new run"):
        begun.store.begin_measurement(
            begun.run_id, begun.device_id, WORKLOAD, planned_sessions=3, artifact_hash=artifact, reference_losses=losses
        )


def test_a_measurement_is_taken_up_with_the_same_program_and_data(begun):
    again = begun.store.begin_measurement(
        begun.run_id, begun.device_id, WORKLOAD, planned_sessions=3, artifact_hash="abc123", reference_losses=REFERENCE
    )
    assert again == begun.measurement_id


def test_a_device_is_known_by_its_hardware(begun):
    store = begun.store
    assert store.record_device("local", "local", False, dict(reversed(stored_run.HARDWARE.items()))) == begun.device_id
    assert store.record_device("local", "local", False, {"cpu": "another"}) != begun.device_id


def test_an_artifact_may_be_recorded_again(begun):
    begun.store.record_artifact("abc123", WORKLOAD, {"program_bytes": 11})


def test_progress_tells_what_is_done_and_how_often_it_was_tried(begun):
    for ordinal, attempt, status in ((0, 0, "ok"), (1, 0, "throttled"), (1, 1, "lost"), (2, 0, "unsupported")):
        begun.store.add_session(begun.measurement_id, session(begun.run_id, ordinal, attempt, status=status))
    progress = begun.store.progress(begun.run_id)
    assert progress.done == {("local", KEY, "measured", 0), ("local", KEY, "measured", 2)}
    assert progress.attempts == {("local", KEY, "measured", ordinal): tries for ordinal, tries in enumerate((1, 2, 1))}
    assert begun.store.progress("another run").attempts == {}


def test_runs_that_were_killed_or_interrupted_can_be_taken_up(begun):
    store = begun.store
    finished = store.begin_run({}, ["suite"], {})
    interrupted = store.begin_run({}, ["suite"], {})
    store.finish_run(finished, "finished")
    store.finish_run(interrupted, "interrupted")
    assert set(store.open_runs()) == {begun.run_id, interrupted}
    assert store.resume_run(begun.run_id) == {"sessions": 3, "steps": 10}
    assert store.resume_run(interrupted) == {}


def test_a_finished_or_unknown_run_cannot_be_taken_up(begun):
    begun.store.finish_run(begun.run_id, "finished")
    with pytest.raises(UserError, match="nothing is left to resume"):
        begun.store.resume_run(begun.run_id)
    with pytest.raises(UserError, match="there is no run 'nonesuch'"):
        begun.store.resume_run("nonesuch")


def test_a_run_cannot_end_in_a_way_that_does_not_exist(begun):
    with pytest.raises(StoreError, match="CHECK"):
        begun.store.finish_run(begun.run_id, "splendid")


def verdict(begun):
    stored_run.finish(begun, 100.0, 101.0, 99.0)
    return begun.store.add_verdicts(
        [VerdictRow(1, begun.measurement_id, "unchanged", "screen", {"h": [1.0]}, {"p": 0.5})]
    )


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE verdict SET verdict = 'improved'",
        "DELETE FROM verdict",
        "REPLACE INTO verdict SELECT id, series_id, measurement_id, at, 'improved', rule, inputs, numbers FROM verdict",
    ],
)
def test_a_verdict_once_given_cannot_be_changed(begun, statement):
    verdict(begun)
    with (
        pytest.raises(StoreError, match="verdict rows are append-only"),
        begun.store.database.writing() as connection,
    ):
        connection.exec_driver_sql(statement)
    with begun.store.database.reading() as connection:
        assert connection.exec_driver_sql("SELECT verdict FROM verdict").scalars().all() == ["unchanged"]


def test_verdicts_can_be_added(begun):
    verdict(begun)
    begun.store.add_verdicts([VerdictRow(1, begun.measurement_id, "regressed", "confirm", {}, {})])
    with begun.store.database.reading() as connection:
        found = connection.exec_driver_sql("SELECT verdict, rule FROM verdict ORDER BY id").all()
    assert [tuple(row) for row in found][1:] == [("regressed", "confirm")]


def test_a_verdict_of_another_name_is_refused(begun):
    stored_run.finish(begun, 100.0)
    with pytest.raises(StoreError, match="CHECK"):
        begun.store.add_verdicts([VerdictRow(1, begun.measurement_id, "terrible", "screen", {}, {})])


def test_an_annotation_must_be_about_something(begun):
    begun.store.annotate("me", "new fan", run_id=begun.run_id)
    with pytest.raises(StoreError, match="CHECK"):
        begun.store.annotate("me", "about nothing")


def test_a_transaction_that_raises_leaves_nothing(begun):
    with pytest.raises(ZeroDivisionError), begun.store.database.writing() as connection:
        connection.exec_driver_sql("DELETE FROM measurement")
        _ = 1 / 0
    assert begun.store.sessions_of(begun.measurement_id) == []
    assert begun.store.begin_measurement(begun.run_id, begun.device_id, WORKLOAD, planned_sessions=3) == 1


def test_the_file_is_durable_strict_and_checks_its_references(begun):
    with begun.store.database.reading() as connection:

        def value(pragma):
            return connection.exec_driver_sql(f"PRAGMA {pragma}").scalar_one()

        assert value("journal_mode") == "wal"
        assert value("synchronous") == 2  # FULL
        assert value("foreign_keys") == 1
        tables = connection.exec_driver_sql("PRAGMA table_list").mappings().all()
    ours = [table for table in tables if not table["name"].startswith("sqlite_")]
    assert len(ours) >= 12
    assert all(table["strict"] == 1 for table in ours)


def test_readers_never_wait_for_a_writer(begun, tmp_path):
    reader = Store.open(tmp_path / "store.sqlite", read_only=True, busy_timeout_s=0.0)
    with begun.store.database.writing() as connection:
        connection.exec_driver_sql("UPDATE run SET status = 'failed'")
        assert reader.open_runs() == [begun.run_id]
    assert reader.open_runs() == []


def test_samples_are_compressed(begun, tmp_path):
    lines = recorded.samples("p", 1000.0, seconds=600)
    made = session(begun.run_id, 0)
    record = recorded.record(*lines, session=made.session_id, quantities={"p": "power_mw"})
    begun.store.add_session(begun.measurement_id, SessionResult(made.session_id, 0, 0, record, made.validity))
    connection = sqlite3.connect(tmp_path / "store.sqlite")
    rows, size = connection.execute("SELECT rows, length(data) FROM sample WHERE name = 'p'").fetchone()
    assert rows == 6001
    assert size < rows * 16 / 3
