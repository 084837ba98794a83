"""One device as the inventory describes it: validated and frozen; and as a JSON Schema, with which editors complete and
check the inventory.

The schema is generated from `DeviceEntry`, so the two can't disagree. What only the loader can know is left to it, such
as the host that an ssh device needs, which may come from a group.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    StrictInt,
    StrictStr,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticKnownError

from devices.inventory.own_sensors import OwnSensor, SensorName
from devices.inventory.power_modes import Cpus, PowerModes, require_each_once
from foundation.plugins import Registry, plugins

NAME_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
HOST_KEY_PATTERN = re.compile(r"(?:(?P<type>[a-z0-9@.-]{3,60}) )?(?P<fingerprint>SHA256:[A-Za-z0-9+/]{43})")
_VARIABLE_PATTERN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
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
    "threads": "Threads of the runner; without it, one for each core that it may run on.",
    "cpus": "CPUs the runner is pinned to: [4, 5] or 4-5.",
    "power_modes": "Modes that `suite experiment power-modes` compares, by name: nvpmodel, governor, cpus.",
    "power": "Where its power is read: scale and sign of its gauge, the sensor of all of it, or a meter's command.",
    "sensors": "Sensors of your own, by name: each a file or a program on the device, or a plugin's, with its unit.",
    "options": "Settings of a plugin's kind or transport, by name.",
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


@dataclass(frozen=True)
class _KindDefaults:
    """What a device's kind implies unless its entry says otherwise.

    A relative workdir is below the user's home folder on the device; None means the host's own suite folder.
    """

    transport: str
    workdir: str | None


def _declared_defaults(name: str, kind: object) -> _KindDefaults:
    """Returns what a plugin's kind declares in its attributes `transport` and `workdir`, else that of `linux`."""
    del name
    transport, workdir = getattr(kind, "transport", "ssh"), getattr(kind, "workdir", _WORKDIR)
    if not isinstance(transport, str) or not isinstance(workdir, str):
        raise TypeError("has a `transport` or `workdir` that is not text")
    return _KindDefaults(transport, workdir)


_WORKDIR = "edge-training-suite"
KIND_DEFAULTS = Registry(
    "kinds",
    {
        "local": _KindDefaults("local", None),
        "linux": _KindDefaults("ssh", _WORKDIR),
        "jetson": _KindDefaults("ssh", _WORKDIR),
        "raspberrypi": _KindDefaults("ssh", _WORKDIR),
        "android": _KindDefaults("adb", "/data/local/tmp/edge-training-suite"),
    },
    _declared_defaults,
)
_TRANSPORTS = ("local", "ssh", "adb")


def _transport_names() -> tuple[str, ...]:
    return (*_TRANSPORTS, *(one.name for one in plugins("transports")))


def _kind_names() -> tuple[str, ...]:
    return tuple(KIND_DEFAULTS)


def _one_of(own: Collection[str], every: Callable[[], tuple[str, ...]]) -> BeforeValidator:
    """Refuses anything but the names of `own` and, which takes a look at all packages, of plugins."""

    def check(value: object) -> object:
        if isinstance(value, str) and value in own:
            return value
        names = every()
        if value in names:
            return value
        raise PydanticKnownError("literal_error", {"expected": " or ".join(f"'{name}'" for name in names)})

    return BeforeValidator(check)


KindName = Annotated[
    str, _one_of(KIND_DEFAULTS.own, _kind_names), Field(json_schema_extra={"enum": [*KIND_DEFAULTS.own]})
]
TransportName = Annotated[
    str, _one_of(_TRANSPORTS, _transport_names), Field(json_schema_extra={"enum": [*_TRANSPORTS]})
]


def _text(value: object) -> object:
    """Refuses text that can't be in a command line or a file name."""
    if isinstance(value, str) and (not value.strip() or "\0" in value):
        raise ValueError("is empty or holds a null character")
    return value


def _variable(name: str) -> str:
    """Refuses anything but the name of a variable; what may be a secret is not repeated in the message."""
    if not _VARIABLE_PATTERN.fullmatch(name):
        raise ValueError("it must name an environment variable that holds the secret, never be the secret itself")
    return name


def _key_file(path: str) -> str:
    if not path.startswith(("/", "~/")):
        raise ValueError("it must be a whole path, or begin with ~/")
    return path


def _host_key(text: str) -> str:
    if not HOST_KEY_PATTERN.fullmatch(text):
        raise ValueError("it must look like `ssh-ed25519 SHA256:...`; `suite devices enroll` writes it")
    return text


_PLACE = re.compile(r"(?:(?P<plain>[^:\[\]]+)|\[(?P<v6>[^\[\]]+)\])(?::(?P<port>\d{1,5}))?")
_BARE_V6 = re.compile(r"[^\[\]]*:[^\[\]]*:[^\[\]]*")


def _taken_apart(values: Any) -> Any:
    """Returns the values of an entry or a jump host with a `host` such as `user@host:port` taken apart.

    Raises ValueError where that contradicts `user` or `port`, or can't be read.
    """
    text = values.get("host") if isinstance(values, Mapping) else None
    if not isinstance(text, str) or not re.search(r"[@\[]|://|^[^:]+:[^:]*$", text):
        return values
    user, at, place = text.removeprefix("ssh://").removesuffix("/").rpartition("@")
    match = _PLACE.fullmatch(place)
    if (at and not user) or (match is None and not _BARE_V6.fullmatch(place)):
        raise ValueError(
            f"`host` is {text!r}, which is no address; write the name or address as `host`, and `user` and `port` apart"
        )
    if at and values.get("transport") == "adb":
        raise ValueError(f"`host` is {text!r}, and adb knows no users; write the phone's address alone")
    parts: dict[str, Any] = {"host": place if match is None else match["plain"] or match["v6"]}
    parts |= {"user": user} if at else {}
    parts |= {"port": int(match["port"])} if match is not None and match["port"] else {}
    for key in ("user", "port"):
        if key in parts and values.get(key) not in (None, parts[key]):
            raise ValueError(f"`host` is {text!r}, and `{key}` is {values[key]!r}; write the {key} once")
    return dict(values) | parts


Text = Annotated[StrictStr, BeforeValidator(_text)]
Port = Annotated[StrictInt, Field(ge=1, le=65535)]
VariableName = Annotated[Text, AfterValidator(_variable)]
KeyFile = Annotated[Text, AfterValidator(_key_file)]
HostKeyText = Annotated[StrictStr, AfterValidator(_host_key)]


class _SshLogin(BaseModel):
    """How to log in over SSH. Secrets stay in environment variables, which are named here.

    `host_keys` lists the keys that the server may present, `TYPE SHA256:...` as `suite devices enroll` writes them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    port: Port | None = None
    user: Text | None = None
    key_file: KeyFile | None = None
    key_passphrase_env: VariableName | None = None
    password_env: VariableName | None = None
    host_keys: tuple[HostKeyText, ...] = ()


class JumpHost(_SshLogin):
    """A server that the connection is tunnelled through, perhaps through another one (`jump`)."""

    host: Text
    jump: JumpHost | None = None

    _address = model_validator(mode="before")(_taken_apart)


class PowerSource(BaseModel):
    """Where and how the device's power is read, if not as its kind does.

    `scale` and `sign` correct the battery's gauge (`suite devices calibrate` finds them), or the sensor that `sensor`
    names as the one that measures the whole device. `command` is a meter: a program on the host that prints
    `seconds watts` lines, its seconds those of the host's CLOCK_MONOTONIC or since 1970 (`epoch`).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    scale: Annotated[float, Field(gt=0, le=1e9)] | None = None
    sign: Literal[-1, 1] | None = None
    sensor: Text | None = None
    command: Annotated[tuple[Text, ...], Field(min_length=1, max_length=64)] | None = None
    clock: Literal["monotonic", "epoch"] = "monotonic"


class DeviceEntry(_SshLogin):
    """A device of the inventory. The kind supplies `transport` and `workdir` where they are left out.

    Over SSH, `host` may be an alias of the user's OpenSSH configuration (`devices.transports.ssh.endpoint`).
    """

    name: Text
    kind: KindName
    transport: TransportName
    workdir: Text
    runner: Text | None = None
    host: Text | None = None
    jump: JumpHost | None = None
    connect_timeout_s: Annotated[float, Field(gt=0, le=600)] = 15.0
    serial: Text | None = None
    cache_limit_mb: Annotated[StrictInt, Field(ge=1, le=10_000_000)] | None = None
    threads: Annotated[StrictInt, Field(ge=1, le=1024)] | None = None
    cpus: Cpus | None = None
    power: PowerSource | None = None
    power_modes: PowerModes = {}
    sensors: dict[SensorName, OwnSensor] = {}
    options: dict[Text, StrictBool | StrictInt | float | StrictStr] = {}
    jtop: StrictBool = False
    emulated: StrictBool = False
    notes: StrictStr = ""

    _address = model_validator(mode="before")(_taken_apart)

    @property
    def address(self) -> str | None:
        """Equal for two entries that certainly name the same device; None for this machine."""
        if self.transport == "local":
            return None
        through, jump = "", self.jump
        while jump is not None:
            through, jump = f"{jump.host.lower()}:{jump.port or ''}:{through}", jump.jump
        return f"{self.transport}:{through}{(self.host or self.serial or '').lower()}:{self.port or ''}"

    @field_validator("workdir")
    @classmethod
    def _is_whole_over_adb(cls, workdir: str, info: ValidationInfo) -> str:
        if info.data.get("transport") == "adb" and not workdir.startswith("/"):
            raise ValueError(
                "over adb it must be a whole path, since commands start in `/` there, where nobody may write "
                f"(an Android phone has {KIND_DEFAULTS['android'].workdir})"
            )
        return workdir

    @model_validator(mode="after")
    def _is_consistent(self) -> DeviceEntry:
        if not NAME_PATTERN.fullmatch(self.name):
            raise ValueError(
                "a name is 1 to 64 letters, digits, `.`, `_` or `-` and begins with a letter or digit; rename it"
            )
        if self.name == "all":
            raise ValueError("the name `all` stands for every device; choose another")
        if self.kind == "local" and self.transport != "local":
            raise ValueError("kind `local` is this machine and has no other transport; use kind `linux`")
        if self.transport == "ssh" and not self.host:
            raise ValueError("transport `ssh` needs a `host`; add its name or address")
        if self.transport == "adb" and not (self.serial or self.host):
            raise ValueError("transport `adb` needs a `serial` or a `host`; see `adb devices`")
        if self.options and self.kind in KIND_DEFAULTS.own and self.transport in _TRANSPORTS:
            raise ValueError(
                f"`options` are for a plugin's kind or transport, and {self.kind} over {self.transport} is the suite's "
                "own; leave them out"
            )
        require_each_once(self.cpus)
        return self


FIELDS = tuple(DeviceEntry.model_fields)


def inventory_schema() -> dict[str, Any]:
    """Returns the JSON Schema (draft 2020-12) of inventory.yaml."""
    model = DeviceEntry.model_json_schema()
    shared = {name: _property(name, model["properties"][name]) for name in FIELDS if name != "name"}
    shared["kind"]["enum"], shared["transport"]["enum"] = list(_kind_names()), list(_transport_names())
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
    types = [{key: value for key, value in choice.items() if key not in ("title", "default")} for choice in choices]
    shape: dict[str, Any] = types[0] if len(types) == 1 else {"anyOf": types}
    return ({"description": _DESCRIPTIONS[name]} if name in _DESCRIPTIONS else {}) | shape
