"""Kill -9, Ctrl-C and two at once: what was measured is kept, nothing is left running, the next run works."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.support.end_to_end.suite_runs import (
    OTHER_SEED,
    RUN,
    Bench,
    by_setting,
    is_running,
    kill,
    wait_for,
    wait_for_end,
    wait_for_line,
)

# Long enough that a session is under way when the test acts, short enough to wait for.
LONG = (*RUN, "--quant", "fp32,nf4", "--sessions", "2", "--steps", "400")


@contextmanager
def started(bench: Bench, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A run in a process of its own, which ends with the block."""
    with bench.start(*arguments) as process:
        try:
            yield process
        finally:
            process.kill()


def wait_for_second_session(bench: Bench, process: subprocess.Popen[str]) -> int:
    """Waits until the first session is stored and the second's runner is running; returns its pid."""
    wait_for_line(process.stderr, "session 1/2")
    return int(wait_for(bench.runner_pid, "a second runner"))


def test_a_killed_runner_fails_its_session_alone(bench: Bench) -> None:
    with started(bench, *LONG, "--json") as process:
        kill(wait_for_second_session(bench, process))
        out, err = wait_for_end(process)
    assert process.returncode == 4, err
    assert [session[:2] + session[3:] for session in bench.sessions()] == [
        ("fp32", 0, "ok"),
        ("nf4", 0, "failed"),
        ("nf4", 1, "ok"),
        ("fp32", 1, "ok"),
    ]
    assert '"partial"' in out
    assert "SIGKILL" in out
    assert bench(*RUN, "--quick").code == 0


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_an_interrupted_run_is_resumed_and_keeps_what_it_had(bench: Bench, how: signal.Signals) -> None:
    with started(bench, *LONG, "--seed", str(OTHER_SEED)) as process:
        runner = wait_for_second_session(bench, process)
        process.send_signal(how)
        _, err = wait_for_end(process)
    if how is signal.SIGKILL:
        assert bench.runs()[0][1] == "running"
    else:
        assert process.returncode == 130
        assert err.splitlines()[-1].startswith("suite: interrupted; what was measured is stored")
        assert not is_running(runner)
        assert bench.runs()[0][1] == "interrupted"
    kept = bench.rows("SELECT id, committed_at FROM session")
    assert len(kept) == 1

    resumed = bench("run", "--resume", "--json")
    # Medians of such short sessions may vary: that is no failure.
    assert resumed.code == 0, resumed.err
    assert not is_running(runner)
    assert resumed.document["run_id"] == bench.runs()[0][0]
    assert kept[0] in bench.rows("SELECT id, committed_at FROM session")
    assert [(setting, ordinal) for setting, ordinal, _, status in bench.sessions() if status == "ok"] == [
        ("fp32", 0),
        ("nf4", 0),
        ("nf4", 1),
        ("fp32", 1),
    ]
    assert by_setting(resumed.document)["nf4"]["loss"]["reference_steps"] == 3  # or it would be invalid
    stored = "SELECT json_extract(plan, '$.plans[0].seed'), json_extract(plan, '$.plans[0].steps') FROM run"
    assert bench.rows(stored) == [(OTHER_SEED, 400)]
    assert bench.runs()[0][1] == "finished"
    assert "no interrupted run" in bench("run", "--resume").sentence


def test_a_run_that_is_asked_to_stop_ends_like_an_interrupted_one(bench: Bench) -> None:
    with started(bench, *LONG) as process:
        runner = wait_for_second_session(bench, process)
        process.terminate()
        wait_for_end(process)
    assert process.returncode == 130
    assert not is_running(runner)
    assert bench.runs()[0][1] == "interrupted"


def test_a_device_in_use_is_reported_with_its_holder_and_the_first_run_goes_on(bench: Bench) -> None:
    with started(bench, *LONG, "--steps", "1000") as process:  # it outlasts two commands
        wait_for_second_session(bench, process)
        second = bench(*RUN, "--quick", "--quant", "fp32", "--json")
        assert "is in progress in another process" in bench("run", "--resume").err
        _, err = wait_for_end(process)
    assert second.code == 4
    (item,) = second.document["measurements"]
    assert item["status"] == "failed"
    assert f"in use by process {process.pid}" in item["reason"]
    assert process.returncode == 0, err
    assert bench.runs()[0][1] == "finished"


def test_an_export_that_is_interrupted_leaves_no_process_and_the_next_run_works(bench: Bench) -> None:
    for program in (bench.home / "artifacts").glob("*/program.pte"):
        program.unlink()
    with started(bench, *RUN, "--quick", "--quant", "fp32") as process:
        wait_for_line(process.stderr, "exporting tiny fp32 (1 of 1)")
        children = [int(pid) for pid in wait_for(lambda: _children(process.pid), "the exporting process")]
        process.send_signal(signal.SIGINT)
        wait_for_end(process)
    assert process.returncode == 130
    wait_for(lambda: not any(is_running(pid) for pid in children), "the end of the exporting process")


def _children(pid: int) -> list[str]:
    with open(f"/proc/{pid}/task/{pid}/children") as file:  # noqa: PTH123 - a pseudo file
        return file.read().split()
