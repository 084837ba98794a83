"""`suite history`: series as a table that words choose from, and all of the one they leave."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from suite.cli.main import run_command
from suite.cli.output import sparkline
from suite.home import Home
from suite.store.series import accept_points, newest_point, series_names
from suite.store.store import Store, VerdictRow
from tests.support.suite.stored_run import begin, finish


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """Three nights of int8 and nf4 on a board, of which the last nf4 regressed, and a run on a phone."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SUITE_HOME", raising=False)
    found = Home.locate()
    for ms in (100.0, 101.0, 140.0):
        for quant in ("int8", "nf4"):
            begun = begin(found.store_path, quant=quant, device="board", purpose="nightly")
            finish(begun, ms, ms, device="board")
    (series,) = (one for one in series_names(begun.store) if "nf4" in one.name and one.metric == "latency_ms")
    point = newest_point(begun.store, series)
    for word in ("unchanged", "regressed"):
        begun.store.add_verdicts([VerdictRow(point.series_id, point.measurement_id, word, "rule 1", {}, {})])
    begun.store.close()
    phone = begin(found.store_path, device="phone")
    finish(phone, 200.0, device="phone")
    phone.store.close()
    return found


def printed(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert run_command(["history", *words]) == 0
    return capsys.readouterr().out


def document(capsys: pytest.CaptureFixture[str], *words: str) -> Any:
    return json.loads(printed(capsys, *words, "--json"))


def cells(output: str, name: str) -> list[str]:
    (row,) = (line for line in output.splitlines() if line.strip().startswith(name))
    return [cell.strip() for cell in row.split("  ") if cell.strip()]


def test_series_are_a_table_with_values_a_line_of_the_newest_and_the_verdict(home, capsys):
    output = printed(capsys)
    assert output.splitlines()[0] == "all of them: tiny/prge/xnnpack/q4/b4/T64/rank16"
    assert cells(output, "board/nf4/latency_ms") == [
        *("board/nf4/latency_ms", "140 ms", "▁▁█", "100-140 ms", "regressed", "3")
    ]
    assert cells(output, "phone/int8/latency_ms") == ["phone/int8/latency_ms", "200 ms", "▅", "200-200 ms", "1"]


def test_the_names_in_the_table_name_their_series(home, capsys):
    names = [line.split()[0] for line in printed(capsys).splitlines()[3:]]
    assert len(names) == len(document(capsys)) > 6
    for name in names:
        assert document(capsys, name)["device"] == name.split("/")[0]


def test_words_choose_series_by_parts_of_their_names(home, capsys):
    def chosen(*words: str) -> set[tuple[str, ...]]:
        found = document(capsys, *words)
        return {(one["device"], one["workload_key"].split("/")[2], one["metric"]) for one in found}

    assert {device for device, _, _ in chosen("phone")} == {"phone"}
    assert chosen("memory", "nf4") == {("board", "nf4", "peak_memory_kib"), ("board", "nf4", "memory_after_load_kib")}
    assert chosen("int8/latency") == {("board", "int8", "latency_ms"), ("phone", "int8", "latency_ms")}
    assert chosen("regressed") == {("board", "nf4", "latency_ms")}
    assert chosen("regressed", "phone") == set()


def test_the_document_has_the_newest_values_and_the_verdict(home, capsys):
    (found,) = document(capsys, "regressed")
    assert (found["values"], found["verdict"], found["points"]) == ([100.0, 101.0, 140.0], "regressed", 3)


def test_the_only_series_that_matches_the_words_is_printed_whole(home, capsys):
    lines = printed(capsys, "nf4", "latency").splitlines()
    assert lines[0].startswith("board/tiny/prge/nf4/") and lines[1].startswith("segment 0: 3 points")
    assert document(capsys, "nf4", "latency")["metric"] == "latency_ms"


def test_an_accepted_regression_counts_as_accepted(home, capsys):
    store = Store.open(home.store_path)
    (series,) = (one for one in series_names(store) if "nf4" in one.name and one.metric == "latency_ms")
    accept_points(store, [newest_point(store, series)], "ada", "so be it")
    store.close()
    assert [one["verdict"] for one in document(capsys, "nf4") if one["metric"] == "latency_ms"] == ["accepted"]
    assert printed(capsys, "regressed") == "no series is regressed\n"


def test_a_word_that_names_no_series_is_refused_with_what_was_meant(home, capsys):
    assert run_command(["history", "nf4", "latincy_ms"]) == 2
    assert "there is no series 'latincy_ms': did you mean latency_ms?" in capsys.readouterr().err
    assert run_command(["history", "nf4", "phone"]) == 2


def test_words_choose_runs_too(home, capsys):
    (found,) = document(capsys, "--runs", "phone")
    assert found["devices"] == ["phone"]
    assert printed(capsys, "--runs", "no such") == "no run matches these words\n"


@pytest.mark.parametrize(
    ("values", "drawn"),
    [
        ([], ""),
        ([5.0], "▅"),
        ([0.0, 0.0], "▅▅"),
        ([1.0, 8.0, 4.5], "▁█▅"),
        ([100.0, 100.4, 99.8], "▄▅▄"),
        ([-1.0, 1.0], "▁█"),
    ],
)
def test_a_sparkline_goes_from_lowest_to_highest_and_does_not_blow_up_noise(values, drawn):
    assert sparkline(values) == drawn


def test_a_sparkline_is_digits_where_the_output_has_no_such_characters():
    from suite.cli import streams  # registers the handler of errors

    assert "▁▄█".encode("ascii", streams._ERRORS) == b"148"
