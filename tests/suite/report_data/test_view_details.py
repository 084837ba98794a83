"""What a device's and a series' page are told of a store in which nights are not all alike."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from sqlalchemy import insert, select, update

from suite.regression.drift import total_drift
from suite.report_data import series as series_view
from suite.report_data.source import StoreSource
from suite.store import schema
from suite.store.store import Store
from tests.support.reports.synthetic_store import Shape, fill

NIGHTS = 30
KEY = "smollm2-135m/prge/int8/xnnpack/q4/b4/T64/rank16"
LATENCY = 17
"""The series of int8's latency on board-00."""
AT = "2026-03-01T00:00:00+00:00"


class Lab:
    def __init__(self, path: Path) -> None:
        self.nights = fill(path, Shape(NIGHTS, devices=1, shapes=1, steps=2))
        self.store = Store.open(path)

    @property
    def source(self) -> StoreSource:
        return StoreSource(self.store)

    def change(self, *statements: object) -> None:
        with self.store.database.writing() as connection:
            for statement in statements:
                connection.execute(statement)  # type: ignore[call-overload]

    def document(self, key: int, **changed: object) -> None:
        """Changes the document of a measurement."""
        table = schema.measurement
        with self.store.database.reading() as connection:
            known = json.loads(connection.execute(select(table.c.document).where(table.c.id == key)).scalar_one())
        self.change(update(table).where(table.c.id == key).values(document=json.dumps(known | changed)))

    def levels(self, values: list[float]) -> None:
        """The latency of int8, night by night."""
        table = schema.point
        for night, value in enumerate(values):
            own = (table.c.measurement_id == measurement(night)) & (table.c.series_id == LATENCY)
            self.change(update(table).where(own).values(value=value))

    def latency(self):
        return next(one for one in self.source.history("board-00", KEY) if one.metric == "latency_ms")


def measurement(night: int) -> int:
    return night * 4 + 3


@pytest.fixture
def lab(tmp_path):
    made = Lab(tmp_path / "store.sqlite")
    yield made
    made.store.close()


def checked(detail: str) -> str:
    return json.dumps([{"name": "disk", "status": "warning", "detail": detail, "remedy": ""}])


def test_the_newest_state_of_a_device_is_the_one_that_is_warned_of(lab):
    state = schema.device_state
    lab.change(update(state).where(state.c.run_id == lab.nights[0]).values(preflight=checked("full")))
    (device,) = lab.source.devices()
    assert (device.last_run, list(device.warnings)) == (lab.nights[-1], [])
    lab.change(update(state).where(state.c.run_id == lab.nights[-1]).values(preflight=checked("nearly full")))
    assert list(lab.source.devices()[0].warnings) == ["disk: nearly full"]


def test_health_has_the_highest_temperature_of_a_night_and_how_many_were_throttled(lab):
    lab.document(1, temperature_c={"start": 30.0, "max": 80.0}, throttled=True)
    lab.document(2, temperature_c={"start": 45.0, "max": 50.0})
    lab.document(3, temperature_c={"unavailable": "no zone"}, throttled={"unavailable": "no bit"})
    first = lab.source.health("board-00")[0]
    assert (first.temperature_start_c, first.temperature_max_c, first.throttled) == (45.0, 80.0, 1)


def test_the_health_of_a_device_is_in_the_order_of_its_runs_whatever_order_they_were_stored_in(lab):
    run = {"id": "2025-12-01T00-00-00-abcd", "started_at": "2025-12-01T00:00:00+00:00", "status": "finished"}
    state = {"run_id": run["id"], "device_id": 1, "at": AT, "os_build": "old", "facts": "{}", "preflight": "[]"}
    lab.change(
        insert(schema.run).values(**run, purpose="run", plan="{}", command="[]", environment="{}"),
        insert(schema.device_state).values(**state),
    )
    assert [point.run_id for point in lab.source.health("board-00")] == [run["id"], *lab.nights]


def test_the_last_state_of_a_device_in_a_run_is_displayed(lab):
    state = {"run_id": lab.nights[0], "device_id": 1, "at": AT, "facts": '{"kernel": "6.9"}', "preflight": "[]"}
    lab.change(insert(schema.device_state).values(**state, os_build="after its update"))
    assert lab.source.document(lab.nights[0])["devices"]["board-00"]["facts"]["kernel"] == "6.9"
    assert lab.source.health("board-00")[0].os_build == "after its update"


def test_a_measurement_that_was_not_finished_is_partial_with_sessions_and_failed_without(lab):
    table, session = schema.measurement, schema.session
    unfinished = update(table).where(table.c.run_id == lab.nights[0])
    lab.change(
        unfinished.values(document=None, status=None, finished_at=None),
        session.delete().where(session.c.measurement_id == measurement(0)),
    )
    found = {item["workload"]["quant"]: item for item in lab.source.document(lab.nights[0])["measurements"]}
    assert {quant: item["status"] for quant, item in found.items()} == {
        "fp32": "partial", "fp16": "partial", "int8": "failed", "nf4": "partial",
    }  # fmt: skip
    assert "3 of 3 sessions are stored" in found["fp32"]["reason"]
    assert "unavailable" in found["int8"]["latency_ms"]


def test_a_measurement_that_was_not_finished_says_whether_it_was_throttled(lab):
    table, session = schema.measurement, schema.session
    lab.change(
        update(table).where(table.c.run_id == lab.nights[-1]).values(document=None, status=None, finished_at=None),
        update(session).where(session.c.measurement_id == measurement(NIGHTS - 1)).values(status="throttled"),
    )
    found = {
        item["workload"]["quant"]: item["throttled"] for item in lab.source.document(lab.nights[-1])["measurements"]
    }
    assert found == {"fp32": False, "fp16": False, "int8": True, "nf4": False}


def test_the_sides_of_a_confirmation_are_no_outcomes_of_a_device(lab):
    values = {
        "run_id": lab.nights[-1], "device_id": 1, "workload_key": KEY, "workload": "{}", "role": "candidate",
        "planned_sessions": 13, "reference_losses": "[]", "started_at": AT, "status": "failed", "document": "{}",
    }  # fmt: skip
    lab.change(insert(schema.measurement).values(**values))
    assert lab.source.devices()[0].outcomes == {"ok": 4}
    assert lab.source.health("board-00")[-1].outcomes == {"ok": 4}


def test_only_latency_has_an_interval_since_only_it_was_taken_over_sessions(lab):
    found = {one.metric: one.points[-1] for one in lab.source.history("board-00", KEY)}
    assert found["latency_ms"].low is not None and found["latency_ms"].high is not None
    others = {name: (point.low, point.high) for name, point in found.items() if name != "latency_ms"}
    assert set(others.values()) == {(None, None)}


def test_a_remark_on_a_run_is_in_no_history_of_what_it_did_not_measure(lab):
    other = {"id": "2026-02-20T00-00-00-abcd", "started_at": AT, "status": "finished", "purpose": "run"}
    row = {"series_id": None, "at": AT, "author": "lena"}
    lab.change(
        insert(schema.run).values(**other, plan="{}", command="[]", environment="{}"),
        insert(schema.annotation).values(**row, run_id=other["id"], text="another device"),
        insert(schema.annotation).values(**row, run_id=lab.nights[2], text="this one"),
    )
    (remark,) = lab.latency().remarks
    assert (remark.text, remark.run_id) == ("this one", lab.nights[2])
    assert remark.at == lab.latency().points[2].at  # it stands at its run, not at the day it was written


def test_a_change_in_a_later_segment_stands_at_its_own_point(lab):
    wave = [1.0, -1.0, 0.5, -0.5]
    lab.levels([1000.0 + wave[night % 4] + (200.0 if night >= 22 else 0.0) for night in range(NIGHTS)])
    accepted = {"series_id": LATENCY, "measurement_id": measurement(6), "at": AT, "author": "lena", "why": "known"}
    lab.change(insert(schema.acceptance).values(**accepted))
    found = lab.latency()
    assert [part.start for part in found.segments] == [0, 6]
    assert [(change.at, change.side) for change in found.changes] == [(22, "worse")]


def judge(lab: Lab, night: int, verdict: str, numbers: str = "{}") -> None:
    named = {"series_id": LATENCY, "measurement_id": measurement(night), "at": AT, "rule": "r", "inputs": "{}"}
    lab.change(insert(schema.verdict).values(**named, verdict=verdict, numbers=numbers))


def drift_points(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Of how many points drift was looked for in, for each metric."""
    seen: list[int] = []
    monkeypatch.setattr(
        series_view, "total_drift", lambda values, *rest: (seen.append(len(values)), total_drift(values, *rest))[1]
    )
    lab.latency()
    return seen


def test_drift_leaves_out_nights_that_regressed_unless_they_were_accepted(lab, monkeypatch):
    judge(lab, 20, "regressed")
    judge(lab, 21, "regressed")
    assert sorted(drift_points(lab, monkeypatch)) == [NIGHTS - 2, *[NIGHTS] * 7]
    accepted = {"series_id": LATENCY, "measurement_id": measurement(21), "at": AT, "author": "lena", "why": "known"}
    lab.change(insert(schema.acceptance).values(**accepted))
    assert sorted(drift_points(lab, monkeypatch))[0] == NIGHTS - 21


@pytest.mark.parametrize(
    ("numbers", "since"),
    [
        (['{"device_level": 1200.0}'] * 2, 20),
        (['{"device_level": 1200.0}', "{}"], 0),
        (["{}", '{"drift_traced": 1.0}'], 21),
    ],
)
def test_drift_is_looked_for_since_what_explained_it_last(lab, monkeypatch, numbers, since):
    for night, values in enumerate(numbers, 20):
        judge(lab, night, "unchanged", values)
    assert sorted(drift_points(lab, monkeypatch))[0] == NIGHTS - since


def test_the_newest_nights_have_how_each_device_ended_and_its_latencies(lab):
    lab.levels([float(1000 + night) for night in range(NIGHTS)])
    found = lab.source.recent()
    assert [night.run_id for night in found.nights] == list(lab.nights)
    assert [night.latency_ms["board-00", KEY] for night in found.nights] == [1000.0 + night for night in range(NIGHTS)]
    assert {night.outcomes["board-00"]["ok"] for night in found.nights} == {4}
    ((_, latest),) = found.latest.items()
    assert len(latest) == 4 and {item.run_id for item in latest} == {lab.nights[-1]}
    assert {one.measurement_id for one in found.verdicts} <= {item.measurement_id for item in latest}
    assert list(found.busy) == []


def test_a_night_that_could_not_reach_a_device_says_so_and_one_in_which_it_failed_does_not(lab):
    table, state = schema.measurement, schema.device_state
    artifact = {"hash": "0" * 64, "workload": "{}", "metadata": "{}", "recorded_at": AT}
    failed = {"status": "failed", "artifact_hash": artifact["hash"]}
    last_two = table.c.run_id.in_(lab.nights[-2:])
    lab.change(
        insert(schema.artifact).values(**artifact),
        update(table).where(last_two).values(**failed),
        state.delete().where(state.c.run_id == lab.nights[-1]),
    )
    *_, before, last = lab.source.recent().nights
    assert (before.unreached, last.unreached) == (frozenset(), frozenset({"board-00"}))
    assert before.outcomes == last.outcomes == {"board-00": {"failed": 4}}


def test_a_device_that_was_busy_before_the_last_night_is_named(lab):
    state = schema.device_state
    load = json.dumps([{"name": "load", "status": "warning", "detail": "load 3.1", "remedy": ""}])
    lab.change(update(state).where(state.c.run_id == lab.nights[-1]).values(preflight=load))
    assert list(lab.source.recent().busy) == ["board-00"]


def test_without_nights_what_the_newest_run_measured_is_the_newest(lab):
    lab.change(update(schema.run).values(purpose="run"))
    found = lab.source.recent()
    assert (found.nights, found.verdicts) == ((), ())
    assert {item.run_id for items in found.latest.values() for item in items} == {lab.nights[-1]}


def test_a_document_that_does_not_name_the_kind_of_its_device_has_that_of_the_store(lab):
    lab.document(measurement(0), kind="")
    kinds = {item["kind"] for item in lab.source.document(lab.nights[0])["measurements"]}
    assert len(kinds) == 1 and kinds != {""}
