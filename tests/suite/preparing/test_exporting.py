"""The exporting process: its end is told with its cause and its log, and nothing of it stays."""

import io
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from foundation.errors import UserError
from suite.errors import SuiteError
from suite.planning.plan import Plan
from suite.preparing.export_process import Loaded, Progress, WatchedTensors
from suite.preparing.exporting import Order, exporter
from workloads.lowering.arithmetic_probe import Accumulation
from workloads.reference.expected_losses import ReferenceLosses

PLAN = Plan((), model="tiny", quants=("fp32",))
BOTH = replace(PLAN, quants=("int8", "nf4"))


def ignored(_: str) -> None:
    """Progress that nobody watches."""


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch):
    """Lets a script take the place of the exporting process."""
    real = subprocess.Popen
    started = []

    def install(script: str) -> list[subprocess.Popen[str]]:
        def start(argv, **options):
            started.append(real([sys.executable, "-I", "-c", script], **options))
            return started[-1]

        monkeypatch.setattr(subprocess, "Popen", start)
        return started

    return install


def test_a_killed_process_is_reported_with_its_signal_and_log(tmp_path: Path, stand_in) -> None:
    stand_in("import os; os.kill(os.getpid(), 9)")
    log, kept = tmp_path / "export.log", tmp_path / "export-tiny-fp32.log"
    with (
        pytest.raises(SuiteError, match=rf"exports tiny fp32 was killed by SIGKILL, usually .* \(its log is {kept}\)"),
        exporter(tmp_path, log) as process,
    ):
        process.export(PLAN, "fp32", ignored)


def test_an_unrecoverable_error_is_reported_with_its_last_line_and_log(tmp_path: Path, stand_in) -> None:
    stand_in("import sys; sys.stdin.readline(); print('noise', file=sys.stderr); raise RuntimeError('no delegate')")
    log, kept = tmp_path / "export.log", tmp_path / "export-tiny-fp32.log"
    with (
        pytest.raises(SuiteError, match=rf"failed with exit code 1 \(RuntimeError: no delegate\): see the log {kept}"),
        exporter(tmp_path, log) as process,
    ):
        process.export(PLAN, "fp32", ignored)
    assert "Traceback" in kept.read_text()


def test_a_process_that_ends_on_a_full_disk_is_reported_with_the_space_it_needs(
    tmp_path: Path, stand_in, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its log is cut there, so the last line says nothing."""
    stand_in("import sys; input(); print('a warning of a library', file=sys.stderr); sys.exit(1)")
    monkeypatch.setattr("suite.preparing.exporting.shutil.disk_usage", lambda _path: SimpleNamespace(free=20_000))
    with (
        pytest.raises(SuiteError, match=r"the disk of .* has 0 MB free, but the program alone takes about 1 MB: free"),
        exporter(tmp_path, tmp_path / "export.log") as process,
    ):
        process.export(PLAN, "fp32", ignored)


def test_the_setting_after_one_whose_process_died_gets_another_process(tmp_path: Path, stand_in) -> None:
    started = stand_in(
        "import json, sys\n"
        "for line in sys.stdin:\n"
        "    if json.loads(line)['quant'] == 'int8': raise ValueError('Scales must be finite')\n"
        '    print(\'{"losses": [[1.5]], "shortfall": null, "untrained": [], "noise": 0.1, "late": []}\', flush=True)'
    )
    (tmp_path / ".exporting-half").mkdir()
    with exporter(tmp_path, tmp_path / "export.log") as process:
        with pytest.raises(SuiteError, match=r"exporting tiny int8 failed .*Scales .* see the log .*export-tiny-int8"):
            process.export(BOTH, "int8", ignored)
        assert not (tmp_path / ".exporting-half").exists()
        assert process.export(BOTH, "nf4", ignored).losses == ((1.5,),)
    assert len(started) == 2
    assert "Scales must be finite" in (tmp_path / "export-tiny-int8.log").read_text()


def test_plans_share_a_process(tmp_path: Path, stand_in) -> None:
    started = stand_in(
        "import json, sys\n"
        "answer = {'shortfall': None, 'untrained': [], 'noise': 0.1, 'late': []}\n"
        "for line in sys.stdin:\n"
        "    print(json.dumps(answer | {'losses': [[json.loads(line)['plan']['T']]]}), flush=True)"
    )
    with exporter(tmp_path, tmp_path / "export.log") as process:
        lengths = [process.export(replace(PLAN, T=length), "fp32", ignored).losses for length in (16, 24)]
    assert lengths == [((16,),), ((24,),)]
    assert len(started) == 1


def test_what_the_user_can_mend_comes_as_it_is(tmp_path: Path, stand_in) -> None:
    stand_in('import sys; sys.stdin.readline(); print(\'{"user_error": "the disk is full: free space."}\')')
    with (
        pytest.raises(UserError, match=r"^the disk is full: free space\.$"),
        exporter(tmp_path, tmp_path / "export.log") as process,
    ):
        process.export(PLAN, "fp32", ignored)


def test_an_interruption_ends_the_process(tmp_path: Path, stand_in) -> None:
    started = stand_in(
        "import sys, time\n"
        "for line in sys.stdin: "
        'print(\'{"losses": [[1.5]], "shortfall": null, "untrained": [], "noise": 0.1, "late": []}\', flush=True)\n'
        "time.sleep(600)"
    )
    with pytest.raises(KeyboardInterrupt), exporter(tmp_path, tmp_path / "export.log") as process:
        assert process.export(PLAN, "fp32", ignored) == ReferenceLosses(((1.5,),), noise=0.1)
        raise KeyboardInterrupt
    assert started[0].returncode == -9


def test_what_an_interrupted_export_had_half_done_is_removed(tmp_path: Path, stand_in) -> None:
    stage = tmp_path / ".exporting-half"
    stand_in(
        f'import os, time; os.mkdir({str(stage)!r})\nprint(\'{{"progress": "half"}}\', flush=True); time.sleep(600)'
    )

    def interrupt(_: str) -> None:
        assert stage.is_dir()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), exporter(tmp_path, tmp_path / "export.log") as process:
        process.export(PLAN, "fp32", interrupt)
    assert not stage.exists()


def test_nothing_is_started_when_nothing_is_to_export(tmp_path: Path, stand_in) -> None:
    started = stand_in("")
    with exporter(tmp_path, tmp_path / "export.log"):
        pass
    assert started == []
    assert list(tmp_path.iterdir()) == []


def test_a_log_that_cannot_be_written_is_reported(tmp_path: Path) -> None:
    (tmp_path / "artifacts").touch()
    with (
        pytest.raises(UserError, match=r"the log of exports cannot be written .* SUITE_HOME"),
        exporter(tmp_path, tmp_path / "artifacts" / "export.log") as process,
    ):
        process.export(PLAN, "fp32", ignored)


def test_progress_comes_before_the_answer(tmp_path: Path, stand_in) -> None:
    lines = [
        '{"progress": "layer 1 of 2"}',
        '{"progress": "layer 2 of 2"}',
        '{"losses": [], "shortfall": "too long", "untrained": [], "noise": null, "late": []}',
    ]
    stand_in(f"import sys; sys.stdin.readline(); print({chr(10).join(lines)!r})")
    progress: list[str] = []
    with exporter(tmp_path, tmp_path / "export.log") as process:
        assert process.export(PLAN, "fp32", progress.append) == ReferenceLosses((), "too long")
    assert progress == ["layer 1 of 2", "layer 2 of 2"]


def test_an_order_arrives_as_it_was_given() -> None:
    plan = replace(PLAN, devices=("a",), lr=0.5, label_map=("a=b",), targets=("q_proj",), inner=True)
    for order in (Order(plan, "int8", Accumulation.FP16), Order(PLAN, "fp32", None)):
        assert Order.from_line(order.line()) == order


def test_a_plan_whose_inputs_can_not_be_loaded_does_not_get_those_of_the_last_one(tmp_path: Path) -> None:
    loaded, lost = Loaded(), replace(PLAN, task=str(tmp_path / "gone.tsv"))
    first = loaded.inputs_of(PLAN)
    for _ in range(2):
        with pytest.raises(UserError, match=r"gone\.tsv can't be read"):
            loaded.inputs_of(lost)
    (tmp_path / "gone.tsv").write_text("sentence\tlabel\na fine film\t1\n")
    assert [example.text for example in loaded.inputs_of(lost).task.examples] == ["a fine film It was"]
    assert loaded.inputs_of(PLAN).task == first.task


def test_plans_of_a_model_share_its_weights() -> None:
    loaded = Loaded()
    first = loaded.inputs_of(PLAN)
    assert loaded.inputs_of(PLAN) is first
    other = loaded.inputs_of(replace(PLAN, T=32))
    assert other.weights is first.weights
    assert other.data.tokens.shape[-1] == 32


def test_progress_is_reported_now_and_then_with_the_current_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("suite.preparing.export_process.time.monotonic", lambda: now[0])
    answers = io.StringIO()
    given: dict[str, Any] = {"model.norm.weight": 0, "model.layers.1.x": 1}
    tensors: Any = WatchedTensors(given, 2, Progress(answers, "tiny fp32"))
    assert dict(tensors) == given
    for now[0] in (14.0, 16.0, 30.0, 32.0):
        assert (tensors["model.norm.weight"], tensors["model.layers.1.x"]) == (0, 1)
    progress = [json.loads(line)["progress"] for line in answers.getvalue().splitlines()]
    assert progress == ["tiny fp32: layer 2 of 2 after 16 s", "tiny fp32: layer 2 of 2 after 32 s"]
