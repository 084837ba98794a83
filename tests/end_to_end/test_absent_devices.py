"""Runs on devices that aren't there: noticed before anything is exported, and recorded while others go on."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.end_to_end.scripted_runner import Board, make_board
from tests.support.end_to_end.suite_runs import RUN, SHAPE, Bench

SHORT = ("--quant", "fp32", "--sessions", "1", "--steps", "3")
NIGHT = """\
defaults: {devices: board, models: tiny, steps: 3}
plans:
  small: {quants: [fp32], shapes: [{q: 2, b: 2, T: 32}], sessions: 1}
"""


@pytest.fixture
def absent() -> Iterator[str]:
    """An inventory with this machine's twin, and a board at an address where nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        yield (
            "devices:\n  here: {kind: local, emulated: true}\n"
            f"  board: {{kind: linux, host: 127.0.0.1, port: {port}, connect_timeout_s: 2}}\n"
        )


def test_a_run_on_a_device_that_is_not_there_ends_before_the_export(empty_bench: Bench, absent: str) -> None:
    (empty_bench.folder / "inventory.yaml").write_text(absent)
    ran = empty_bench("run", "--device", "board", *SHAPE, *SHORT, "--json")
    assert (ran.code, ran.out) == (1, "")
    assert "device 'board'" in ran.sentence
    assert "can't be reached within 2 s: Connection refused; check that it is on" in ran.sentence
    assert not (empty_bench.home / "artifacts").exists()
    assert empty_bench.runs() == []


def test_a_dry_run_contacts_nothing(empty_bench: Bench, absent: str) -> None:
    (empty_bench.folder / "inventory.yaml").write_text(absent)
    ran = empty_bench("run", "--device", "board", *SHAPE, *SHORT, "--dry-run")
    assert (ran.code, ran.err) == (0, "")


def test_the_overhead_check_of_a_device_that_is_not_there_exports_nothing(empty_bench: Bench, absent: str) -> None:
    (empty_bench.folder / "inventory.yaml").write_text(absent)
    ran = empty_bench("check", "--overhead", "--device", "board", "--model", "tiny")
    assert (ran.code, "Connection refused" in ran.sentence) == (1, True)
    assert not (empty_bench.home / "artifacts").exists()


@pytest.fixture
def board(bench: Bench, absent: str, monkeypatch: pytest.MonkeyPatch) -> Board:
    (bench.folder / "inventory.yaml").write_text(absent)
    return make_board(bench, monkeypatch)


def test_others_are_measured_and_the_absent_one_is_recorded(board: Board, bench: Bench) -> None:
    ran = bench("run", "--device", "all", *SHAPE, *SHORT, "--json")
    assert ran.code == 4, ran.err
    found = {item["device"]: (item["status"], item["reason"]) for item in ran.document["measurements"]}
    assert found["here"] == ("ok", None)
    assert found["board"][0] == "failed"
    assert "Connection refused" in found["board"][1]
    assert ran.err.index("continuing without board") < ran.err.index("here: ")
    assert bench.rows("SELECT count(*) FROM measurement WHERE runner_hash IS NULL") == [(1,)]


def test_a_night_records_a_device_that_is_not_there(board: Board, bench: Bench) -> None:
    (bench.folder / "nightly.yaml").write_text(NIGHT)
    ran = bench("nightly", "--json")
    assert ran.code == 4, ran.err
    assert bench.rows("SELECT json_extract(document, '$.status') FROM measurement") == [("failed",)]
    (night,) = (bench.home / "nights").glob("*/night.json")
    assert "Connection refused" in json.dumps(json.loads(night.read_text()))


def test_without_a_compiler_this_machine_is_refused_before_the_export(
    empty_bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    ran = empty_bench(*RUN, *SHORT)
    *_notes, sentence = ran.err.splitlines()
    assert (ran.code, "sudo apt install g++" in sentence) == (2, True)
    assert not (empty_bench.home / "artifacts").exists()
