"""Which devices of a run are measured at the same time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from devices.access.connect import exclusive
from devices.errors import DeviceBusy
from devices.inventory.entry import DeviceEntry
from suite.measuring.fleet import _apart


def entry(name: str, **values: Any) -> DeviceEntry:
    usual = {"kind": "android", "transport": "adb", "workdir": "/w", "serial": "R5CT"}
    return DeviceEntry.model_validate({"name": name, **usual, **values})


BIG, LITTLE, OTHER = entry("big", cpus="4-7"), entry("little", cpus="0-3"), entry("other", serial="R6")
BOARD = {"kind": "linux", "transport": "ssh", "serial": None}
TWIN = {"kind": "local", "transport": "local", "serial": None, "emulated": True}


def names(*entries: DeviceEntry) -> list[list[str]]:
    return [[item.name for item in group] for group in _apart(entries)]


def test_two_entries_for_one_phone_are_measured_one_after_the_other() -> None:
    assert names(BIG, LITTLE, OTHER) == [["big", "other"], ["little"]]


def test_boards_behind_one_name_are_distinguished_by_their_port_and_jump_host() -> None:
    one, two = entry("one", **BOARD, host="lab"), entry("two", **BOARD, host="lab", port=2222)
    three = entry("three", **BOARD, host="lab", jump={"host": "gate"})
    again = entry("again", **BOARD, host="LAB")
    assert names(one, two, three, again) == [["one", "two", "three"], ["again"]]


def test_twins_on_this_machine_run_together() -> None:
    assert names(entry("a", **TWIN), entry("b", **TWIN)) == [["a", "b"]]


def test_another_entry_for_a_device_in_use_finds_it_busy(tmp_path: Path) -> None:
    with (
        exclusive(BIG.name, tmp_path, address=BIG.address),
        pytest.raises(DeviceBusy, match="device 'little' is in use by process"),
        exclusive(LITTLE.name, tmp_path, address=LITTLE.address),
    ):
        pass
    with exclusive(LITTLE.name, tmp_path, address=LITTLE.address):
        pass
