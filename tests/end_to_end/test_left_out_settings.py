"""A setting, device or task that can't be used is all that a run lacks, with its reason wherever it is listed."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from suite.errors import SuiteError
from suite.planning.plan import Plan
from suite.preparing.exporting import Exporter
from tests.support.end_to_end.scripted_runner import Board, make_board
from tests.support.end_to_end.suite_runs import SHAPE, Bench
from workloads.models.config import LlamaConfig
from workloads.models.named import model_config
from workloads.quantize.settings import SETTINGS, QuantizationSetting, UnsupportedRows

BROKEN = "exporting tiny int8-dynamic failed with exit code 1 (ValueError: Scales must be finite): see the log"
PLAN = """\
defaults: {models: tiny, steps: 3, sessions: 1, shapes: [{q: 2, b: 2, T: 32}]}
plans:
  good: {devices: [here, board], quants: [fp32, int8-dynamic, nf4]}
  bad: {devices: here, quants: fp32, shapes: [{q: 1, b: 2, T: 32}], task: absent.tsv}
"""


@pytest.fixture
def address() -> Iterator[int]:
    """A port at which nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


@pytest.fixture
def board(bench: Bench, address: int, monkeypatch: pytest.MonkeyPatch) -> Board:
    (bench.folder / "inventory.yaml").write_text(
        "devices:\n  here: {kind: local, emulated: true}\n"
        f"  board: {{kind: linux, host: 127.0.0.1, port: {address}, connect_timeout_s: 2}}\n"
    )
    (bench.folder / "lab.yaml").write_text(PLAN)
    return make_board(bench, monkeypatch)


@pytest.fixture
def broken_export(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Makes exports of the given settings fail; the programs of the others are in the cache."""

    def install(*settings: str) -> None:
        def export(_: Exporter, _plan: Plan, quant: str, *_arguments: Any) -> None:
            assert quant in settings
            raise SuiteError(BROKEN)

        monkeypatch.setattr(Exporter, "export", export)

    return install


def outcomes(measurements: list[dict[str, Any]]) -> dict[tuple[str, str, int], str]:
    """(device, setting, q) to status."""
    found = {
        (item["device"], item["workload"]["quant"], item["workload"]["q"]): item["status"] for item in measurements
    }
    assert len(found) == len(measurements)
    return found


EXPECTED = {
    ("here", "fp32", 2): "ok",
    ("here", "nf4", 2): "ok",
    ("here", "int8-dynamic", 2): "failed",
    ("here", "fp32", 1): "failed",
    ("board", "fp32", 2): "failed",
    ("board", "nf4", 2): "failed",
    ("board", "int8-dynamic", 2): "failed",
}


def test_a_failed_setting_device_or_task_is_all_that_is_missing(
    board: Board, bench: Bench, broken_export: Callable[..., None]
) -> None:
    broken_export("int8-dynamic")
    ran = bench("run", "--plan", "lab.yaml", "--json")
    assert ran.code == 4, ran.err
    assert outcomes(ran.document["measurements"]) == EXPECTED
    reasons = {
        (item["device"], item["workload"]["quant"], item["workload"]["q"]): item["reason"]
        for item in ran.document["measurements"]
    }
    assert reasons["here", "int8-dynamic", 2] == BROKEN
    assert "absent.tsv can't be read (No such file" in reasons["here", "fp32", 1]
    assert "Connection refused" in reasons["board", "nf4", 2]
    assert reasons["board", "int8-dynamic", 2] == BROKEN
    assert ran.err.count("tiny int8-dynamic is left out: ") == 1
    assert bench.runs()[0][1] == "partial"
    pages = "".join(path.read_text() for path in (bench.home / "reports").rglob("*.html"))
    for sentence in ("Scales must be finite", "absent.tsv can", "Connection refused"):
        assert sentence in pages


def test_the_table_has_a_row_and_a_reason_for_what_was_left_out(
    board: Board, bench: Bench, broken_export: Callable[..., None]
) -> None:
    broken_export("int8-dynamic")
    ran = bench("run", "--device", "here", *SHAPE, "--quant", "fp32,int8-dynamic", "--quick")
    assert ran.code == 4, ran.err
    assert "✗ failed" in ran.out
    assert f"here int8-dynamic: failed: {BROKEN}" in " ".join(ran.out.split())


def test_a_night_goes_on_without_them(board: Board, bench: Bench, broken_export: Callable[..., None]) -> None:
    broken_export("int8-dynamic")
    ran = bench("nightly", "--plan", "lab.yaml", "--json")
    assert ran.code == 4, ran.err
    document = json.loads(ran.out)
    expected = {place: status for place, status in EXPECTED.items() if status != "ok"}
    assert outcomes(document["errors"]) == expected
    assert document["series"] > 0
    summary = (bench.home / "nights" / document["run_id"] / "summary.md").read_text()
    assert "Scales must be finite" in summary
    assert "absent.tsv" in summary


def test_a_night_in_which_nothing_can_be_measured_is_recorded(board: Board, bench: Bench) -> None:
    (bench.folder / "lab.yaml").write_text(PLAN.replace("  good:", "  bad2:").replace("nf4]", "nf4], task: no.tsv"))
    ran = bench("nightly", "--plan", "lab.yaml", "--json")
    assert ran.code == 4, ran.err
    assert len(json.loads(ran.out)["errors"]) == len(EXPECTED)
    ran = bench("run", "--plan", "lab.yaml")
    assert ran.code == 2
    assert "can't be read" in ran.err.splitlines()[-1]
    assert len(bench.runs()) == 1


def test_a_run_of_a_single_setting_that_cannot_be_exported_ends_with_its_sentence(
    board: Board, bench: Bench, broken_export: Callable[..., None]
) -> None:
    broken_export("int8-dynamic")
    ran = bench("run", "--device", "here", *SHAPE, "--quant", "int8-dynamic", "--quick")
    assert (ran.code, bench.runs()) == (1, [])
    assert ran.err.splitlines()[-1].endswith(BROKEN)
    assert ran.err.count(BROKEN) == 1


def test_an_export_goes_on_after_a_setting_that_fails(
    board: Board, bench: Bench, broken_export: Callable[..., None]
) -> None:
    broken_export("int8-dynamic")
    ran = bench("export", *SHAPE, "--quant", "int8-dynamic,fp32", "--json")
    assert ran.code == 4
    assert [item["workload"]["quant"] for item in ran.document] == ["fp32"]
    assert f"tiny int8-dynamic is left out: {BROKEN}" in ran.err


def test_a_resumed_run_takes_the_program_that_could_not_be_exported_before(
    board: Board, bench: Bench, broken_export: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    broken_export("nf4")
    kept = {path: path.with_name("kept-" + path.name) for path in _artifacts(bench, "nf4")}
    for path, aside in kept.items():
        path.rename(aside)
    arguments = ("--device", "here", *SHAPE, "--quant", "fp32,nf4", "--sessions", "1", "--steps", "3")
    assert bench("run", *arguments, "--json").code == 4
    bench.change("UPDATE run SET status = 'interrupted'")
    for path, aside in kept.items():
        aside.rename(path)
    ran = bench("run", "--resume", "--json")
    assert ran.code == 0, ran.err
    assert [item["status"] for item in ran.document["measurements"]] == ["ok", "ok"]
    assert bench.rows("SELECT count(*), count(artifact_hash) FROM measurement") == [(2, 2)]


def _artifacts(bench: Bench, quant: str) -> list[Path]:
    return [
        path.parent
        for path in (bench.home / "artifacts").glob("*/artifact.json")
        if json.loads(path.read_text())["workload"]["quant"] == quant
    ]


@pytest.fixture
def no_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes 8da4w refuse the rows of tiny."""
    require, odd = QuantizationSetting.require_rows, LlamaConfig(64, 48, 96, 1, 3, 1, 16)
    monkeypatch.setattr(
        QuantizationSetting,
        "require_rows",
        lambda setting, _: require(setting, odd) if setting.row_multiple > 2 else None,
    )
    with pytest.raises(UnsupportedRows):
        SETTINGS["8da4w"].require_rows(model_config("tiny"))


GROUPS = "8da4w stores rows in groups of 32 values, but those of self_attn.q_proj have 48"


def test_a_setting_that_the_models_rows_rule_out_is_unsupported_and_the_others_are_measured(
    board: Board, bench: Bench, no_groups: None
) -> None:
    arguments = ("--device", "here", *SHAPE, "--quant", "fp32,8da4w,nf4", "--sessions", "1", "--steps", "3")
    ran = bench("run", *arguments, "--json")
    assert ran.code == 0, ran.err
    assert outcomes(ran.document["measurements"]) == {
        ("here", "fp32", 2): "ok",
        ("here", "8da4w", 2): "unsupported",
        ("here", "nf4", 2): "ok",
    }
    (odd,) = (item for item in ran.document["measurements"] if item["status"] == "unsupported")
    assert odd["reason"].startswith(GROUPS)
    assert odd["program_bytes"] == {"unavailable": odd["reason"]}
    dry = bench("run", *arguments, "--dry-run")
    assert dry.code == 0, dry.err
    assert "interleaved over fp32, nf4" in dry.out
    assert f"tiny 8da4w is left out: {GROUPS}" in dry.out


def test_a_plan_without_a_possible_setting_is_refused(board: Board, bench: Bench, no_groups: None) -> None:
    for words in (("--quick",), ("--dry-run",)):
        ran = bench("run", "--device", "here", *SHAPE, "--quant", "8da4w", *words)
        assert (ran.code, bench.home.joinpath("store.sqlite").exists()) == (2, False)
        assert GROUPS in ran.sentence


def test_a_setting_too_large_for_this_machine_is_all_that_is_missing(
    board: Board, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """llama-2-7b in fp32 needs some 27 GB and in nf4 some 4: nothing is loaded for a forecast."""
    monkeypatch.setattr(
        "suite.planning.forecast.psutil.virtual_memory", lambda: type("Memory", (), {"total": 16 << 30})
    )
    ran = bench("run", "--device", "here", "--model", "llama-2-7b", "--quant", "fp32,nf4", "-q", "1", "--dry-run")
    assert ran.code == 0, ran.err
    assert "interleaved over nf4" in ran.out
    assert "llama-2-7b fp32 is left out: " in ran.out
