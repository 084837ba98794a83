"""Whatever changes what a page shows changes the stamp that the page is built from; nothing else does."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import insert, update

from suite.report_data.source import StoreSource
from suite.store import schema
from suite.store.store import Store
from suite.store.tags import tag_run, take_away
from tests.support.reports.synthetic_store import Shape, fill

KEY = "smollm2-135m/prge/int8/xnnpack/q4/b4/T64/rank16"
GROUP = "smollm2-135m/prge/xnnpack/q4/b4/T64/rank16"
SERIES_OF_KEY = 17
"""The first of the third setting of the first device: its latency."""
AT = "2026-03-01T00:00:00+00:00"


class Lab:
    """Three nights of two devices with four settings; `changed` tells whose stamps are others after a change."""

    def __init__(self, path: Path) -> None:
        self.nights = fill(path, Shape(3, devices=2, shapes=1, steps=2))
        self.store = Store.open(path)

    def change(self, statement: object) -> None:
        with self.store.database.writing() as connection:
            connection.execute(statement)  # type: ignore[call-overload]

    def stamps(self) -> dict[str, str]:
        source = StoreSource(self.store)
        found = {
            f"run {self.nights.index(run.run_id)}": run.stamp for run in source.runs() if run.run_id in self.nights
        }
        found |= {
            f"{one.device} {one.workload['quant'] if one.group == GROUP else one.workload_key}": one.stamp
            for one in source.histories()
        }
        found |= {one.name: one.stamp for one in source.devices()}
        return found | {"workload" if one.key == GROUP else one.key: one.stamp for one in source.workloads()}

    def changed(self, statement: object) -> set[str]:
        before = self.stamps()
        self.change(statement)
        after = self.stamps()
        return {name for name in after if after[name] != before.get(name)}


@pytest.fixture
def lab(tmp_path):
    made = Lab(tmp_path / "store.sqlite")
    yield made
    made.store.close()


def measurement(night: int, device: int = 0, setting: int = 2) -> int:
    return night * 8 + device * 4 + setting + 1


def test_nothing_changes_by_itself(lab):
    assert lab.changed(update(schema.run).where(schema.run.c.id == "none").values(status="failed")) == set()


def test_a_verdict_restamps_its_night_its_series_and_the_workload(lab):
    values = {"series_id": SERIES_OF_KEY, "measurement_id": measurement(1), "at": AT, "rule": "r", "inputs": "{}"}
    found = lab.changed(insert(schema.verdict).values(**values, verdict="regressed", numbers="{}"))
    assert found == {"run 1", "board-00 int8", "workload"}


def test_an_acceptance_restamps_its_run_its_series_and_the_workload(lab):
    values = {"series_id": SERIES_OF_KEY, "measurement_id": measurement(1), "at": AT, "author": "lena", "why": "known"}
    assert lab.changed(insert(schema.acceptance).values(**values)) == {"run 1", "board-00 int8", "workload"}


def test_a_remark_on_a_series_restamps_it_and_the_workload(lab):
    values = {"series_id": SERIES_OF_KEY, "run_id": None, "at": AT, "author": "lena", "text": "new fan"}
    assert lab.changed(insert(schema.annotation).values(**values)) == {"board-00 int8", "workload"}


def test_a_remark_on_a_run_restamps_it_and_all_it_measured(lab):
    values = {"series_id": None, "run_id": lab.nights[0], "at": AT, "author": "lena", "text": "new fan"}
    found = lab.changed(insert(schema.annotation).values(**values))
    assert {"run 0", "board-00 int8", "board-01 nf4", "workload"} <= found
    assert not {"run 1", "run 2"} & found


def test_a_tag_restamps_its_run_and_the_one_that_had_it(lab):
    before = lab.stamps()
    tag_run(lab.store, "v1", lab.nights[0], "lena")
    first = lab.stamps()
    tag_run(lab.store, "v1", lab.nights[1], "lena", move=True)
    moved = lab.stamps()
    take_away(lab.store, "v1", "lena")
    assert {name for name in first if first[name] != before[name]} == {"run 0"}
    assert {name for name in moved if moved[name] != first[name]} == {"run 0", "run 1"}
    assert lab.stamps() == before


@pytest.mark.parametrize("column", ["status", "finished_at"])
def test_the_end_of_a_run_restamps_it(lab, column):
    value = {"status": "interrupted", "finished_at": AT}[column]
    assert lab.changed(update(schema.run).where(schema.run.c.id == lab.nights[2]).values({column: value})) == {"run 2"}


def test_a_measurement_that_was_finished_anew_restamps_its_run_series_and_workload(lab):
    table = schema.measurement
    found = lab.changed(update(table).where(table.c.id == measurement(2)).values(finished_at=AT))
    assert found == {"run 2", "board-00 int8", "workload"}


def test_another_measurement_restamps_all_it_belongs_to(lab):
    values = {
        "run_id": lab.nights[2], "device_id": 2, "workload_key": "tiny/int8", "role": "measured", "planned_sessions": 1,
        "workload": '{"model":"tiny","quant":"int8"}', "reference_losses": "[]", "started_at": AT,
    }  # fmt: skip
    assert lab.changed(insert(schema.measurement).values(**values)) == {
        "run 2",
        "board-01",
        "board-01 tiny/int8",
        "tiny",
    }


def test_another_measurement_in_an_older_run_restamps_its_device(lab):
    values = {
        "run_id": lab.nights[0], "device_id": 2, "workload_key": "tiny/int8", "role": "measured", "planned_sessions": 1,
        "workload": '{"model":"tiny","quant":"int8"}', "reference_losses": "[]", "started_at": AT,
    }  # fmt: skip
    assert lab.changed(insert(schema.measurement).values(**values)) == {
        "run 0",
        "board-01",
        "board-01 tiny/int8",
        "tiny",
    }


def test_another_session_restamps_a_run_in_progress(lab):
    lab.change(update(schema.run).where(schema.run.c.id == lab.nights[1]).values(status="running", finished_at=None))
    values = {
        "id": f"{lab.nights[1]}.s7.a0", "measurement_id": measurement(1), "ordinal": 7, "attempt": 0, "status": "ok",
        "cause": "end", "sentence": "", "sensor_errors": "{}", "defects": "[]", "idle": "{}", "committed_at": AT,
    }  # fmt: skip
    assert "run 1" in lab.changed(insert(schema.session).values(**values))


def test_a_new_state_restamps_its_device(lab):
    values = {"run_id": lab.nights[2], "device_id": 1, "at": AT, "os_build": "new", "facts": "{}", "preflight": "[]"}
    assert "board-00" in lab.changed(insert(schema.device_state).values(**values))
    table = schema.measurement
    ended = update(table).where(table.c.id == measurement(2)).values(status="failed")
    assert "board-00" in lab.changed(ended)
