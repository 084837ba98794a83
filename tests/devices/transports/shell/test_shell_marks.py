"""Marks in the output of a device: found however the bytes are cut, and never mistaken."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from devices.errors import FileCause
from devices.processes import ProcessEnd
from devices.transports.shell.calls import file_error, missing_tool
from devices.transports.shell.conversation import MarkedStream

TOKEN = "0123456789abcdef" * 2
BEGIN, END = f"\x1e{TOKEN} B 7\n".encode(), f"\x1e{TOKEN} E 3\n".encode()


@settings(deadline=None)
@given(st.binary(max_size=60), st.lists(st.integers(1, 50), max_size=30))
def test_output_is_what_is_between_the_marks_however_it_is_cut(content: bytes, cuts: list[int]) -> None:
    content = content.replace(b"0", b"\x1e0")  # beginnings of marks
    stream = b"welcome\x1e" + BEGIN + content + END + b"noise"
    output = bytearray()
    marks: list[tuple[str, str]] = []
    parser = MarkedStream(TOKEN, output.extend, lambda *mark: marks.append(mark))
    for cut in (*cuts, len(stream)):
        parser.feed(stream[:cut])
        stream = stream[cut:]
    assert bytes(output) == content
    assert marks == [("B", "7"), ("E", "3")]
    assert parser.ended


def test_a_line_is_passed_on_even_if_no_mark_follows() -> None:
    output = bytearray()
    parser = MarkedStream(TOKEN, output.extend)
    parser.feed(BEGIN + b"one\n\x1e0123")
    assert bytes(output) == b"one\n"
    parser.feed(b"x")
    assert bytes(output) == b"one\n\x1e0123x"


@pytest.mark.parametrize(
    ("message", "cause"),
    [
        ("rm: cannot remove 'a': Permission denied", FileCause.DENIED),
        ("dd: error writing '/dev/full': No space left on device\n0+1 records in\n", FileCause.FULL),
        ("dd: writing 'x': File too large", FileCause.FULL),
        ("mkdir: can't create directory 'x': Read-only file system", FileCause.READ_ONLY),
        ("sh: 3: cannot create x/y: Directory nonexistent", FileCause.MISSING),
        ("head: x: No such file or directory", FileCause.MISSING),
        ("Is a directory", FileCause.OBSTRUCTED),
        ("something else", FileCause.OTHER),
        ("", FileCause.OTHER),
    ],
)
def test_messages_of_tools_become_causes(message: str, cause: FileCause) -> None:
    assert file_error("read", "x", message).cause is cause


@pytest.mark.parametrize(
    "message", ["sh: 12: stat: not found", "sh: line 4: stat: command not found", "sh: stat: inaccessible or not found"]
)
def test_a_missing_tool_is_recognised_in_the_message_of_each_shell(message: str) -> None:
    assert "no 'stat'" in str(missing_tool(ProcessEnd(127, stderr_tail=message)))
    assert missing_tool(ProcessEnd(1, stderr_tail=message)) is None
