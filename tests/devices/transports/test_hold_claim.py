"""Which hold a home may take for its own outdated one: that of a process which is gone for certain."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from devices.processes import record_of
from devices.transports.hold import busy, claim


@pytest.fixture
def stranger() -> Iterator[int]:
    """Another process of this host."""
    with subprocess.Popen(["sleep", "600"]) as process:
        yield process.pid
        process.kill()


def remember(locks: Path, **changes: object) -> None:
    path = locks / "pi.hold"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_the_last_hold_of_this_very_process_is_outdated(tmp_path: Path) -> None:
    first = claim("pi", tmp_path)
    second = claim("pi", tmp_path)
    assert first.outdated is None
    assert second.outdated == first.token != second.token
    assert claim("nano", tmp_path).outdated is None


def test_the_last_hold_of_a_process_that_ended_is_outdated(tmp_path: Path, stranger: int) -> None:
    token = claim("pi", tmp_path).token
    record = record_of(stranger)
    assert record is not None
    remember(tmp_path, pid=stranger, start_ticks=record.start_ticks - 1)
    assert claim("pi", tmp_path).outdated == token


def test_the_hold_of_a_running_process_is_not_outdated(tmp_path: Path, stranger: int) -> None:
    """The home was copied meanwhile: its locks are not those of the home that holds the device."""
    claim("pi", tmp_path)
    record = record_of(stranger)
    assert record is not None
    remember(tmp_path, pid=stranger, start_ticks=record.start_ticks)
    assert claim("pi", tmp_path).outdated is None


@pytest.mark.parametrize("boot", ["00000000-0000-0000-0000-000000000000", ""])
def test_the_hold_of_a_process_of_another_host_is_not_outdated(tmp_path: Path, boot: str) -> None:
    """On a disk that hosts share, or after a restart of this one: nothing here tells whether it is gone."""
    claim("pi", tmp_path)
    remember(tmp_path, boot_id=boot, pid=os.getpid())
    assert claim("pi", tmp_path).outdated is None


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"token": "x"}', '{"token": "x", "pid": "1"}', "\\xff"])
def test_a_damaged_record_of_the_last_hold_counts_as_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "pi.hold").write_text(text)
    assert claim("pi", tmp_path).outdated is None


def test_a_home_that_cannot_be_written_holds_devices_too(tmp_path: Path) -> None:
    assert claim("pi", tmp_path / "not there").outdated is None


@pytest.mark.parametrize(
    "line", ["", "{}", "[1]", '{"pid": -1, "host": "h"}', '{"pid": true, "host": "h"}', "[" * 9999]
)
def test_a_holder_without_a_readable_name_still_counts(line: str) -> None:
    assert "without a readable description" in str(busy("pi", line, answered=True))


def test_the_description_of_a_holder_cannot_control_the_terminal() -> None:
    line = json.dumps({"pid": 7, "host": "\x1b[2J", "since": "\n", "command": "x" * 500, "user": "\x07"})
    sentence = str(busy("pi", line, answered=True))
    assert sentence.isprintable()
    assert len(sentence) < 400
