"""The schema for editors agrees with the loader."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from ruamel.yaml import YAML

from devices.inventory.entry import FIELDS, inventory_schema

ROOT = Path(__file__).parents[3]


def problems(text: str) -> list[str]:
    validator = jsonschema.Draft202012Validator(inventory_schema())
    return [error.message for error in validator.iter_errors(YAML(typ="safe", pure=True).load(text))]


def test_the_schema_file_is_that_of_the_entries() -> None:
    """`suite devices schema > inventory.schema.json` regenerates it."""
    assert json.loads((ROOT / "inventory.schema.json").read_text()) == inventory_schema()


def test_the_schema_is_valid_and_describes_every_key() -> None:
    schema: dict[str, Any] = inventory_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    described = schema["$defs"]["values"]["properties"]
    assert set(described) == set(FIELDS) - {"name"}
    assert [name for name, value in described.items() if "description" not in value] == []


def test_the_inventory_that_ships_names_its_schema_and_keeps_it() -> None:
    text = (ROOT / "inventory.yaml").read_text()
    assert text.startswith("# yaml-language-server: $schema=inventory.schema.json\n")
    assert problems(text) == []


@pytest.mark.parametrize("cpus", ["[0, 1]", "0-3", '"0,2-3"'])
def test_an_inventory_with_groups_and_defaults_is_accepted(cpus: str) -> None:
    pi = f"pi: {{kind: raspberrypi, host: h, cpus: {cpus}}}"
    text = f"devices:\n  {pi}\ndefaults: {{threads: 2}}\ngroups: {{boards: {{devices: [pi], vars: {{user: u}}}}}}"
    assert problems(text) == []


@pytest.mark.parametrize(
    "text",
    [
        "devices: {phone: {kind: android, serial: S, workdir: /data/local/tmp/bench}}",
        "devices: {phone: {kind: android, transport: ssh, host: h, workdir: bench}}",
        "devices: {box: {kind: linux, transport: adb, serial: S, workdir: /root/bench}}",
    ],
)
def test_a_relative_workdir_is_valid_over_ssh(text: str) -> None:
    assert problems(text) == []


@pytest.mark.parametrize(
    "text",
    [
        "devices: {}",
        "devices: {pi: {knid: jetson}}",
        "devices: {pi: {kind: jetsn}}",
        "devices: {pi: {kind: jetson, port: 0}}",
        "devices: {pi: {kind: jetson, threads: two}}",
        "devices: {pi: {kind: jetson, cpus: a-b}}",
        "devices: {all: {kind: local}}",
        "devices: {a b: {kind: local}}",
        "devices: {phone: {kind: android, workdir: bench}}",
        "devices: {box: {kind: linux, transport: adb, serial: S, workdir: ~/bench}}",
        "device: {}",
    ],
)
def test_the_schema_rejects_a_mistake(text: str) -> None:
    assert problems(text)
