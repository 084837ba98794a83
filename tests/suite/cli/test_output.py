"""Text of others on a terminal and in a pipe: nothing in it acts on the terminal, and none of it is markup."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from collections.abc import Callable

import pytest

from suite.cli.main import run_command
from suite.cli.output import TextTable, print_line, print_plain, print_table
from suite.display import Display

HOSTILE = "\x1b]0;title\x07\x1b[2J[red]pi\x9b31m\u202e"
DISPLAYED = "\ufffd]0;title\ufffd\ufffd[2J[red]pi\ufffd31m\ufffd"
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


def on_terminal(way: Callable[[], object], monkeypatch: pytest.MonkeyPatch, columns: int = 200) -> str:
    """Returns what comes to a terminal that is both outputs."""
    reader, writer = pty.openpty()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", str(columns))
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
    assert DISPLAYED in written or QUOTED in written
    for sequence in ("\x1b]", "\x1b[2J", "\x07", "\x9b", "\u202e"):
        assert sequence not in written


@pytest.mark.parametrize("way", WAYS)
def test_nor_a_pipe(way: str, capsys: pytest.CaptureFixture[str]) -> None:
    WAYS[way]()
    captured = capsys.readouterr()
    written = captured.out + captured.err
    assert DISPLAYED in written or QUOTED in written
    assert "\x1b" not in written


PATH = "/home/bench/lab/.suite/artifacts/0123456789abcdef0123456789abcdef/program.pte"


def wide(*cells: str) -> None:
    made = TextTable(pads=True)
    for name in ("", "name", "size", "why it has to go"):
        made.add_column(name, overflow="fold")
    made.add_texts(cells)
    print_table(made)


@pytest.mark.parametrize("columns", [30, 44, 60, 80, 200])
@pytest.mark.parametrize("name", ["smollm2-135m", PATH])
def test_a_narrow_table_breaks_no_word(name: str, columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    sentence = "it was used 31 days ago, and is no baseline of any series"
    written = on_terminal(lambda: wide("v", name, "4.20 MB", sentence), monkeypatch, columns)
    plain = re.sub(r"\x1b\[[0-9;]*m", "", written)
    assert set(f"v {name} 4.20 MB {sentence}".split()) <= set(plain.split())
    assert [line for line in plain.splitlines() if len(line.rstrip()) > columns and name not in line] == []


def test_a_long_path_stays_whole_in_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    assert PATH in on_terminal(lambda: print_line(f"the adapter of step 12 is in {PATH}"), monkeypatch, 40)


@pytest.mark.parametrize(
    ("encoding", "expected"),
    [("ascii", "5 us +- 2 x 3 v degC -> naive ?"), ("utf-8", "5 µs ± 2 \u00d7 3 ✓ °C → naïve 手")],
)
def test_an_output_that_lacks_a_character_gets_letters(encoding: str, expected: str) -> None:
    script = (
        "from suite.cli.streams import prepare_streams; prepare_streams()\n"
        "import sys; text = '5 µs ± 2 \u00d7 3 ✓ °C → naïve 手'\n"
        "print(text); print(text, file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONIOENCODING": encoding},
        capture_output=True,
        encoding="utf-8",
        check=True,
    )
    assert (done.stdout, done.stderr) == (f"{expected}\n", f"{expected}\n")
