"""Edits an inventory: adds a device, or sets values of one. Comments, order and style stay as they are.

The new text is read back as an inventory before it replaces the file, so that no edit can leave a file behind that the
suite would refuse.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.tokens import CommentToken

from devices.errors import FileError, InventoryError
from devices.inventory.reading import load, load_yaml
from foundation.atomic import write_atomic
from foundation.text import printable

_AFTER = 2  # where ruamel keeps the comment behind a value


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


def _change(path: Path, name: str, values: Mapping[str, Any]) -> None:
    load_yaml(path)  # refuses anything but plain data, which ruamel would keep
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
    """Appends or replaces keys. What follows the mapping, such as commented-out entries, stays behind it."""
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
        raise InventoryError(f"{printable(str(path))} stays as it is: {sentence}") from error
    except OSError as error:
        reason = FileError.from_os_error("write", str(path), error).reason
        raise InventoryError(
            f"the inventory {printable(str(path))!r} can't be changed because {reason}; make it writable."
        ) from error
    finally:
        trial.unlink(missing_ok=True)
