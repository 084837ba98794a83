"""Packets of adb's shell protocol, however the connection cuts them."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from devices.transports.adb.link import CLOSE_STDIN, EXIT, STDERR, STDIN, STDOUT, Unpacker, packet

# As recorded from adbd 34 for `echo out; echo err >&2; exit 3`.
RECORDED = b"\x01\x04\x00\x00\x00out\n\x02\x04\x00\x00\x00err\n\x03\x01\x00\x00\x00\x03"


def unpacked(chunks: list[bytes]) -> tuple[bytes, bytes, bool]:
    unpacker = Unpacker()
    received = [unpacker.feed(chunk) for chunk in chunks]
    return b"".join(one.out for one in received), b"".join(one.err for one in received), unpacker.exited


@pytest.mark.parametrize("size", [1, 2, 5, 6, 100])
def test_both_outputs_are_separated_however_the_bytes_are_split(size: int) -> None:
    chunks = [RECORDED[at : at + size] for at in range(0, len(RECORDED), size)]
    assert unpacked(chunks) == (b"out\n", b"err\n", True)


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from([STDOUT, STDERR]), st.binary(max_size=40))), st.integers(1, 50))
def test_any_stream_comes_back_whole(packets: list[tuple[int, bytes]], size: int) -> None:
    data = b"".join(packet(stream, content) for stream, content in packets)
    expected = [b"".join(content for stream, content in packets if stream == one) for one in (STDOUT, STDERR)]
    assert unpacked([data[at : at + size] for at in range(0, len(data), size)]) == (*expected, False)


def test_other_packets_are_not_output_and_only_an_exit_ends_the_shell() -> None:
    assert unpacked([packet(77, b"news") + packet(STDOUT) + packet(STDERR, b"e")]) == (b"", b"e", False)
    assert unpacked([packet(EXIT, b"\0")[:4]]) == (b"", b"", False)


def test_packets_follow_the_protocol() -> None:
    assert packet(STDIN, b"ab") == b"\x00\x02\x00\x00\x00ab"
    assert packet(CLOSE_STDIN) == b"\x04\x00\x00\x00\x00"
