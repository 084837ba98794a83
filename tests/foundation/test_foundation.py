"""What all packages stand on: messages that a terminal can't misread, names that were meant, files that are whole."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from foundation import host_tools
from foundation.atomic import replacing_text, write_atomic
from foundation.errors import listed, unknown_name
from foundation.host_tools import PipError, download_wheel
from foundation.text import did_you_mean, last_line, nearest_names, printable


def test_text_from_outside_is_one_line_without_control_characters() -> None:
    assert printable(" a\x1b[2J\nb\ud800 ") == "a\N{REPLACEMENT CHARACTER}[2J b\N{REPLACEMENT CHARACTER}"
    assert printable("x" * 10, 5) == "xxxx…"


def test_names_are_near_whatever_their_case() -> None:
    assert nearest_names("PHNOE", ["phone", "pi"]) == ("phone",)
    assert did_you_mean("thread", ["threads", "cpus"], count=1, quote="`") == "did you mean `threads`?"
    assert did_you_mean("zzz", ["threads"]) == ""


def test_an_unknown_name_without_a_near_one_lists_the_first_of_all() -> None:
    names = [f"d{number:02}" for number in range(14)]
    assert listed(names) == f"{', '.join(names[:12])} and 2 more"
    assert str(unknown_name("device", "zzz", names)).endswith("d11 and 2 more.")
    assert str(unknown_name("device", "zzz", [])).endswith("there are none yet.")


def test_the_last_line_of_a_program_ends_a_message() -> None:
    assert last_line("first\nno such file\n\n") == ": no such file"
    assert last_line("\n") == ""


def test_a_text_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    with replacing_text(path, errors="backslashreplace") as file:
        file.write("a\ud800\n")
    assert path.read_bytes() == b"a\\ud800\n"
    with pytest.raises(KeyError), replacing_text(path) as file:
        file.write("half")
        raise KeyError
    assert path.read_bytes() == b"a\\ud800\n"
    assert [item.name for item in tmp_path.iterdir()] == ["a.txt"]


def test_a_wheel_that_pip_cannot_fetch_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(PipError, match=r"pip could not download nothing==1 \(no message\)"):
        download_wheel("nothing==1", tmp_path)


def test_a_pip_that_does_not_end_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "python"
    program.write_text("#!/bin/sh\nexec sleep 60\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    monkeypatch.setattr(host_tools, "_TIMEOUT_S", 0.2)
    with pytest.raises(PipError, match=r"pip did not download nothing==1 within 0.2 s"):
        download_wheel("nothing==1", tmp_path)


def test_what_is_not_a_file_is_never_replaced_by_one(tmp_path: Path) -> None:
    """As root, the name of a device would become that of a file."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(OSError, match="not a regular file"):
        write_atomic(pipe, b"text")
    with pytest.raises(IsADirectoryError):
        write_atomic(tmp_path, b"text")
    assert [path.name for path in tmp_path.iterdir()] == ["pipe"]
    assert pipe.is_fifo()
