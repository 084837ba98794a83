"""Files that somebody else wrote: regular ones, and no more of them than the limit."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path

import pytest
from ruamel.yaml.composer import Composer

from foundation import yaml_lines
from foundation.errors import UserError
from foundation.foreign_files import open_regular, parse_json, read_regular
from foundation.text import nearest_names, printable
from foundation.yaml_lines import parse_yaml, read_yaml


def test_only_a_regular_file_is_opened_and_nothing_is_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
        kinds = {tmp_path / "pipe": "a pipe", tmp_path / "link": "a pipe", tmp_path / "socket": "a socket"}
        for path, kind in {**kinds, tmp_path: "a folder", Path("/dev/zero"): "a device"}.items():
            with pytest.raises(UserError, match=f"is {kind}, and a plan must be a file"):
                read_regular(path, what="a plan", limit_bytes=10)


def test_a_missing_file_stays_what_the_system_says_of_it(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_regular(tmp_path / "none", what="a plan", limit_bytes=10)


def test_a_file_is_read_up_to_its_limit_whatever_its_size_claims(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * 10)
    assert read_regular(path, what="a plan", limit_bytes=10) == b"x" * 10
    with pytest.raises(UserError, match="has 10 bytes, and 9 is the limit for a plan: check the path"):
        read_regular(path, what="a plan", limit_bytes=9)
    assert Path("/proc/self/status").stat().st_size == 0
    with pytest.raises(UserError, match="has more bytes than its stated size, and 9 is the limit"):
        read_regular(Path("/proc/self/status"), what="a plan", limit_bytes=9)


def test_a_sparse_file_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "sparse"
    path.touch()
    os.truncate(path, 1 << 40)
    with pytest.raises(UserError, match="has 1099511627776 bytes"), open_regular(path, what="a plan", limit_bytes=10):
        pass


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[" * 100_000, "recursion limit exceeded|more than"),
        ("[" * 70 + "]" * 70, "nested more than 64 levels deep"),
        ('{"a":' * 70 + "1" + "}" * 70, "nested more than 64 levels deep"),
        ("[" + "0," * 1_000_001 + "0]", "more than 1000000 values"),
        ("1" * 400, "a number in it has 400 digits"),
        (f"[[0, -{2**64}]]", "a number in it has 20 digits"),
        ("1" * 100_000, "number out of range"),
        ('{"a": [1, 2.5, 1e999, "x"]}', "a number in it is too large"),
        ("[NaN]", "expected value"),
        (json.dumps({f"k{index}": 0 for index in range(10_001)}), "10001 keys, more than 10000"),
        ("", "EOF"),
        ('"\\ud800"', "hex escape"),
    ],
)
def test_json_is_bounded(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        parse_json(text.encode())


def test_json_within_the_limits_is_what_it_is() -> None:
    document: object = {"a": [1, -(2**63), 2**63, 0.1, 1e300, True, None, "x", [], {}], "b": {"c": [[{"d": "ä"}]]}}
    assert parse_json(json.dumps(document).encode()) == document
    assert parse_json(b"[Infinity, 1]", finite=False) == [float("inf"), 1]


@pytest.mark.parametrize(
    "text",
    [
        "[" + "a, " * 30_000 + "a]",
        "".join(f"k{index}: 1\n" for index in range(11_000)),
        "- a\n" * 30_000,
        "[" + "[], " * 30_000 + "a]",
    ],
)
def test_keys_and_values_of_yaml_are_counted_while_they_are_read(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    read: list[object] = []
    compose = Composer.compose_node
    monkeypatch.setattr(Composer, "compose_node", lambda *given: (read.append(given[1]), compose(*given))[1])
    monkeypatch.setattr(yaml_lines, "MOST_VALUES", 500)
    with pytest.raises(UserError, match=r"more than 500 keys and values"):
        parse_yaml(Path("file.yaml"), text.encode(), what="plan file")
    assert len(read) == 500


def test_yaml_from_a_device_or_without_end_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is a device, and an inventory must be a file"):
        read_yaml(Path("/dev/zero"), what="inventory")
    (tmp_path / "large.yaml").write_bytes(b"#" * (yaml_lines.FILE_LIMIT_BYTES + 1))
    with pytest.raises(UserError, match="262145 bytes, and 262144 is the limit for a plan file"):
        read_yaml(tmp_path / "large.yaml", what="plan file")


def test_long_names_are_compared_with_nothing() -> None:
    assert nearest_names("x" * 100_000, ["x" * 99_999]) == ()
    assert nearest_names("jetsn", ["x" * 100_000, "jetson"]) == ("jetson",)


@pytest.mark.parametrize("text", ["plain", " a\tb\x1b[2J\n", "\ud800", "ä" * 400, " " * 400, "", "a\u2028b"])
def test_printable_text_is_printable(text: str) -> None:
    line = printable(text)
    assert line.isprintable()
    assert len(line) <= 300
    assert line == line.strip()
