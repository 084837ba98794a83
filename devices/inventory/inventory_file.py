"""Reads and edits inventory.yaml.

Every error names file, line, value and what to do. Adding, changing and removing a device keeps comments, order and
style.

The new text is read back as an inventory before it replaces the file, so that no edit can leave a file that the suite
would refuse.
"""

from __future__ import annotations

import fnmatch
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.nodes import CollectionNode, MappingNode, Node, SequenceNode
from ruamel.yaml.tokens import CommentToken

from devices.errors import FileError, InventoryError, UnknownDevice
from devices.inventory.entry import FIELDS, KIND_DEFAULTS, NAME_PATTERN, DeviceEntry
from foundation.atomic import write_atomic
from foundation.errors import listed
from foundation.plugins import PluginError
from foundation.text import did_you_mean, printable
from foundation.yaml_lines import Position, YamlFile, first_problem, place_of, read_yaml, sentence_of

_GROUP, _KIND = "group:", "kind:"
_SECTIONS = ("defaults", "groups", "devices")
_SHARED_FIELDS = tuple(name for name in FIELDS if name != "name")
_AFTER = 2  # where ruamel keeps the comment behind a value


@dataclass(frozen=True)
class Inventory:
    """The devices of one file by name, in file order, and the members of each group."""

    path: Path
    devices: Mapping[str, DeviceEntry]
    groups: Mapping[str, tuple[str, ...]]

    def select(self, selection: str) -> tuple[DeviceEntry, ...]:
        """Returns the devices of a comma-separated list, each once, in the order of the list.

        A term is a name, a pattern (`pi-*`), `all`, a group (`GROUP`, or `group:GROUP` if a device has the same name)
        or `kind:KIND`. Raises `UnknownDevice` for a term that matches nothing, and `InventoryError` for an empty
        selection or group.
        """
        terms = [term.strip() for term in selection.split(",") if term.strip()]
        if not terms:
            raise InventoryError(
                f"no device was named, and {printable(str(self.path))!r} has {len(self.devices)}; "
                f"name one or more of: {listed(self.devices)}."
            )
        devices: dict[str, DeviceEntry] = {}
        for term in terms:
            names = tuple(self._matching(term))
            if not names:
                raise self._unknown(term)
            devices.update((name, self.devices[name]) for name in names)
        return tuple(devices.values())

    def _matching(self, term: str) -> Iterator[str]:
        if term in self.devices:
            yield term
        elif term.startswith(_GROUP) or term in self.groups:
            yield from self.groups.get(term.removeprefix(_GROUP), ())
        else:
            for name, entry in self.devices.items():
                if term in ("all", f"kind:{entry.kind}") or fnmatch.fnmatchcase(name, term):
                    yield name

    def _unknown(self, term: str) -> InventoryError | UnknownDevice:
        """Returns the error for a term that matches no device."""
        where = printable(str(self.path))
        group = term.removeprefix(_GROUP)
        if group in self.groups:
            return InventoryError(
                f"{where}: the group {printable(group)!r} has no device; add some below its `devices:`."
            )
        if term.startswith(_GROUP):
            return UnknownDevice(term, [f"{_GROUP}{name}" for name in self.groups], where, what="group")
        if term.startswith(_KIND):
            return UnknownDevice(term, self._kinds(term), where, what="device of the kind")
        what = "device or group" if self.groups else "device"
        return UnknownDevice(term, (*self.devices, *self.groups), where, add=_command_to_add(term), what=what)

    def _kinds(self, term: str) -> tuple[str, ...]:
        """Returns the kinds of its devices as suggestions; none for a valid kind that no device has."""
        here = dict.fromkeys(entry.kind for entry in self.devices.values())
        prefix = "" if term.removeprefix(_KIND) in KIND_DEFAULTS else _KIND
        return tuple(f"{prefix}{kind}" for kind in here)


def _command_to_add(name: str) -> str | None:
    """Returns the command that adds a device of that name, with the kind guessed from it; None for an invalid name."""
    if not NAME_PATTERN.fullmatch(name) or name == "all":
        return None
    kind = next((kind for kind in KIND_DEFAULTS if kind in name.lower()), "KIND")
    address = {"local": "", "android": " --serial SERIAL"}.get(kind, " --host HOST")
    return f"suite devices add {name} --kind {kind}{address}"


def load_yaml(path: Path, *, what: str = "inventory") -> YamlFile:
    """Reads `path`; errors call it `what`.

    Raises `InventoryError` for a file that is missing, too large, or not valid UTF-8 or plain YAML.
    """
    try:
        return read_yaml(path, what=what, refusal=InventoryError)
    except OSError as error:
        reason = FileError.from_os_error("read", str(path), error).reason
        raise InventoryError(
            f"the {what} {printable(str(path))!r} can't be read because {reason}; "
            f"name another file, or let `suite init` write one to start with."
        ) from error


def load(path: Path, *, home: Path | None = None) -> Inventory:
    """Reads and validates an inventory; `home` (default `.suite/` beside it) holds the workdir of `local` devices.

    A relative workdir of a `local` device is below the folder of the inventory. Raises `InventoryError`.
    """
    file = load_yaml(path)
    sections = _mapping(file, (), _SECTIONS, "section")
    devices = _mapping(file, ("devices",), None, "device") if "devices" in sections else {}
    if not devices:
        raise file.error(
            ("devices",), "there is no device; add one below `devices:`, for example `local: {kind: local}`."
        )
    _mapping(file, ("defaults",), _SHARED_FIELDS, "key")
    groups = {name: _group(file, name, devices) for name in _mapping(file, ("groups",), None, "group")}
    base = path.resolve().parent
    home = base / ".suite" if home is None else home
    groups_of: dict[str, list[str]] = {name: [] for name in devices}
    for group, members in groups.items():
        for member in dict.fromkeys(members):
            groups_of[member].append(group)
    entries = {name: _entry(file, name, groups_of[name], base, home) for name in devices}
    return Inventory(path, entries, groups)


def _mapping(file: YamlFile, position: Position, known: tuple[str, ...] | None, what: str) -> dict[str, Any]:
    """Returns the mapping at `position` (empty if it isn't there), its keys checked against `known`."""
    value = file.value
    for key in position:
        value = value.get(key) if isinstance(value, dict) else None
    if value is None:
        return {}
    if not isinstance(value, dict):
        where = f"`{position[-1]}`" if position else "the file"
        raise file.error(
            position, f"{where} is {printable(repr(value), 60)}, and must be `name: value` lines; correct it."
        )
    for key in value:
        if known is not None and key not in known:
            hint = did_you_mean(key, known, count=1, quote="`") or f"known are: {', '.join(known)}."
            raise file.error((*position, key), f"unknown {what} {printable(key)!r}; {hint}")
    return value


def _group(file: YamlFile, name: str, devices: Mapping[str, Any]) -> tuple[str, ...]:
    position = ("groups", name)
    group = _mapping(file, position, ("devices", "vars"), "key")
    _mapping(file, (*position, "vars"), _SHARED_FIELDS, "key")
    members = group.get("devices") or []
    if not isinstance(members, list):
        text = printable(repr(members), 60)
        raise file.error((*position, "devices"), f"`devices` is {text}, and must be a list of names; correct it.")
    for index, member in enumerate(members):
        if not isinstance(member, str) or member not in devices:
            hint = did_you_mean(str(member), devices, count=1, quote="`") or f"known are: {listed(devices)}."
            raise file.error((*position, "devices", index), f"no device is named {printable(str(member))!r}; {hint}")
    return tuple(members)


def _entry(file: YamlFile, name: str, groups: Sequence[str], base: Path, home: Path) -> DeviceEntry:
    own: Position = ("devices", name)
    _mapping(file, own, _SHARED_FIELDS, "key")
    sources: list[Position] = [("defaults",)]
    sources += [("groups", group, "vars") for group in groups]
    values: dict[str, Any] = {}
    origin: dict[str, Position] = {}
    for source in (*sources, own):
        for key, value in _mapping(file, source, None, "key").items():
            values[key], origin[key] = value, (*source, key)
    kind = values.get("kind")
    if isinstance(kind, str) and kind in KIND_DEFAULTS:
        transport, workdir = _defaults(kind)
        values.setdefault("transport", transport)
        values.setdefault("workdir", workdir or str(home / "device" / name))
    else:
        # The kind is missing or wrong, which is then the only thing to report.
        values |= {"transport": "local", "workdir": "."}
    try:
        entry = DeviceEntry.model_validate({**values, "name": name})
    except ValidationError as error:
        problem = first_problem(error)
        place = place_of(problem)
        position = (*origin.get(str(place[0]) if place else "", own), *place[1:])
        sentence = sentence_of(problem)
        if problem["type"] == "missing" and place == ("kind",):
            sentence = f"`kind` is missing; add one of: {', '.join(KIND_DEFAULTS)}."
        raise file.error(position, f"device {printable(name)!r}: {sentence}") from error
    on_host = {"runner": entry.runner, "workdir": entry.workdir if entry.transport == "local" else None}
    places: dict[str, str] = {}
    for key, value in on_host.items():
        if value is None:
            continue
        try:
            places[key] = str(base / Path(value).expanduser())
        except RuntimeError as error:
            text = printable(repr(value), 60)
            sentence = f"device {name!r}: `{key}` is {text}, whose home folder is unknown; write the absolute path."
            raise file.error(origin.get(key, own), sentence) from error
    return entry.model_copy(update=places)


def _defaults(kind: str) -> tuple[str, str | None]:
    """Returns the transport and workdir that a kind implies; for a broken plugin, values that nobody uses.

    Using such a device is an error (`require_support`); commands for other devices work.
    """
    try:
        found = KIND_DEFAULTS[kind]
    except PluginError:
        return "local", "."
    return found.transport, found.workdir


def add_device(path: Path, name: str, values: Mapping[str, Any]) -> None:
    """Appends a device. Raises `InventoryError` if the name is taken or the entry is not valid."""
    inventory = load(path)
    if name in inventory.devices:
        raise InventoryError(
            f"{printable(str(path))} has a device {printable(name)!r} already: choose another name or edit its entry."
        )
    _change(path, name, values)


def change_device(path: Path, name: str, values: Mapping[str, Any]) -> None:
    """Sets some values of an existing device. Raises `InventoryError` and `UnknownDevice`."""
    load(path).select(name)
    _change(path, name, values)


def remove_device(path: Path, name: str) -> DeviceEntry:
    """Removes a device, also from its groups, and returns its former entry. Raises `InventoryError` and
    `UnknownDevice`."""
    inventory = load(path)
    if name not in inventory.devices:
        inventory.select(name)
        raise InventoryError(f"{printable(name)!r} is a selection; remove one device at a time, by its name.")
    text = path.read_text(encoding="utf-8-sig")
    for _ in range(1 + sum(members.count(name) for members in inventory.groups.values())):
        root = YAML(typ="safe", pure=True).compose(text)
        groups = [_child(group, "devices") for _, group in _pairs(_child(root, "groups"))]
        for collection in filter(None, (_child(root, "devices"), *groups)):
            place = next((at for at, (key, _) in enumerate(_pairs(collection)) if key.value == name), None)
            if place is not None:
                text = _without(text, collection, place)
                break
    _replace(path, text.encode())
    return inventory.devices[name]


def _pairs(collection: Node | None) -> list[tuple[Node, Node]]:
    """Returns the keys and values of a mapping; for a list each item twice; nothing for anything else."""
    if isinstance(collection, MappingNode):
        return list(collection.value)
    return [(item, item) for item in collection.value] if isinstance(collection, SequenceNode) else []


def _child(mapping: Node | None, key: str) -> Node | None:
    return next((value for name, value in _pairs(mapping) if name.value == key), None)


def _without(text: str, collection: Node, place: int) -> str:
    """Returns the text without one item: without its lines or, between brackets, without it and a comma."""
    items = _pairs(collection)
    (first, last), following = items[place], items[place + 1 :]
    if isinstance(collection, CollectionNode) and collection.flow_style:
        start, end = first.start_mark.index, last.end_mark.index
        if following:
            end = following[0][0].start_mark.index
        elif place:
            start = items[place - 1][1].end_mark.index
        return text[:start] + text[end:]
    lines = text.splitlines(keepends=True)
    start, end = first.start_mark.line, max(_last_line(last), first.start_mark.line)
    while not lines[end].strip():
        end -= 1
    return "".join(lines[:start] + lines[end + 1 :])


def _last_line(node: Node) -> int:
    """Returns the last line of a node's content, without comments that follow it."""
    items = _pairs(node)
    if items and isinstance(node, CollectionNode) and not node.flow_style:
        return _last_line(items[-1][1])
    end: int = node.end_mark.line
    return end - 1 if node.end_mark.column == 0 and end > node.start_mark.line else end


def _change(path: Path, name: str, values: Mapping[str, Any]) -> None:
    load_yaml(path)  # refuses anything but plain data, which ruamel would accept
    text = path.read_text(encoding="utf-8-sig")
    yaml = YAML(typ="rt", pure=True)
    yaml.preserve_quotes = True
    yaml.width = 1 << 16  # long lines stay long
    document = yaml.load(text)
    devices = document["devices"]
    if name in devices:
        _set(devices[name], values)
    else:
        _set(devices, {name: CommentedMap(values)})
    stream = io.StringIO()
    yaml.dump(document, stream)
    _replace(path, stream.getvalue().encode())


def _set(mapping: CommentedMap, values: Mapping[str, Any]) -> None:
    """Appends or replaces keys. Text after the mapping, such as commented-out entries, stays after it."""
    last = _last_of(mapping)
    _merge(mapping, values)
    new = _last_of(mapping)
    if last is None or new is None or (last[0] is new[0] and last[1] == new[1]):
        return
    tokens = last[0].ca.items.get(last[1])
    if tokens is None or tokens[_AFTER] is None:
        return
    beside, newline, behind = tokens[_AFTER].value.partition("\n")
    tokens[_AFTER].value = f"{beside}\n"
    if behind:
        comment = CommentToken(newline + behind, tokens[_AFTER].start_mark, None)
        new[0].ca.items[new[1]] = [None, None, comment, None]


def _merge(mapping: CommentedMap, values: Mapping[str, Any]) -> None:
    """Sets keys, recursing into mappings so that their other keys stay."""
    for key, value in values.items():
        if isinstance(value, Mapping) and isinstance(mapping.get(key), CommentedMap):
            _merge(mapping[key], value)
        else:
            mapping[key] = value


def _last_of(mapping: CommentedMap) -> tuple[CommentedMap, str] | None:
    """Returns the innermost mapping that the text of `mapping` ends with, and its last key."""
    if not mapping:
        return None
    key = next(reversed(mapping))
    value = mapping[key]
    return (_last_of(value) if isinstance(value, CommentedMap) else None) or (mapping, key)


def _replace(path: Path, data: bytes) -> None:
    trial = path.with_name(f".{path.name[:100]}.new")
    try:
        write_atomic(trial, data)
        load(trial)
        trial.replace(path)
    except InventoryError as error:
        # The line number belongs to the rejected file.
        sentence = re.sub(rf"^{re.escape(printable(str(trial)))}:\d+: ", "", str(error))
        raise InventoryError(f"{printable(str(path))} was not changed: {sentence}") from error
    except OSError as error:
        reason = FileError.from_os_error("write", str(path), error).reason
        raise InventoryError(
            f"the inventory {printable(str(path))!r} can't be changed because {reason}; make it writable."
        ) from error
    finally:
        trial.unlink(missing_ok=True)
