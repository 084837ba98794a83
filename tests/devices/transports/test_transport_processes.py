"""Processes through every transport: their output, their end, and that nothing stays behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from devices.errors import CommandError, FileError, OutputLimitError, TransportTimeout
from devices.processes import STDERR_TAIL_BYTES
from devices.transports.local.transport import LocalTransport
from devices.transports.transport import LINE_LIMIT_BYTES, RUN_OUTPUT_LIMIT_BYTES, Transport
from tests.support.devices.real_processes import is_running, kill_if_running, python, wait_until
from tests.support.devices.transport_kinds import MakeTransport

AWKWARD = ["two words", "it's", 'say "hi"', "a\nb", "$HOME", "*", "", "-n", "back\\slash", "日本", ";true"]
SLEEP = "import time; print('up', flush=True); time.sleep(600)"
SPAWN = """
import subprocess, sys
child = subprocess.Popen(["sleep", "600"], start_new_session=len(sys.argv) > 2)
open(sys.argv[1], "w").write(str(child.pid))
print("up", flush=True)
"""
IGNORE_TERM = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + SLEEP


class StopError(Exception):
    """Raised by a receiver of lines."""


@pytest.fixture
def transport(make_transport: MakeTransport) -> Transport:
    """One of each kind."""
    return make_transport(0.5)


def test_run_returns_exit_code_and_both_outputs(transport: Transport) -> None:
    script = "import sys; print('out'); print('err', file=sys.stderr); sys.exit(3)"
    result = transport.run(python(script), timeout_s=20)
    assert (result.end.rc, result.stdout, result.end.stderr_tail) == (3, "out\n", "err\n")


def test_arguments_arrive_unchanged_whatever_they_hold(transport: Transport) -> None:
    result = transport.run(python("import json, sys; print(json.dumps(sys.argv[1:]))", *AWKWARD), timeout_s=20)
    assert json.loads(result.stdout) == AWKWARD


def test_run_works_in_a_folder_with_an_awkward_name(transport: Transport, tmp_path: Path) -> None:
    folder = tmp_path / "a 'b'\n\"c\""
    folder.mkdir()
    result = transport.run(python("import os; print(os.getcwd())"), timeout_s=20, cwd=str(folder))
    assert result.stdout == f"{folder}\n"


def test_missing_command_is_named_with_its_cause(transport: Transport) -> None:
    with pytest.raises(CommandError, match=r"'no-such-program' can't be started because it doesn't exist \(ENOENT\)"):
        transport.run(["no-such-program"], timeout_s=20)


def test_program_of_another_architecture_is_a_command_error(transport: Transport, tmp_path: Path) -> None:
    program = tmp_path / "runner"
    program.write_bytes(b"\x7fELF nonsense")
    program.chmod(0o755)
    with pytest.raises(CommandError, match="ENOEXEC"):
        transport.run([str(program)], timeout_s=20)


def test_null_character_in_an_argument_is_a_command_error(transport: Transport) -> None:
    with pytest.raises(CommandError, match="null byte"):
        transport.run(["true", "a\0b"], timeout_s=20)


@pytest.mark.parametrize("argv", [[], "true"])
def test_a_command_that_is_not_a_list_is_refused(transport: Transport, argv: list[str]) -> None:
    with pytest.raises(ValueError, match="list of at least one argument"):
        transport.run(argv, timeout_s=20)


@pytest.mark.parametrize("timeout_s", [0, -1, float("inf"), float("nan")])
def test_a_call_without_a_deadline_is_refused(transport: Transport, timeout_s: float) -> None:
    with pytest.raises(ValueError, match="positive, finite"):
        transport.run(["true"], timeout_s=timeout_s)


def test_deadline_ends_the_whole_process_group(transport: Transport, tmp_path: Path) -> None:
    note = tmp_path / "pid"
    with pytest.raises(TransportTimeout, match="did not end within 3 s"):
        # A shell, as it has the number of its child written long before the deadline even on a busy host.
        transport.run(["sh", "-c", 'sleep 600 & echo $! >"$1"; wait', "sh", str(note)], timeout_s=3)
    wait_until(lambda: not is_running(int(note.read_text())))


def test_a_program_that_closed_its_output_still_has_its_deadline(transport: Transport) -> None:
    script = "import os, time; os.close(1); os.close(2); time.sleep(600)"
    with pytest.raises(TransportTimeout):
        transport.run(python(script), timeout_s=0.5)


@pytest.mark.slow
def test_output_beyond_the_limit_ends_the_program(transport: Transport) -> None:
    with pytest.raises(OutputLimitError, match=str(RUN_OUTPUT_LIMIT_BYTES)):
        transport.run(["yes"], timeout_s=60)


def test_lines_arrive_in_order_with_a_last_one_that_has_no_newline(transport: Transport) -> None:
    lines: list[str] = []
    script = r"import sys; sys.stdout.buffer.write(b'one\n\ntwo\xff\nthree')"
    ended = transport.stream(python(script), lines.append, timeout_s=20)
    assert lines == ["one", "", "two\ufffd", "three"]
    assert (ended.rc, ended.signal) == (0, None)


def test_lines_arrive_while_the_program_runs(transport: Transport, tmp_path: Path) -> None:
    """The program waits for something that the receiver of its first line does."""
    answer = tmp_path / "answer"
    script = """
import os, sys, time
print("ask", flush=True)
while not os.path.exists(sys.argv[1]):
    time.sleep(0.01)
print("got it")
"""
    lines: list[str] = []

    def on_line(line: str) -> None:
        lines.append(line)
        answer.touch()

    transport.stream(python(script, str(answer)), on_line, timeout_s=20)
    assert lines == ["ask", "got it"]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGTERM])
def test_a_signal_that_ended_the_program_is_named(transport: Transport, number: signal.Signals) -> None:
    ended = transport.stream(python(f"import os; os.kill(os.getpid(), {int(number)})"), print, timeout_s=20)
    assert (ended.rc, ended.signal) == (128 + number, number.name)


def test_kill_9_from_outside_is_reported_with_the_lines_before_it(transport: Transport, tmp_path: Path) -> None:
    pid_file = tmp_path / "runner.pid"
    lines: list[str] = []

    def kill(line: str) -> None:
        lines.append(line)
        os.kill(json.loads(pid_file.read_text())["pid"], signal.SIGKILL)

    ended = transport.stream(python(SLEEP), kill, timeout_s=20, pid_file=str(pid_file))
    assert (lines, ended.signal) == (["up"], "SIGKILL")


@pytest.mark.parametrize("error", [StopError, KeyboardInterrupt, SystemExit])
def test_an_exception_of_the_receiver_ends_the_program(
    transport: Transport, tmp_path: Path, error: type[BaseException]
) -> None:
    note, pid_file = tmp_path / "pid", tmp_path / "runner.pid"
    pids: list[int] = []

    def fail(_line: str) -> None:
        pids.extend([int(note.read_text()), json.loads(pid_file.read_text())["pid"]])
        raise error

    with pytest.raises(error):
        script = SPAWN + "import time; time.sleep(600)"
        transport.stream(python(script, str(note)), fail, timeout_s=20, pid_file=str(pid_file))
    assert len(pids) == 2
    wait_until(lambda: not any(is_running(pid) for pid in pids))
    assert not pid_file.exists()


def test_a_real_ctrl_c_ends_the_program(tmp_path: Path) -> None:
    note = tmp_path / "pid"
    script = (
        "import sys; from devices.transports.local.transport import LocalTransport\n"
        "LocalTransport(grace_s=.5).stream(sys.argv[2:], lambda line: print(line, flush=True), timeout_s=60)"
    )
    inner = python(SPAWN + "import time; time.sleep(600)", str(note))
    with subprocess.Popen([sys.executable, "-c", script, "-", *inner], stdout=subprocess.PIPE, text=True) as outer:
        assert outer.stdout is not None
        assert outer.stdout.readline() == "up\n"
        outer.send_signal(signal.SIGINT)
        assert outer.wait(timeout=60) != 0
    wait_until(lambda: not is_running(int(note.read_text())))


def test_a_program_that_ignores_sigterm_is_killed(transport: Transport, tmp_path: Path) -> None:
    pid_file = tmp_path / "runner.pid"
    pids: list[int] = []

    def fail(_line: str) -> None:
        pids.append(json.loads(pid_file.read_text())["pid"])
        raise StopError

    with pytest.raises(StopError):
        transport.stream(python(IGNORE_TERM), fail, timeout_s=20, pid_file=str(pid_file))
    assert not is_running(pids[0])


def test_a_program_may_still_print_after_sigterm(make_transport: MakeTransport, tmp_path: Path) -> None:
    """More than a pipe holds: if it were not read, the program would block and be killed before it makes its file."""
    script = """
import os, signal, sys, time
def last_words(*_):
    os.write(1, b"x" * 1000000)
    open(sys.argv[1], "w").close()
    sys.exit(0)
signal.signal(signal.SIGTERM, last_words)
print("up", flush=True)
while True:
    time.sleep(0.05)
"""
    done = tmp_path / "done"

    def fail(_line: str) -> None:
        raise StopError

    with pytest.raises(StopError):
        make_transport(20).stream(python(script, str(done)), fail, timeout_s=60)
    assert done.exists()


def test_a_child_left_in_the_group_neither_blocks_nor_survives(transport: Transport, tmp_path: Path) -> None:
    note = tmp_path / "pid"
    ended = transport.stream(python(SPAWN, str(note)), lambda _line: None, timeout_s=20)
    assert ended.rc == 0
    wait_until(lambda: not is_running(int(note.read_text())))


def test_a_daemon_that_holds_the_output_does_not_block(transport: Transport, tmp_path: Path) -> None:
    note = tmp_path / "pid"
    try:
        assert transport.stream(python(SPAWN, str(note), "own session"), lambda _line: None, timeout_s=20).rc == 0
    finally:
        kill_if_running(int(note.read_text()))


def test_only_the_end_of_the_error_output_is_kept(transport: Transport) -> None:
    script = "import sys; sys.stderr.write('x' * 1000000 + 'the end')"
    tail = transport.stream(python(script), print, timeout_s=20).stderr_tail
    assert len(tail) == STDERR_TAIL_BYTES
    assert tail.endswith("the end")


def test_an_endless_line_ends_the_program(transport: Transport) -> None:
    script = "while True: print('x' * 65536, end='')"
    with pytest.raises(OutputLimitError, match=f"line of over {LINE_LIMIT_BYTES} bytes"):
        transport.stream(python(script), lambda _line: None, timeout_s=60)


def test_a_flood_of_lines_ends_the_program(transport: Transport) -> None:
    with pytest.raises(OutputLimitError, match="more than 100000 bytes"):
        transport.stream(["yes"], lambda _line: None, timeout_s=60, output_limit_bytes=100_000)


def test_a_pid_file_that_cannot_be_written_ends_the_program(transport: Transport, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(FileError, match="something of another type"):
        transport.stream(python(SLEEP), print, timeout_s=20, pid_file=str(tmp_path / "file" / "runner.pid"))


ORCHESTRATOR = """
import sys
from devices.transports.local.transport import LocalTransport
LocalTransport().stream(sys.argv[2:], lambda line: print(line, flush=True), timeout_s=600, pid_file=sys.argv[1])
"""


def test_what_a_killed_orchestrator_left_running_is_ended(tmp_path: Path) -> None:
    transport = LocalTransport(grace_s=0.5)
    pid_file = tmp_path / "runner.pid"
    command = [sys.executable, "-c", ORCHESTRATOR, str(pid_file), *python(IGNORE_TERM)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as orchestrator:
        assert orchestrator.stdout is not None
        assert orchestrator.stdout.readline() == "up\n"
        orchestrator.kill()
    pid = json.loads(pid_file.read_text())["pid"]
    try:
        assert is_running(pid)
        assert transport.end_left_over(str(pid_file)) == pid
        assert not is_running(pid)
        assert not pid_file.exists()
    finally:
        kill_if_running(pid)


@pytest.mark.parametrize("change", [{"start_ticks": 1}, {"boot_id": "another"}, {"pid": 1}, {"pid": "1"}, {"pid": -1}])
def test_a_stranger_with_a_recycled_pid_is_left_alone(
    transport: Transport, tmp_path: Path, change: dict[str, object]
) -> None:
    pid_file = tmp_path / "runner.pid"
    survivor: list[bool] = []

    def recycle(_line: str) -> None:
        record = json.loads(pid_file.read_text())
        stale = tmp_path / "stale.pid"
        stale.write_text(json.dumps(record | change))
        assert transport.end_left_over(str(stale)) is None
        assert not stale.exists()
        survivor.append(is_running(record["pid"]))
        raise StopError

    with pytest.raises(StopError):
        transport.stream(python(SLEEP), recycle, timeout_s=20, pid_file=str(pid_file))
    assert survivor == [True]


@pytest.mark.parametrize("content", [b"", b"123", b"{}", b"[1]", b"\xff", b'{"pid": 99999999}'])
def test_a_damaged_pid_file_is_removed(transport: Transport, tmp_path: Path, content: bytes) -> None:
    pid_file = tmp_path / "runner.pid"
    pid_file.write_bytes(content)
    assert transport.end_left_over(str(pid_file)) is None
    assert not pid_file.exists()
