"""Where the output goes and how a command ends: full disks, old encodings, Ctrl-C while it loads."""

from __future__ import annotations

import builtins
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import suite.__main__
from suite.errors import ExitCode
from tests.support.end_to_end.suite_runs import RUN, SHAPE, Bench


def test_output_that_cannot_be_written_is_reported_without_a_traceback(empty_bench: Bench) -> None:
    with Path("/dev/full").open("w") as full:
        ended = subprocess.run(
            [sys.executable, "-m", "suite", *RUN, "--dry-run"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert ended.returncode == 1
    (line,) = ended.stderr.splitlines()
    assert line.startswith("suite: the output can't be read or written (No space left on device, error 28)")


def test_a_reader_that_closes_the_pipe_causes_no_error_message(empty_bench: Bench) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as pipe:
        ended = subprocess.run(
            [sys.executable, "-m", "suite", *RUN, "--dry-run"],
            stdout=pipe,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert ended.stderr == ""


def test_the_table_is_printed_in_an_encoding_that_lacks_its_characters(bench: Bench) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "suite", *RUN, "--quick", "--quant", "nf4"],
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        capture_output=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert b" ok" in ended.stdout
    assert b"Traceback" not in ended.stderr


@pytest.fixture
def unread() -> Iterator[int]:
    """A pipe whose reader has gone."""
    reading, writing = os.pipe()
    os.close(reading)
    yield writing
    os.close(writing)


def test_a_run_whose_progress_nobody_reads_continues_to_the_end(bench: Bench, unread: int) -> None:
    command = [sys.executable, "-m", "suite", *RUN, "--quick", "--quant", "nf4"]
    ended = subprocess.run(command, stdout=subprocess.PIPE, stderr=unread, check=False)
    assert ended.returncode == 0
    assert b"nf4" in ended.stdout
    assert [status for _, status in bench.runs()] == ["finished"]


@pytest.mark.parametrize(
    ("output", "why"), [("unread", "Broken pipe, error 32"), ("full", "No space left on device, error 28")]
)
def test_a_run_whose_results_nobody_reads_says_where_they_are(bench: Bench, unread: int, output: str, why: str) -> None:
    command = [sys.executable, "-m", "suite", *RUN, "--quick", "--quant", "nf4"]
    with Path("/dev/full").open("w") as full:
        stdout = full if output == "full" else unread
        ended = subprocess.run(command, stdout=stdout, stderr=subprocess.PIPE, text=True, check=False)
    assert ended.returncode == 1
    assert ended.stderr.splitlines()[-1] == (
        f"suite: the output can't be written ({why}); what was measured is stored, see `suite history`"
    )
    assert [status for _, status in bench.runs()] == ["finished"]


@pytest.mark.parametrize("closed", ["2>&-", "<&- 2>&-", "<&- >&- 2>&-"])
def test_closed_standard_streams_are_not_reused_for_files(empty_bench: Bench, closed: str) -> None:
    script = (
        "import os; from suite.cli.streams import prepare_streams; prepare_streams(); "
        "file = open('opened', 'w'); assert file.fileno() > 2; os.write(2, b'news'); print('news')"
    )
    words = ["sh", "-c", f'exec "$@" {closed}', "sh", sys.executable, "-c", script]
    ended = subprocess.run(words, cwd=empty_bench.folder, check=False)
    assert ended.returncode == 0
    assert (empty_bench.folder / "opened").read_text() == ""


@pytest.mark.parametrize("name", ["/dev/full", "/dev/null"])
def test_an_error_that_cannot_be_printed_keeps_its_exit_code(empty_bench: Bench, name: str) -> None:
    with Path(name).open("w") as stream:
        ended = subprocess.run(
            [sys.executable, "-m", "suite", "run", "--resume", "--quick"], stderr=stream, check=False
        )
    assert ended.returncode == 2


def test_ctrl_c_while_the_commands_load_leaves_no_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def interrupted(name: str, *others: Any, **more: Any) -> Any:
        if name == "suite.cli.main":
            raise KeyboardInterrupt
        return real(name, *others, **more)

    monkeypatch.setattr(builtins, "__import__", interrupted)
    with pytest.raises(SystemExit) as ended:
        suite.__main__.main()
    assert ended.value.code == ExitCode.INTERRUPTED


def test_an_interrupted_export_promises_nothing_to_resume(empty_bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_arguments: object, **_options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("suite.cli.measure.export.prepare", interrupt)
    ran = empty_bench("export", *SHAPE)
    assert (ran.code, ran.err.splitlines()[-1]) == (ExitCode.INTERRUPTED, "suite: interrupted")
