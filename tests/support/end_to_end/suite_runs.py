"""Runs the command line in its own suite home, and inspects the results."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from suite.cli.main import run_command

SHAPE = ("--model", "tiny", "-T", "32", "-b", "2", "-q", "2")
RUN = ("run", "--device", "local", *SHAPE)
OTHER_SEED = 11
"""A seed other than the default whose reference losses are known for fp32 and nf4."""

SETTINGS = ("fp32", "fp16", "int8", "nf4")
INVENTORY = "devices:\n  local:\n    kind: local\n"


@dataclass(frozen=True)
class Ran:
    """The result of one command."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """Standard output as JSON."""
        return json.loads(self.out)

    @property
    def sentence(self) -> str:
        """The only line on standard error of a refused command."""
        (line,) = self.err.splitlines()
        assert "Traceback" not in line
        return line


@dataclass(frozen=True)
class Bench:
    """A folder with an inventory and a home, and the command line in it."""

    folder: Path
    capture: pytest.CaptureFixture[str]

    @property
    def home(self) -> Path:
        return self.folder / "home"

    @property
    def workdir(self) -> Path:
        """The folder of the device `local`."""
        return self.home / "device" / "local"

    def __call__(self, *arguments: str) -> Ran:
        """Runs a command in this process."""
        self.capture.readouterr()
        code = run_command(arguments)
        output = self.capture.readouterr()
        return Ran(code, output.out, output.err)

    def start(self, *arguments: str, **options: Any) -> subprocess.Popen[str]:
        """Runs a command in its own process."""
        script = "from suite.cli.main import main; main()"
        environ = {**os.environ, "SUITE_HOME": str(self.home), "COLUMNS": "200", "PYTHONFAULTHANDLER": "1"}
        return subprocess.Popen(
            [sys.executable, "-c", script, *arguments],
            cwd=self.folder,
            env=environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **options,
        )

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """Runs a query on the store."""
        connection = sqlite3.connect(self.home / "store.sqlite")
        try:
            return connection.execute(query).fetchall()
        finally:
            connection.close()

    def change(self, statement: str) -> None:
        """Changes the store behind the suite's back."""
        connection = sqlite3.connect(self.home / "store.sqlite")
        with connection:
            connection.execute(statement)
        connection.close()

    def sessions(self) -> list[tuple[str, int, int, str]]:
        """(setting, ordinal, attempt, status) in the order in which they were committed."""
        return self.rows(
            "SELECT json_extract(m.workload, '$.quant'), s.ordinal, s.attempt, s.status "
            "FROM session s JOIN measurement m ON m.id = s.measurement_id ORDER BY s.committed_at, s.rowid"
        )

    def runs(self) -> list[tuple[str, str]]:
        """(id, status), oldest first."""
        return self.rows("SELECT id, status FROM run ORDER BY id")

    def runner_pid(self) -> int | None:
        """Returns the running runner."""
        return next(iter(self.runner_pids()), None)

    def runner_pids(self) -> list[int]:
        """Returns the running runners of all devices."""
        pids = []
        for path in self.workdir.parent.glob("*/runner.pid"):
            with contextlib.suppress(OSError, ValueError, KeyError):
                pids.append(int(json.loads(path.read_text())["pid"]))
        return pids


def wait_for_end(process: subprocess.Popen[str], timeout_s: float = 300.0) -> tuple[str, str]:
    """Returns output and error output of a command that ends; one that hangs fails with the stacks of its threads."""
    try:
        return process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGABRT)
        _, err = process.communicate(timeout=60)
        pytest.fail(f"the command did not end within {timeout_s:.0f} s:\n{err}")


def wait_for(condition: Callable[[], Any], what: str) -> Any:
    """Polls for up to a minute, then fails the test."""
    end = time.monotonic() + 60
    while not (found := condition()):
        assert time.monotonic() < end, f"{what} did not come true within a minute"
        time.sleep(0.01)
    return found


def wait_for_line(stream: Any, text: str) -> str:
    """Reads lines until one contains `text`."""
    for line in stream:
        if text in line:
            return str(line)
    raise AssertionError(f"the output ended without {text!r}")


def is_running(pid: int) -> bool:
    """Returns whether a process is running; a zombie isn't."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def kill(pid: int) -> None:
    """Sends SIGKILL."""
    os.kill(pid, signal.SIGKILL)


def by_setting(document: Any) -> dict[str, dict[str, Any]]:
    """The measurements of a `--json` document by their setting."""
    return {item["workload"]["quant"]: item for item in document["measurements"]}
