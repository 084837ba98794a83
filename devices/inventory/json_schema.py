"""The inventory as a JSON Schema, with which editors complete and check it.

It is generated from `DeviceEntry`, so the two can't disagree. What only the loader can know is left to it, such as the
host that an ssh device needs, which may come from a group.
"""

from __future__ import annotations

from typing import Any

from devices.inventory.entry import FIELDS, NAME_PATTERN, DeviceEntry

_DESCRIPTIONS = {
    "kind": "Family of the device; implies its transport, sensors and workdir.",
    "transport": "How the device is reached, if not as its kind implies.",
    "workdir": "Where programs and jobs go on the device.",
    "runner": "A runner binary of your own, instead of the one that the suite builds.",
    "host": "Name or address; over SSH also an alias of ~/.ssh/config, or user@host.",
    "port": "Port of the SSH server or of adb over the network.",
    "user": "Who to log in as.",
    "key_file": "Private key to log in with: a whole path, or one from ~/.",
    "key_passphrase_env": "Environment variable that holds the key's passphrase; never the passphrase itself.",
    "password_env": "Environment variable that holds the password; never the password itself.",
    "host_keys": "Host keys that the device may show; `suite devices enroll` writes them.",
    "jump": "A server that the connection goes through, with its own login and host keys.",
    "connect_timeout_s": "Seconds that reaching the device may take.",
    "serial": "The phone's serial number, as `adb devices` lists it.",
    "cache_limit_mb": "MB that programs and runners may take on the device; those used longest ago go first.",
    "threads": "Threads of the runner.",
    "cpus": "CPUs the runner is pinned to: [4, 5] or 4-5.",
    "power": "Where its power is read: scale and sign of its gauge, the sensor of all of it, or a meter's command.",
    "jtop": "Read the power of a Jetson through jtop, with the device's own Python.",
    "emulated": "A twin: its numbers are marked and never compared with those of real devices.",
    "notes": "A remark for people.",
}

# Matches entries that an editor can know are reached over adb.
_OVER_ADB = [
    {"properties": {"transport": {"const": "adb"}}, "required": ["transport"]},
    {"properties": {"kind": {"const": "android"}, "transport": False}, "required": ["kind"]},
]
_WORKDIR_OVER_ADB = {"if": {"anyOf": _OVER_ADB}, "then": {"properties": {"workdir": {"pattern": "^/"}}}}


def inventory_schema() -> dict[str, Any]:
    """Returns the JSON Schema (draft 2020-12) of inventory.yaml."""
    model = DeviceEntry.model_json_schema()
    shared = {name: _property(name, model["properties"][name]) for name in FIELDS if name != "name"}
    values = {"type": "object", "additionalProperties": False, "properties": shared, **_WORKDIR_OVER_ADB}
    names = {"pattern": f"^{NAME_PATTERN.pattern}$", "not": {"const": "all"}}
    group = {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "devices": {"type": "array", "items": {"type": "string"}, "description": "Names of its devices."},
            "vars": {"$ref": "#/$defs/values", "description": "Values of each of its devices."},
        },
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Devices of the edge training suite",
        "type": "object",
        "additionalProperties": False,
        "required": ["devices"],
        "properties": {
            "defaults": {"$ref": "#/$defs/values", "description": "Values of every device."},
            "groups": {"type": "object", "propertyNames": names, "additionalProperties": group},
            "devices": {
                "type": "object",
                "minProperties": 1,
                "propertyNames": names,
                "additionalProperties": {"$ref": "#/$defs/values"},
            },
        },
        "$defs": {"values": values} | model.get("$defs", {}),
    }


def _property(name: str, found: dict[str, Any]) -> dict[str, Any]:
    """Returns one key's schema, without pydantic's titles, and without `null`: keys without a value are left out."""
    choices = [choice for choice in found.get("anyOf", [found]) if choice.get("type") != "null"]
    if name == "cpus":
        choices.append({"type": "string", "pattern": r"^\s*\d+(-\d+)?(\s*,\s*\d+(-\d+)?)*\s*$"})
    types = [{key: value for key, value in choice.items() if key not in ("title", "default")} for choice in choices]
    shape: dict[str, Any] = types[0] if len(types) == 1 else {"anyOf": types}
    return ({"description": _DESCRIPTIONS[name]} if name in _DESCRIPTIONS else {}) | shape
