"""Inventories that ask for too much."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from devices.errors import InventoryError
from devices.inventory.inventory_file import load
from devices.inventory.power_modes import parse_cpus


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ("threads: 0x" + "f" * 100_000, "can't be read as int"),
        ("threads: " + "9" * 100_000, "can't be read as int"),
        ("host_keys: x", r"`host_keys` is 'x', and must be a list"),
        ("host_keys: [x]", r"`host_keys.0` is 'x'"),
        ("jump: {host: h, host_keys: x}", r"`jump.host_keys` is 'x', and must be a list"),
        ("power: {command: x}", r"`power.command` is 'x', and must be a list"),
        ("cpus: '" + "0-4095," * 20_000 + "0'", "names more than 4096 CPUs"),
        ("t" * 900 + ": 1", "unknown key 't+…"),
    ],
)
def test_values_beyond_any_device_are_one_short_sentence(tmp_path: Path, fields: str, sentence: str) -> None:
    path = tmp_path / "inventory.yaml"
    path.write_text(f"devices: {{a: {{kind: linux, host: h, {fields}}}}}")
    with pytest.raises(InventoryError, match=sentence) as caught:
        load(path)
    assert len(str(caught.value)) < 1000


def test_ranges_of_cpus_are_not_written_out_beyond_the_limit() -> None:
    assert parse_cpus("0-4095") == tuple(range(4096))
    with pytest.raises(ValueError, match="more than 4096 CPUs, so at least one is there twice"):
        parse_cpus("0-4095,0")


def test_a_device_in_many_groups_gets_the_values_of_the_last(tmp_path: Path) -> None:
    path = tmp_path / "inventory.yaml"
    groups = "".join(f"  g{index}: {{devices: [a, b, a], vars: {{threads: {index + 1}}}}}\n" for index in range(20))
    path.write_text(f"groups:\n{groups}devices: {{a: {{kind: local}}, b: {{kind: local, threads: 99}}}}")
    devices = load(path).devices
    assert (devices["a"].threads, devices["b"].threads) == (20, 99)


def test_a_pipe_is_no_inventory(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "inventory.yaml")
    with pytest.raises(InventoryError, match="is a pipe, and an inventory must be a file"):
        load(tmp_path / "inventory.yaml")
