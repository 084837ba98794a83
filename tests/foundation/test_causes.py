"""The line of a failing program's output that says why it failed."""

from __future__ import annotations

import subprocess
import sys

import pytest

from foundation.causes import cause_line


@pytest.mark.parametrize(
    ("output", "cause"),
    [
        (
            "Can't open device file: /dev/vcio\nTry creating a device file with: sudo mknod /dev/vcio c 100 0\n",
            "Can't open device file: /dev/vcio",
        ),
        ("first\nno such file\n\n", "no such file"),
        (
            "usage: meter [-h] port\nmeter: error: the following arguments are required: port\n",
            "meter: error: the following arguments are required: port",
        ),
        (
            "Warning: Permanently added 'pi' to the list of known hosts.\npi@pi: Permission denied (publickey).\n",
            "pi@pi: Permission denied (publickey).",
        ),
        (
            "x.cpp: In function 'int main()':\nx.cpp:1:14: warning: unused variable\n"
            "x.cpp:2:3: error: 'f' was not declared\ncompilation terminated.\n",
            "x.cpp:2:3: error: 'f' was not declared",
        ),
        (
            "terminate called after throwing an instance of 'std::runtime_error'\n  what():  no rail 3\nAborted\n",
            "no rail 3",
        ),
        (
            "thread 'main' panicked at src/main.rs:4:5:\nindex out of bounds: the len is 3\n"
            "note: run with `RUST_BACKTRACE=1`",
            "index out of bounds: the len is 3",
        ),
        (
            'Exception in thread "main" java.lang.RuntimeException: x\n\tat Main.main(Main.java:3)\n'
            "Caused by: java.io.IOException: port closed\n\t... 1 more\n",
            "java.io.IOException: port closed",
        ),
        (
            "Failed to connect to bus: No medium found\nSee system logs for details.\n",
            "Failed to connect to bus: No medium found",
        ),
        (
            "ERROR: No matching distribution found for x\n[notice] A new release of pip is available\n",
            "ERROR: No matching distribution found for x",
        ),
        ("opening port\nport is busy\nSee the manual\n", "port is busy"),
        ("reading 1\nreading 2\n", "reading 2"),
        ("Try again later\n", "Try again later"),
    ],
)
def test_the_line_that_names_the_cause_is_chosen(output: str, cause: str) -> None:
    assert cause_line(output) == f": {cause}"


@pytest.mark.parametrize(
    ("program", "cause"),
    [
        ("raise ValueError('the rail\\nis not there')", "ValueError: the rail"),
        ("try:\n  {}['a']\nexcept KeyError:\n  open('/nowhere/x')", "FileNotFoundError: [Errno 2]"),
        (
            "import warnings; warnings.warn('x failed'); raise SystemExit('meter: the port is closed')",
            "meter: the port",
        ),
    ],
)
def test_the_exception_of_a_python_program_is_chosen(program: str, cause: str) -> None:
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60)
    assert ended.returncode == 1
    assert cause_line(ended.stderr).startswith(f": {cause}")


def test_the_output_counts_where_the_error_output_names_no_cause() -> None:
    assert cause_line("reading\n", "could not open /dev/x\nTry sudo\n") == ": could not open /dev/x"
    assert cause_line("reading\n", "done\n") == ": reading"
    assert cause_line("", " \n") == ""


def test_a_long_cause_is_cut_and_made_printable() -> None:
    assert cause_line("error \x1b[31m" + "x" * 300, limit=20) == ": error \N{REPLACEMENT CHARACTER}[31mxxxxxxxx…"
