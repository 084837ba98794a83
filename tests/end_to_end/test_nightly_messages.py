"""What people do with a night: they get its messages, accept its new level, remark on it, and compare it."""

from __future__ import annotations

import os
import re
import shutil
import socket
from typing import Any

import pytest
from filelock import FileLock

from tests.support.end_to_end.past_nights import add_nights, slow_candidate
from tests.support.end_to_end.scripted_runner import Board, make_board
from tests.support.end_to_end.suite_runs import Bench

PLAN = """\
defaults: {devices: local, models: tiny, steps: 12}
plans:
  small: {quants: [fp32, nf4], shapes: [{q: 2, b: 2, T: 32}], sessions: 5}
"""
LATENCY = "local/tiny/prge/nf4/xnnpack/q2/b2/T32/rank16/latency_ms"


@pytest.fixture
def board(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Board:
    (bench.folder / "nightly.yaml").write_text(PLAN)
    monkeypatch.setenv("USER", "ada")
    monkeypatch.setenv("LOGNAME", "ada")
    return make_board(bench, monkeypatch)


@pytest.fixture
def regressed(board: Board, bench: Bench, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The id of a night in which nf4 became slower, after many in which it did not: measured once, then copied."""
    base = tmp_path_factory.getbasetemp()
    made = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "regressed"
    with FileLock(made.with_suffix(".lock")):
        if not made.exists():
            ran = bench("nightly", "--json")
            assert ran.code == 0, ran.err
            add_nights(bench, ran.document["run_id"])
            slow_candidate(board, "nf4", 1.2)
            ran = bench("nightly", "--json")
            assert ran.code == 3, ran.err
            (board.root / "night").write_text(str(ran.document["run_id"]))
            made.mkdir()
            for name in ("script.json", "night"):
                shutil.copy(board.root / name, made)
            shutil.copytree(bench.home, made / "home", symlinks=True)
    shutil.rmtree(bench.home)
    shutil.copytree(made / "home", bench.home, symlinks=True)
    shutil.copy(made / "script.json", board.root)
    return (made / "night").read_text()


def latency_of(document: Any) -> list[dict[str, Any]]:
    return [change for change in document["changes"] if change["series"] == LATENCY]


def test_an_accepted_regression_is_not_reported_the_next_night_and_opens_a_segment(
    bench: Bench, regressed: str
) -> None:
    ran = bench("accept", regressed, "--why", "the kernel saves memory now")
    assert ran.code == 0, ran.err
    assert f"accepted {LATENCY} from run {regressed} on" in ran.out
    assert not any("/fp32/" in line for line in ran.out.splitlines())
    ran = bench("nightly", "--json")
    assert (ran.code, latency_of(ran.document)) == (0, []), ran.out + ran.err
    document = bench("history", "nf4/latency", "--json").document
    assert [segment["reason"] for segment in document["segments"]] == ["first point", "accepted"]
    assert document["points"][document["segments"][1]["start"]]["run_id"] == regressed
    (remark,) = document["remarks"]
    assert (remark["kind"], remark["author"], remark["text"]) == ("accepted", "ada", "the kernel saves memory now")


def test_a_series_is_accepted_from_its_newest_point_on(bench: Bench, regressed: str) -> None:
    ran = bench("accept", "nf4/latency_ms", "--why", "known")
    assert ran.out == f"accepted {LATENCY} from run {regressed} on\n"
    again = bench("accept", "nf4/latency_ms", "--why", "known")
    assert again.code == 2
    assert "was already accepted from run" in again.sentence
    assert "by ada" in again.sentence


def test_what_cannot_be_accepted_is_refused_with_what_to_do_instead(bench: Bench, regressed: str) -> None:
    assert "--why is empty" in bench("accept", "nf4/latency_ms", "--why", " ").sentence
    assert "matches 2 series" in bench("accept", "latency_ms", "--why", "x").sentence
    assert "did you mean" in bench("accept", LATENCY + "x", "--why", "x").sentence
    assert "Nothing regressed in run" in bench("accept", "previous", "--why", "x").sentence
    assert bench.rows("SELECT count(*) FROM acceptance") == [(0,)]


def test_the_history_of_a_series_lists_verdicts_remarks_and_how_to_measure_again(bench: Bench, regressed: str) -> None:
    assert bench("annotate", "latest", "new \x1b[31mcompiler").code == 0
    assert bench("annotate", "nf4/latency_ms", "watch this one").code == 0
    ran = bench("history", "nf4/latency")
    assert f"regressed in {regressed}: " in ran.out
    assert "to measure it again: suite run --device local --quant nf4" in ran.out
    assert "by ada: watch this one" in ran.out
    assert f"by ada on run {regressed}: new \ufffd[31mcompiler" in ran.out
    assert re.search(rf"  [\d.]+ s(?: \([\d.]+-[\d.]+ s\))?  \w+  regressed  {regressed}$", ran.out, re.MULTILINE)
    assert "\x1b" not in ran.out
    (verdict,) = (one for one in bench("history", "nf4/latency", "--json").document["verdicts"] if one["cause"])
    assert (verdict["verdict"], verdict["rule"]) == ("regressed", "nightly 3")
    assert verdict["command"].startswith("suite run --device local --quant nf4")


def test_two_runs_are_compared_metric_by_metric(bench: Bench, board: Board) -> None:
    board.script(nf4={"temperature_mc": 40000.0})
    first = bench("nightly", "--json").document["run_id"]
    board.script(nf4={"slower": 1.2, "temperature_mc": 52000.0})
    second = bench("nightly", "--json").document["run_id"]
    ran = bench("compare", "previous", "latest", "--json")
    assert ran.code == 0, ran.err
    document = ran.document
    assert (document["before"], document["after"]) == (first, second)
    (metric,) = (one for one in document["metrics"] if one["series"] == LATENCY)
    assert (metric["outcome"], metric["sessions"]) == ("worse", [5, 5])
    assert metric["ratio"] == pytest.approx(1.2)
    assert metric["p"] < 0.05
    (same,) = (one for one in document["metrics"] if one["series"] == LATENCY.replace("nf4", "fp32"))
    assert same["outcome"] == "same"
    (state,) = document["states"]
    assert f"{state['device']}/{state['workload_key']}/latency_ms" == LATENCY
    output = bench("compare", first, second).out
    assert "all of them: tiny/prge/xnnpack/q2/b2/T32/rank16" in output
    first_row = output.splitlines()[4].split()  # what changed comes first
    assert first_row[:5] == ["✗", "worse", "local", "nf4", "latency_ms"]
    assert first_row[6] == first_row[8] == "s" and "1.200" in first_row
    assert "temperature was 40.0 degC and is 52.0 degC" in output


def test_results_are_printed_though_their_files_cannot_be_written(bench: Bench, board: Board) -> None:
    assert bench("nightly", "--json").code == 0
    for name in ("reports", "nights"):
        shutil.rmtree(bench.home / name)
        (bench.home / name).write_text("in the way")
    night = bench("nightly", "--json")
    assert (night.code, night.document["exit_code"], night.document["series"] > 0) == (2, 0, True), night.err
    assert "reports cannot be created" in night.document["report"]["unavailable"]
    assert "reports cannot be created" in night.err and "home/nights" in night.err
    compared = bench("compare", "previous", "latest", "--all")
    assert compared.code == 2 and "latency_ms" in compared.out and "report:" not in compared.out
    assert "reports cannot be created" in compared.err


def test_programs_are_compared_in_the_runs_that_measured_them_last(bench: Bench, regressed: str) -> None:
    (tonight,) = bench.rows(
        f"SELECT artifact_hash FROM measurement WHERE run_id = '{regressed}' AND role = 'measured' "
        "AND workload_key LIKE '%nf4%'"
    )
    document = bench("compare", "b" * 12, tonight[0][:12], "--json").document
    assert document["after"] == regressed
    assert document["before"] != regressed
    assert {metric["workload"]["quant"] for metric in document["metrics"]} == {"nf4"}


def test_a_run_is_not_compared_with_itself(bench: Bench, board: Board) -> None:
    run_id = bench("nightly", "--json").document["run_id"]
    assert f"both sides are run {run_id}" in bench("compare", run_id, "latest").sentence
    assert "there is no previous run, 1 are stored" in bench("compare", "previous", "latest").sentence


def test_a_webhook_out_of_reach_is_a_note_and_changes_nothing(
    bench: Bench, board: Board, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("suite.nightly.sending.ATTEMPTS", 1)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))  # bound, but nobody listens
        port = free.getsockname()[1]
        monkeypatch.setenv("SUITE_WEBHOOK_URL", f"http://127.0.0.1:{port}/T0KEN")
        ran = bench("nightly", "--json")
    assert ran.code == 0, ran.err
    assert ran.document["verdicts"]["insufficient"] == ran.document["series"]
    assert f"the webhook at 127.0.0.1:{port} did not accept the night" in ran.err
    kept = [path.read_bytes() for path in bench.home.rglob("*") if path.is_file() and path.stat().st_size < 10**7]
    assert not any(b"T0KEN" in content for content in [*kept, ran.err.encode(), ran.out.encode()])
