"""`suite data`, `suite trace` and `suite gc` after a run, and a device whose cache has a limit."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
from pathlib import Path
from typing import Any

import pytest

from suite.home import Home, in_use
from suite.preparing.preparation import Preparation, prepare
from tests.support.end_to_end.scripted_runner import Board, make_board
from tests.support.end_to_end.suite_runs import RUN, Bench, by_setting

QUICK = (*RUN, "--quick", "--quant", "fp32,int8")
OLD = 1_600_000_000
LIMITED = "devices:\n  local:\n    kind: local\n    cache_limit_mb: {limit}\n"


@pytest.fixture
def board(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Board:
    return make_board(bench, monkeypatch)


@pytest.fixture
def run_id(bench: Bench, board: Board) -> str:
    ran = bench(*QUICK, "--json")
    assert ran.code == 0, ran.err
    return str(ran.document["run_id"])


def test_tables_have_a_row_for_each_measurement(bench: Bench, run_id: str) -> None:
    ran = bench("data", "export", "all")
    assert (ran.code, ran.err) == (0, "")
    names = ("measurements", "sessions", "steps", "samples", "verdicts", "findings")
    assert ran.out.splitlines() == [f"export/{name}.csv" for name in names]
    with Path("export/measurements.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["run_id"], row["quant"]) for row in rows] == [(run_id, "fp32"), (run_id, "int8")]


def test_a_run_of_another_lab_is_imported_once_and_listed_as_imported(bench: Bench, run_id: str) -> None:
    assert bench("data", "export", run_id, "--format", "json").code == 0
    path = f"export/{run_id}.json"
    first, second = bench("data", "import", path, "--from", "bonn"), bench("data", "import", path, "--from", "bonn")
    assert first.code == 0, first.err
    assert first.out == f"{run_id}.bonn: 2 measurements, 2 sessions of bonn\n"
    assert second.out == f"{run_id}.bonn is in the store already; nothing was changed\n"
    assert f"{run_id}.bonn  finished  bonn:local" in bench("history", "--runs").out
    assert {row["device"] for row in bench("history", "--json").document} == {"local", "bonn:local"}
    assert bench("report").code == 0
    assert bench("run", "--resume").code == 2


@pytest.mark.parametrize(
    "arguments",
    [
        ("data", "export", "2020"),
        ("data", "import", "inventory.yaml", "--from", "bonn"),
        ("data", "import", "nothing.json", "--from", "bonn"),
        ("data", "import", "inventory.yaml", "--from", "a:b"),
        ("trace", "2020"),
        ("gc", "--json"),
        ("gc", "--device", "phone"),
    ],
)
def test_bad_input_is_one_sentence_with_exit_code_2(bench: Bench, run_id: str, arguments: tuple[str, ...]) -> None:
    ran = bench(*arguments)
    assert ran.code == 2
    assert ran.sentence.startswith("suite: ")


@pytest.mark.parametrize("arguments", [("data", "export", "all"), ("trace", "x")])
def test_without_a_store_the_next_command_is_named(empty_bench: Bench, arguments: tuple[str, ...]) -> None:
    ran = empty_bench(*arguments)
    assert ran.code == 2
    assert "measure first with `suite run --device local`" in ran.sentence


def test_trace_of_a_run_has_its_device_and_sessions(bench: Bench, run_id: str) -> None:
    ran = bench("trace", run_id, "--to", "run.json.gz")
    assert (ran.code, ran.out) == (0, "run.json.gz\n")
    events = json.loads(gzip.decompress(Path("run.json.gz").read_bytes()))["traceEvents"]
    names = [event["args"]["name"] for event in events if event["name"] in ("process_name", "thread_name")]
    assert names == ["local", "fp32 session 1", "int8 session 1"]


def age(bench: Bench) -> None:
    """Makes everything look made, measured and used long ago, on another system build than the newest."""
    for folder in (bench.home / "artifacts").iterdir():
        os.utime(folder, (OLD, OLD))
    bench.change("UPDATE measurement SET started_at = '2020-01-01T00:00:00.000+00:00'")
    bench.change("DELETE FROM point")


def programs(bench: Bench) -> set[str]:
    return {path.parent.name for path in (bench.home / "artifacts").glob("*/program.pte")}


def test_gc_names_what_goes_and_a_dry_run_leaves_it(bench: Bench, run_id: str) -> None:
    age(bench)
    before = programs(bench)
    ran = bench("gc", "--dry-run")
    assert ran.code == 0, ran.err
    assert ran.out.count("remove program") == len(before)
    assert ran.out.count("compress raw output") == 2
    assert programs(bench) == before


@pytest.mark.parametrize(("answer", "code"), [("", 2), ("n\n", 0)])
def test_gc_removes_nothing_unless_the_answer_is_yes(
    bench: Bench, run_id: str, monkeypatch: pytest.MonkeyPatch, answer: str, code: int
) -> None:
    age(bench)
    before = programs(bench)
    monkeypatch.setattr("sys.stdin", io.StringIO(answer))
    ran = bench("gc")
    assert (ran.code, programs(bench)) == (code, before)
    assert ("Nobody answered, so none of " in ran.err) == (code == 2)


def test_gc_removes_when_the_answer_is_yes(bench: Bench, run_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    age(bench)
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    assert (bench("gc").code, programs(bench)) == (0, set())


def test_gc_removes_what_is_old_and_the_next_run_makes_it_again(bench: Bench, run_id: str) -> None:
    age(bench)
    ran = bench("gc", "--yes", "--json")
    assert (ran.code, programs(bench)) == (0, set()), ran.err
    assert ran.document["freed_bytes"] > 0
    kept = sorted(path.suffix for path in (bench.home / "runs" / run_id).iterdir())
    assert kept == [".bin", ".gz", ".gz", ".json", ".json"]  # raw output; jobs and their inputs stay as they are
    assert bench("gc", "--dry-run").out.splitlines()[0] == "nothing to remove"


def test_gc_keeps_the_baseline_of_every_series(bench: Bench, run_id: str) -> None:
    for folder in (bench.home / "artifacts").iterdir():
        os.utime(folder, (OLD, OLD))
    bench.change("UPDATE measurement SET started_at = '2020-01-01T00:00:00.000+00:00'")
    used = {row[0] for row in bench.rows("SELECT artifact_hash FROM measurement")}
    bench.change("UPDATE run SET purpose = 'nightly'")  # a baseline is a night of two sessions or more
    bench.change("UPDATE measurement SET valid_sessions = 2")
    assert bench("gc", "--yes").code == 0
    assert programs(bench) == used


def test_gc_leaves_programs_alone_while_a_run_is_going_on(bench: Bench, run_id: str) -> None:
    age(bench)
    before = programs(bench)
    with in_use(Home(bench.home)):
        assert bench("gc", "--yes").code == 0
    assert programs(bench) == before


def on_device(bench: Bench) -> list[str]:
    return sorted(path.name for path in (bench.workdir / "artifacts").iterdir())


def test_gc_leaves_programs_alone_while_suite_export_makes_them(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    home, gone = Home(bench.home), []

    def collected(*given: Any, **options: Any) -> Preparation:
        gone.append(bench("gc", "--keep-artifacts-days", "0", "--yes", "--json").document)
        return prepare(*given, **options)

    monkeypatch.setattr("suite.cli.measure.export.prepare", collected)
    programs = sorted(path.name for path in home.artifacts.iterdir() if path.is_dir())
    assert bench("export", *RUN[3:], "--quant", "fp32").code == 0
    (document,) = gone
    assert {item["action"] for item in document["items"]} == {"keep"}
    assert sorted(path.name for path in home.artifacts.iterdir() if path.is_dir()) == programs


def test_gc_of_a_device_removes_what_was_not_used_lately(bench: Bench, run_id: str) -> None:
    assert bench("gc", "--device", "all", "--yes").out.splitlines()[0] == "nothing to remove"
    record = bench.workdir / "cache.json"
    uses = json.loads(record.read_text())
    old = next(name for name in uses["used"] if name.startswith("artifacts/"))
    uses["used"][old] = "2020-01-01T00:00:00+00:00"
    record.write_text(json.dumps(uses))
    ran = bench("gc", "--device", "local", "--yes", "--json")
    assert [item["name"] for item in ran.document["items"] if item["goes"]] == [old]
    assert old.removeprefix("artifacts/") not in on_device(bench)
    assert "pushed 1 files" in bench(*QUICK).err


def test_device_with_a_limit_removes_what_was_used_longest_ago_and_measures(bench: Bench, board: Board) -> None:
    # Of tiny, fp32 and int8 take 0.87 MB together, and fp16 0.30 MB.
    (bench.folder / "inventory.yaml").write_text(LIMITED.format(limit=1))
    assert bench(*QUICK).code == 0
    both = on_device(bench)
    ran = bench(*RUN, "--quick", "--quant", "fp16")
    assert ran.code == 0, ran.err
    assert "of the programs used longest ago" in ran.err
    (new,) = set(on_device(bench)) - set(both)
    assert len(set(on_device(bench)) & set(both)) < 2
    assert (bench.workdir / "artifacts" / new / "program.pte").is_file()


def test_programs_beyond_the_limit_fail_their_setting_alone(bench: Bench, board: Board) -> None:
    (bench.folder / "inventory.yaml").write_text(LIMITED.format(limit=1))
    found = by_setting(bench(*RUN, "--quick", "--json").document)
    assert {quant: item["status"] for quant, item in found.items()} == {
        "fp32": "ok",
        "fp16": "ok",
        "int8": "failed",
        "nf4": "ok",  # the space that int8 could not use is enough for it
    }
    assert "`cache_limit_mb` is 1: raise it in the inventory" in found["int8"]["reason"]
