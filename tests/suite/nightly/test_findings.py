"""A finding over nights: new, known, missed, fixed, ended, and what people said of it."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert

from reports.model.findings import Finding
from suite.nightly.findings import record_findings
from suite.results.findings import add_note, findings_of_night
from suite.store import schema
from suite.store.identity import canonical
from suite.store.series import accept_points, regressed_points
from suite.store.store import Store, VerdictRow
from tests.support.suite.stored_run import WORKLOAD

BOARDS = ("a", "b", "c", "d", "e")


class Nights:
    """A lab of five boards that measures the latency of one or two settings; the words of each night are given."""

    def __init__(self, path: Path) -> None:
        self.store = Store.open(path)
        self.count = 0
        self.run_ids: list[str] = []
        self.series: dict[tuple[str, str], int] = {}
        self.devices = {board: self.store.record_device(board, "jetson", False, {}) for board in BOARDS}

    def judge(self, words: Mapping[str, str] | str, setting: str = "int8", *, boards: Sequence[str] = BOARDS) -> None:
        """Stores a night with a verdict for each board, of one word or by board (else unchanged), and its findings."""
        self.count += 1
        at = f"2026-01-{self.count:02d}T02:00:00.000+00:00"
        run_id = f"2026-01-{self.count:02d}T02-00-00-aaaa"
        self.run_ids.append(run_id)
        rows = []
        with self.store.database.writing() as connection:
            named = {"id": run_id, "started_at": at, "status": "finished", "purpose": "nightly", "plan": "{}"}
            connection.execute(insert(schema.run).values(**named, command="[]", environment="{}"))
            for board in boards:
                rows.append(self._row(connection, run_id, at, board, setting, words))
        self.store.add_verdicts(rows)
        record_findings(self.store)

    def _row(self, connection: Any, run_id: str, at: str, board: str, setting: str, words: Any) -> VerdictRow:
        workload = WORKLOAD | {"quant": setting}
        of = {"run_id": run_id, "device_id": self.devices[board], "workload_key": setting}
        made = connection.execute(
            insert(schema.measurement).values(
                **of, workload=canonical(workload), role="measured", planned_sessions=3, valid_sessions=3, status="ok",
                reference_losses="[]", started_at=at, document="{}",
            )
        ).inserted_primary_key[0]  # fmt: skip
        if (board, setting) not in self.series:
            named = {"device_name": board, "workload_key": setting, "metric": "latency_ms", "direction": "lower"}
            row = insert(schema.series).values(**named, emulated=0, fingerprint="f", created_at=at)
            self.series[board, setting] = connection.execute(row).inserted_primary_key[0]
        series = self.series[board, setting]
        connection.execute(insert(schema.point).values(measurement_id=made, series_id=series, value=1.0))
        word = words if isinstance(words, str) else words.get(board, "unchanged")
        numbers = {"ratio": 1.07, "ratio_low": 1.06, "ratio_high": 1.08, "p": 1e-6, "q": 1e-5, "pairs": 10}
        return VerdictRow(series, made, word, "nightly 3", {"sentence": "So."}, numbers | {"change": 0.07})

    def found(self, night: int = -1) -> list[Finding]:
        with self.store.database.reading() as connection:
            return findings_of_night(connection, self.run_ids[night])

    def life(self, night: int = -1) -> list[tuple[str, int, bool]]:
        return [(one.state, one.nights, one.seen) for one in self.found(night)]


@pytest.fixture
def nights(tmp_path: Path) -> Nights:
    return Nights(tmp_path / "store.sqlite")


def test_a_finding_keeps_its_name_and_its_first_night(nights: Nights):
    nights.judge("unchanged")
    for _ in range(3):
        nights.judge("regressed")
    (first,), (last,) = nights.found(1), nights.found(3)
    assert (first.id, first.state, first.nights) == (last.id, "new", 1)
    assert (last.state, last.nights, last.since_run) == ("known", 3, nights.run_ids[1])


def test_it_is_fixed_once_three_series_are_as_they_were(nights: Nights):
    nights.judge("regressed")
    nights.judge("unchanged")
    nights.judge("unchanged")
    assert nights.life(1) == [("fixed", 1, True)] and nights.found(2) == []


def test_a_single_series_is_fixed_only_in_the_second_night(nights: Nights):
    nights.judge({"a": "regressed"})
    nights.judge("unchanged")
    assert nights.life() == [("known", 1, False)]
    nights.judge("unchanged")
    assert nights.life() == [("fixed", 1, True)]


def test_what_was_not_measured_stays_until_it_is(nights: Nights):
    nights.judge({"a": "regressed"})
    for _ in range(3):
        nights.judge("unchanged", boards=BOARDS[1:])
    assert nights.life() == [("known", 1, False)]
    nights.judge({"a": "regressed"})
    assert nights.life() == [("known", 2, True)]


def test_what_comes_again_has_the_name_that_it_had(nights: Nights):
    nights.judge("regressed")
    nights.judge("unchanged")
    nights.judge("regressed")
    (first,), (again,) = nights.found(0), nights.found(2)
    assert (first.id, again.id, again.state, again.since_run) == (again.id, first.id, "new", nights.run_ids[2])


def test_a_finding_becomes_wider_in_its_first_nights(nights: Nights):
    nights.judge({"a": "regressed", "b": "regressed"})
    nights.judge("regressed")
    (one,) = nights.found()
    assert (one.id, one.level, one.state) == (nights.found(0)[0].id, "kind", "known")


def test_another_setting_is_another_finding_also_later(nights: Nights):
    nights.judge("regressed")
    nights.judge("regressed", "nf4")
    assert {(one.settings, one.state, one.seen) for one in nights.found()} == {
        (("nf4",), "new", True), (("int8",), "known", False),
    }  # fmt: skip


def test_what_an_old_finding_does_not_explain_is_a_new_one(nights: Nights):
    for _ in range(7):
        nights.judge({"a": "regressed"})
    nights.judge({"a": "regressed", "b": "regressed"})
    assert {(one.devices, one.state) for one in nights.found()} == {(("a",), "known"), (("b",), "new")}


def test_an_accepted_level_is_no_open_finding_and_ends_when_its_series_begin_anew(nights: Nights):
    nights.judge("regressed")
    accept_points(nights.store, regressed_points(nights.store, nights.run_ids[0]), "ada", "meant")
    (one,) = nights.found()
    assert (one.state, one.is_open, one.accepted_series) == ("accepted", False, 5)
    nights.judge("insufficient")
    assert nights.found() == []


def test_nights_are_recorded_once_and_those_that_were_not_are_caught_up_with(nights: Nights):
    nights.judge("regressed")
    before = nights.found()
    record_findings(nights.store)
    assert nights.found() == before


def test_notes_stay_with_a_finding_over_nights(nights: Nights):
    nights.judge("regressed")
    (one,) = nights.found()
    add_note(nights.store, "link", "ada", "https://bugs.example/17", finding=one.id)
    nights.judge("regressed")
    (note,) = nights.found()[0].notes
    assert (note.kind, note.author, note.text) == ("link", "ada", "https://bugs.example/17")


def test_a_mute_of_a_device_is_for_what_only_it_shows_and_for_its_time(nights: Nights):
    window = {"since": "2026-01-01T00:00:00+00:00", "until": "2026-01-03T00:00:00+00:00"}
    add_note(nights.store, "mute", "ada", "a new fan", device="a", **window)
    for _ in range(3):
        nights.judge({"a": "regressed"})
    assert [[one.muted for one in nights.found(night)] for night in range(3)] == [
        ["muted by ada: a new fan"], ["muted by ada: a new fan"], [""],
    ]  # fmt: skip
    nights.judge("regressed")
    assert [one.muted for one in nights.found()] == [""]


def test_a_muted_finding_is_open_again_when_the_mute_is_taken_back(nights: Nights):
    nights.judge("regressed")
    (one,) = nights.found()
    add_note(nights.store, "mute", "ada", "known", finding=one.id)
    assert [found.is_open for found in nights.found()] == [False]
    add_note(nights.store, "unmute", "ada", "", finding=one.id)
    assert [found.is_open for found in nights.found()] == [True]


def test_a_document_that_can_not_be_read_leaves_the_others(nights: Nights):
    nights.judge("regressed")
    with nights.store.database.writing() as connection:
        row = {"key": "F-000000", "run_id": nights.run_ids[0], "state": "seen", "document": json.dumps({"id": 1})}
        connection.execute(insert(schema.finding).values(**row))
    assert len(nights.found()) == 1
    nights.judge("regressed")
    assert len(nights.found()) == 1


def test_findings_are_only_added_to(nights: Nights):
    nights.judge("regressed")
    with pytest.raises(Exception, match="append-only"), nights.store.database.writing() as connection:
        connection.execute(schema.finding.delete())
    assert nights.found()


def test_nights_of_a_store_without_findings_are_grouped_when_the_next_one_ends(nights: Nights, tmp_path: Path):
    for _ in range(2):
        nights.judge("regressed")
    nights.store.close()
    with contextlib.closing(sqlite3.connect(tmp_path / "store.sqlite")) as connection:
        connection.executescript("DROP TABLE finding; DROP TABLE finding_note; UPDATE schema_version SET version = 7")
    nights.store = Store.open(tmp_path / "store.sqlite")
    assert nights.found() == []
    nights.judge("regressed")
    assert [nights.life(night) for night in range(3)] == [
        [("new", 1, True)], [("known", 2, True)], [("known", 3, True)],
    ]  # fmt: skip
