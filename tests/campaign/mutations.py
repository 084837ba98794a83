"""Seeded damage to a file: to its bytes, whatever its format, and to the contents of JSON, YAML, safetensors and
SQLite, so that the damage gets past readers that only check the syntax."""

from __future__ import annotations

import copy
import json
import random
import re
import sqlite3
import struct
from collections.abc import Callable
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

_SHARE_STRUCTURED = 0.7
_MOST_BYTES = 8 << 20
_NUMBERS = (0, -1, 1, 2**31 - 1, 2**31, 2**32, 2**62, 2**63 - 1, 2**63, 2**64 - 1, 10**30)
_VALUES: tuple[Any, ...] = (
    None, True, -1, 0, 2**63, -(2**63) - 1, 10**400, 1e308, -0.0, "", " ", "x" * 70_000, "\x1b[2J\x07", "\u202eabc",
    "..", "/", "/dev/zero", "../../etc/passwd", "nan", "1e999", "0x" + "f" * 5000, [], {}, [[]], [None], {"": {}},
    [0] * 3000, {str(number): number for number in range(300)}, "\ud800", "%s{}$(id)`id`", "0-4294967295", "yes",
    "1_000", "0o17",
)  # fmt: skip
_TOKENS = (
    b"", b"\0", b"\xff\xfe", b"\x1b]0;x\x07", b"{" * 300, b"[" * 3000, b"&a *a", b"9" * 5000, b"-1", b"1e999", b"NaN",
    b"!!python/object/apply:os.system ['id']", b"\t", b"\r", b"\n", b"'", b'"', b"#", b"---\n", b": ", b"\xed\xa0\x80",
    b"~", b"<<: *x", "\u2028\u00a0\ufeff".encode(),
)  # fmt: skip


def mutate(data: bytes, random_: random.Random) -> bytes:
    """Returns the data with one to five changes, some of which may have no effect."""
    changed = data
    while changed == data:
        for _ in range(random_.choice((1, 1, 1, 2, 3, 5))):
            changes = _STRUCTURED if random_.random() < _SHARE_STRUCTURED else _PLAIN
            changed = random_.choice(changes)(changed, random_)
    return changed[:_MOST_BYTES]


def _place(data: bytes, random_: random.Random) -> int:
    # The beginning of a file describes the rest, so it is changed more often.
    return random_.randrange(max(1, min(len(data), random_.choice((16, 256, 4096, len(data) + 1)))))


def _flip(data: bytes, random_: random.Random) -> bytes:
    if not data:
        return data
    changed = bytearray(data)
    for _ in range(random_.choice((1, 1, 4, 32))):
        changed[_place(data, random_)] = random_.randrange(256)
    return bytes(changed)


def _cut(data: bytes, random_: random.Random) -> bytes:
    return data[: _place(data, random_)]


def _remove(data: bytes, random_: random.Random) -> bytes:
    start = _place(data, random_)
    return data[:start] + data[start + random_.choice((1, 4, 8, 100, 5000)) :]


def _insert(data: bytes, random_: random.Random) -> bytes:
    start = _place(data, random_)
    return data[:start] + random_.choice((random_.choice(_TOKENS), random_.randbytes(9))) + data[start:]


def _repeat(data: bytes, random_: random.Random) -> bytes:
    start = _place(data, random_)
    part = data[start : start + random_.choice((1, 20, 400))]
    return data[:start] + part * random_.choice((2, 50, 3000)) + data[start:]


def _number(data: bytes, random_: random.Random) -> bytes:
    """Replaces an integer: one in text, or a binary one of eight, four or two bytes."""
    found = list(re.finditer(rb"\d+(\.\d+)?", data[: 1 << 16]))
    if found and random_.random() < 0.5:
        match = random_.choice(found)
        new = random_.choice((str(random_.choice(_NUMBERS)).encode(), b"9" * 400, b"1e400", b"-" + match.group(), b"x"))
        return data[: match.start()] + new + data[match.end() :]
    width, form = random_.choice(((8, "<Q"), (4, "<I"), (2, "<H")))
    start = _place(data, random_)
    if start + width > len(data):
        return data
    return data[:start] + struct.pack(form, random_.choice(_NUMBERS) % 2 ** (8 * width)) + data[start + width :]


def _lines(data: bytes, random_: random.Random) -> bytes:
    """Removes, repeats, swaps or indents lines."""
    lines = data.split(b"\n")
    first, second = random_.randrange(len(lines)), random_.randrange(len(lines))
    kind = random_.randrange(4)
    if kind == 0:
        del lines[first]
    elif kind == 1:
        lines.insert(first, lines[second])
    elif kind == 2:
        lines[first], lines[second] = lines[second], lines[first]
    else:
        lines[first] = b"  " + lines[first]
    return b"\n".join(lines)


def _word(data: bytes, random_: random.Random) -> bytes:
    """Replaces a word with another from the file, or with something odd."""
    found = list(re.finditer(rb"[\w.-]+", data[: 1 << 16]))
    if not found:
        return data
    match = random_.choice(found)
    value = random_.choice(_VALUES)
    odd = json.dumps(value).encode() if random_.random() < 0.7 else random_.choice(_TOKENS)
    new = random_.choice((random_.choice(found).group(), odd))
    return data[: match.start()] + new + data[match.end() :]


def _content(data: bytes, random_: random.Random) -> bytes:
    """Changes the contents of a document, a line of documents, a header or a database, but keeps its syntax valid."""
    if data.startswith(b"SQLite format 3\0"):
        return _rows(data, random_)
    length = int.from_bytes(data[:8], "little")
    if data[8:9] == b"{" and 8 + length <= len(data):
        header = _document(data[8 : 8 + length], random_)
        return len(header).to_bytes(8, "little") + header + data[8 + length :]
    lines = data.split(b"\n")
    if data[:1] in (b"{", b"[") and len(lines) > 2:
        at = random_.randrange(len(lines))
        lines[at] = _document(lines[at], random_)
        return b"\n".join(lines)
    return _document(data, random_)


def _document(data: bytes, random_: random.Random) -> bytes:
    """Replaces, removes, renames or duplicates a value somewhere in a JSON or YAML document."""
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        try:
            document = YAML(typ="safe", pure=True).load(data)
        except (YAMLError, ValueError, RecursionError, TypeError, LookupError, AttributeError):
            return _word(data, random_)
    places: list[tuple[Any, Any]] = []
    _collect(document, places)
    if not places:
        return _word(data, random_)
    parent, key = random_.choice(places)
    kind = random_.random()
    if kind < 0.15:
        del parent[key]
    elif kind < 0.25 and isinstance(parent, list):
        parent.extend([parent[key]] * random_.choice((1, 50)))
    elif kind < 0.35 and isinstance(parent, dict):
        parent[random_.choice(("", "\x1b[31m", "x" * 3000, f"{key} "))] = parent.pop(key)
    elif kind < 0.5:
        other, name = random_.choice(places)
        parent[key] = copy.deepcopy(other[name])
    else:
        parent[key] = random_.choice(_VALUES)
    try:
        return json.dumps(document, default=str).encode()  # which is YAML, too
    except (ValueError, RecursionError, TypeError):
        return _cut(data, random_)


def _rows(data: bytes, random_: random.Random) -> bytes:
    """Changes values of a database, or removes rows, columns or tables, behind its owner's back."""
    connection = sqlite3.connect(":memory:")
    try:
        connection.deserialize(data)
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute("PRAGMA ignore_check_constraints = ON")
        triggers = connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall()
        for (name,) in triggers:
            connection.execute(f"DROP TRIGGER {name}")
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        table = random_.choice(tables)
        column = random_.choice([row[1] for row in connection.execute(f"PRAGMA table_info({table})")])
        value = random_.choice([one for one in _VALUES if isinstance(one, str | float | None) or one in (-1, 0)])
        if random_.random() < 0.5:
            (found,) = connection.execute(f"SELECT {column} FROM {table} LIMIT 1").fetchone() or (None,)
            value = _document(found.encode(), random_).decode(errors="replace") if isinstance(found, str) else value
        update = f"UPDATE {table} SET {column} ="
        statement = random_.choice((
            f"{update} ?1", f"{update} ?1", f"{update} ?1 WHERE rowid = 1", f"{update} x'00ff' OR ?1 = 7",
            f"DELETE FROM {table} WHERE ?1 IS NOT 7", f"ALTER TABLE {table} DROP COLUMN {column} -- ?1",
        ))  # fmt: skip
        connection.execute(statement, (value,) if "--" not in statement else ())
        connection.commit()
        return connection.serialize()
    except (sqlite3.Error, UnicodeError, OverflowError):
        return _flip(data, random_)
    finally:
        connection.close()


def _collect(value: Any, places: list[tuple[Any, Any]]) -> None:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        places.append((value, key))
        _collect(inner, places)


_Change = Callable[[bytes, random.Random], bytes]
_PLAIN: tuple[_Change, ...] = (_flip, _cut, _remove, _insert, _repeat, _number, _number, _lines, _word, _word)
_STRUCTURED: tuple[_Change, ...] = (_content, _content, _content, _number, _word)
