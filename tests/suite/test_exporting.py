"""The exporting process: its end is told with its cause and its log, and nothing of it stays."""

import subprocess
import sys
from pathlib import Path

import pytest

from suite.errors import SuiteError, UserError
from suite.exporting import exporter
from suite.plan import Plan

PLAN = Plan((), model="tiny", quants=("fp32",))


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


def test_a_killed_process_is_told_with_its_signal_and_log(tmp_path: Path, stand_in) -> None:
    stand_in("import os; os.kill(os.getpid(), 9)")
    log = tmp_path / "export.log"
    with (
        pytest.raises(
            SuiteError, match=rf"exports tiny fp32 was killed by SIGKILL, most often .* \(its log is {log}\)"
        ),
        exporter(PLAN, tmp_path, log) as process,
    ):
        process.export("fp32")


def test_an_error_nobody_can_mend_is_told_with_its_last_line_and_log(tmp_path: Path, stand_in) -> None:
    stand_in("import sys; sys.stdin.readline(); print('noise', file=sys.stderr); raise RuntimeError('no delegate')")
    log = tmp_path / "export.log"
    with (
        pytest.raises(SuiteError, match=rf"failed with exit code 1 \(RuntimeError: no delegate\): see the log {log}"),
        exporter(PLAN, tmp_path, log) as process,
    ):
        process.export("fp32")
    assert "Traceback" in log.read_text()


def test_what_the_user_can_mend_comes_as_it_is(tmp_path: Path, stand_in) -> None:
    stand_in('import sys; sys.stdin.readline(); print(\'{"user_error": "the disk is full: free space."}\')')
    with (
        pytest.raises(UserError, match=r"^the disk is full: free space\.$"),
        exporter(PLAN, tmp_path, tmp_path / "export.log") as process,
    ):
        process.export("fp32")


def test_an_interruption_ends_the_process(tmp_path: Path, stand_in) -> None:
    started = stand_in(
        "import sys, time\nfor line in sys.stdin: print('{\"losses\": [[1.5]]}', flush=True)\ntime.sleep(600)"
    )
    with pytest.raises(KeyboardInterrupt), exporter(PLAN, tmp_path, tmp_path / "export.log") as process:
        assert process.export("fp32") == ((1.5,),)
        raise KeyboardInterrupt
    assert started[0].returncode == -9


def test_nothing_is_started_when_nothing_is_to_export(tmp_path: Path, stand_in) -> None:
    started = stand_in("")
    with exporter(PLAN, tmp_path, tmp_path / "export.log"):
        pass
    assert started == []
    assert list(tmp_path.iterdir()) == []


def test_a_log_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "artifacts").touch()
    with (
        pytest.raises(UserError, match=r"the log of exports cannot be written .* SUITE_HOME"),
        exporter(PLAN, tmp_path, tmp_path / "artifacts" / "export.log") as process,
    ):
        process.export("fp32")
