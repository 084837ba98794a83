"""Text of others on a terminal and in a pipe: nothing in it acts on the terminal, and none of it is markup."""

from __future__ import annotations

import os
import pty
import sys
from collections.abc import Callable

import pytest

from suite.cli.main import run_command
from suite.cli.output import TextTable, print_line, print_plain, print_table
from suite.display import Display

HOSTILE = "\x1b]0;title\x07\x1b[2J[red]pi\x9b31m\u202e"
SHOWN = "\ufffd]0;title\ufffd\ufffd[2J[red]pi\ufffd31m\ufffd"
QUOTED = repr(HOSTILE)[1:-1]


def table() -> None:
    made = TextTable()
    made.add_column("device")
    made.add_texts([HOSTILE])
    print_table(made)


def busy() -> None:
    with Display().busy(HOSTILE):
        pass


WAYS: dict[str, Callable[[], object]] = {
    "a cell": table,
    "a line": lambda: print_line(HOSTILE),
    "plain text": lambda: print_plain(HOSTILE),
    "a note": lambda: Display().note(HOSTILE),
    "progress": busy,
    "an error": lambda: run_command(["run", "--device", HOSTILE]),
    "an option": lambda: run_command(["run", f"--{HOSTILE}"]),
    "a command": lambda: run_command([HOSTILE]),
}


def on_terminal(way: Callable[[], object], monkeypatch: pytest.MonkeyPatch) -> str:
    """Returns what comes to a terminal that is both outputs."""
    reader, writer = pty.openpty()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "200")
    with os.fdopen(writer, "w", encoding="utf-8") as stream, monkeypatch.context() as patched:
        for name in ("stdout", "stderr"):
            patched.setattr(sys, name, stream)
        way()
        print("end", file=stream, flush=True)
        found = b""
        while b"end" not in found:
            found += os.read(reader, 1 << 16)
    os.close(reader)
    return found.decode()


@pytest.mark.parametrize("way", WAYS)
def test_escape_sequences_of_others_do_not_reach_a_terminal(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    written = on_terminal(WAYS[way], monkeypatch)
    assert SHOWN in written or QUOTED in written
    for sequence in ("\x1b]", "\x1b[2J", "\x07", "\x9b", "\u202e"):
        assert sequence not in written


@pytest.mark.parametrize("way", WAYS)
def test_nor_a_pipe(way: str, capsys: pytest.CaptureFixture[str]) -> None:
    WAYS[way]()
    captured = capsys.readouterr()
    written = captured.out + captured.err
    assert SHOWN in written or QUOTED in written
    assert "\x1b" not in written
