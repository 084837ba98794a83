"""A night from the command line: measured, screened against earlier nights, confirmed beside the baseline, judged."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from filelock import FileLock

from suite.store.store import Store, VerdictRow
from tests.support.end_to_end.past_nights import add_nights, slow_candidate
from tests.support.end_to_end.scripted_runner import Board, make_board
from tests.support.end_to_end.suite_runs import Bench

PLAN = """\
defaults: {devices: local, models: tiny, steps: 12}
plans:
  small: {quants: [fp32, nf4], shapes: [{q: 2, b: 2, T: 32}], sessions: 3}
"""
PAIRS = 3 + 10 + 20


@pytest.fixture
def board(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Board:
    (bench.folder / "nightly.yaml").write_text(PLAN)
    return make_board(bench, monkeypatch)


@pytest.fixture
def first_night(board: Board, bench: Bench) -> str:
    """A night's run that the earlier nights are made from, then forgotten."""
    ran = bench("nightly", "--json")
    assert ran.code == 0, ran.err
    return str(json.loads(ran.out)["run_id"])


def changes(document: dict[str, Any]) -> dict[str, str]:
    """Setting and metric to verdict."""
    found = {}
    for change in document["changes"]:
        parts = change["series"].split("/")
        found[f"{parts[3]} {parts[-1]}"] = change["verdict"]
    return found


def test_the_first_night_has_too_little_history_to_judge(board: Board, bench: Bench) -> None:
    ran = bench("nightly", "--json")
    assert ran.code == 0, ran.err
    document = json.loads(ran.out)
    assert document["verdicts"]["insufficient"] == document["series"] > 4
    assert document["changes"] == []
    assert bench.rows("SELECT DISTINCT verdict, rule FROM verdict") == [("insufficient", "nightly 3")]
    assert bench.rows("SELECT purpose, status FROM run") == [("nightly", "finished")]


def test_a_night_like_the_others_is_unchanged(board: Board, bench: Bench, first_night: str) -> None:
    add_nights(bench, first_night)
    ran = bench("nightly", "--json")
    assert ran.code == 0, ran.err
    assert json.loads(ran.out)["verdicts"]["unchanged"] == json.loads(ran.out)["series"]
    assert len(bench.rows("SELECT DISTINCT role FROM measurement")) == 1  # nothing was measured again


def test_a_suspect_whose_baseline_moved_as_well_is_blamed_on_the_device(
    board: Board, bench: Bench, first_night: str
) -> None:
    add_nights(bench, first_night)
    board.script(nf4={"slower": 1.2})  # the scripted runner is slow with tonight's program and with the baseline
    ran = bench("nightly", "--json")
    document = json.loads(ran.out)
    assert (ran.code, document["changes"]) == (0, []), document
    (row,) = bench.rows(
        "SELECT v.verdict, json_extract(v.inputs, '$.cause'), json_extract(v.inputs, '$.sentence') FROM verdict v "
        "JOIN series s ON s.id = v.series_id WHERE s.metric = 'latency_ms' AND s.workload_key LIKE '%nf4%' "
        "ORDER BY v.id DESC LIMIT 1"
    )
    assert row[:2] == ("unchanged", "device")
    assert "the device changed, not the code" in row[2]


def test_a_regression_is_confirmed_beside_the_baseline_and_reported_everywhere(
    board: Board, bench: Bench, first_night: str
) -> None:
    add_nights(bench, first_night)
    slow_candidate(board, "nf4", 1.2)
    ran = bench("nightly")
    assert ran.code == 3, ran.out + ran.err
    assert "regressed: local/tiny/prge/nf4" in ran.out
    run_id = bench.runs()[-1][0]
    folder = bench.home / "nights" / run_id
    document = json.loads((folder / "night.json").read_text())
    assert changes(document)["nf4 latency_ms"] == "regressed"
    assert not any(name.startswith("fp32") for name in changes(document))
    (change,) = (item for item in document["changes"] if item["series"].endswith("latency_ms"))
    assert change["numbers"]["ratio"] == pytest.approx(1.2, rel=0.01)
    assert change["numbers"]["q"] <= 0.05
    assert change["command"].startswith("suite run --device local --quant nf4 --model tiny -q 2 -b 2 -T 32")
    check_files(folder)
    roles = dict(bench.rows(f"SELECT role, count(*) FROM measurement WHERE run_id = '{run_id}' GROUP BY role"))
    assert roles == {"measured": 2, "candidate": 1, "baseline": 1}
    sessions = bench.rows(
        "SELECT m.role FROM session s JOIN measurement m ON m.id = s.measurement_id WHERE m.role <> 'measured' "
        "ORDER BY s.committed_at, s.rowid"
    )
    turns = ["baseline", "candidate", "candidate", "baseline", "baseline", "candidate"]
    assert [role for (role,) in sessions[:6]] == turns
    assert len(sessions) == 2 * PAIRS


def check_files(folder: Path) -> None:
    suite = ElementTree.parse(folder / "junit.xml").getroot()  # noqa: S314 - our own file
    cases = [case for case in suite.iter("testcase") if case.find("failure") is not None]
    failed = {(case.get("classname"), case.get("name")) for case in cases}
    assert ("local.tiny/prge/nf4/xnnpack/q2/b2/T32/rank16", "latency_ms") in failed
    assert int(suite.get("failures", "0")) == len(failed)
    summary = (folder / "summary.md").read_text()
    assert "### ✗ Regressed" in summary
    assert "the code changed this" in summary


def test_a_regressed_night_is_not_the_next_ones_history(board: Board, bench: Bench, first_night: str) -> None:
    add_nights(bench, first_night)
    slow_candidate(board, "nf4", 1.2)
    assert bench("nightly").code == 3
    assert bench("nightly").code == 3  # it is reported every night until it is fixed or accepted


def test_without_its_baseline_program_a_suspect_is_inconclusive(board: Board, bench: Bench, first_night: str) -> None:
    add_nights(bench, first_night)
    board.script(nf4={"slower": 1.2})
    bench.change("UPDATE measurement SET artifact_hash = NULL WHERE run_id LIKE '2026-01%'")
    ran = bench("nightly", "--json")
    document = json.loads(ran.out)
    assert ran.code == 4
    assert changes(document)["nf4 latency_ms"] == "inconclusive"
    assert "no earlier night of this series can serve as the baseline" in document["changes"][0]["sentence"]


def test_a_measurement_that_failed_is_an_error_not_a_verdict(board: Board, bench: Bench, first_night: str) -> None:
    add_nights(bench, first_night)
    board.script(fp32={"losses": [[9.0] * 4]})
    ran = bench("nightly", "--json")
    document = json.loads(ran.out)
    assert ran.code == 4
    assert [error["workload"]["quant"] for error in document["errors"]] == ["fp32"]
    assert not any("fp32" in change["series"] for change in document["changes"])


def test_two_nights_never_overlap(board: Board, bench: Bench) -> None:
    (bench.home / "locks").mkdir(exist_ok=True)
    with FileLock(bench.home / "locks" / "night.lock"):
        ran = bench("nightly")
    assert ran.code == 2
    assert "Another night is in progress" in ran.sentence


def test_a_night_interrupted_after_its_verdicts_is_judged_once(
    board: Board, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Store.add_verdicts

    def interrupt(store: Store, verdicts: Sequence[VerdictRow]) -> None:
        whole(store, verdicts)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Store, "add_verdicts", interrupt)
        assert bench("nightly").code == 130
    assert bench("nightly").code == 0
    twice = "SELECT count(*), count(DISTINCT series_id) FROM verdict"
    ((all_of_them, series),) = bench.rows(twice)
    assert all_of_them == series > 4
    assert len(bench.runs()) == 1


def test_an_interrupted_night_is_resumed(board: Board, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("suite.nightly.night.judge", interrupt)
        assert bench("nightly").code == 130
    resumed = bench("run", "--resume")
    assert "is a night: continue it with `suite nightly`" in resumed.sentence
    ran = bench("nightly", "--json")
    assert ran.code == 0, ran.err
    assert len(bench.runs()) == 1
    assert len(bench.sessions()) == 6
