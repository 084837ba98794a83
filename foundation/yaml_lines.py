"""Reads a YAML file that a user writes as plain values, each with its line number.

Only plain data is read: mappings with text keys, lists, and scalars of YAML 1.2. Tags, anchors and aliases are refused
(they could build objects, or expand a small file without limit), and so are duplicate keys. Pydantic's complaints about
the values become one sentence: the key, its value, and what to do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails
from ruamel.yaml import YAML
from ruamel.yaml.composer import Composer, ComposerError
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from foundation.errors import UserError
from foundation.foreign_files import read_regular
from foundation.text import did_you_mean, printable

Position = tuple[str | int, ...]

FILE_LIMIT_BYTES = 256 << 10
MOST_VALUES = 20_000
"""Larger files are refused: nobody writes them by hand, and parsing takes a second per 10,000 keys and values."""

_TAG = "tag:yaml.org,2002:"
_INT_BITS = 64
_SCALARS = frozenset({"str", "int", "float", "bool", "null"})
#: What a value must be, in YAML's terms, by pydantic's error type.
_REQUIREMENTS = {
    "dict_type": "be names with values (`name: value`)",
    "model_type": "be names with values (`name: value`)",
    "list_type": "be a list (`[a, b]`)",
    "tuple_type": "be a list (`[a, b]`)",
    "too_short": "have at least one entry",
    "int_type": "be a whole number",
    "float_type": "be a number",
    "string_type": "be text (put quotes around it)",
    "bool_type": "be true or false",
}


@dataclass(frozen=True)
class YamlFile:
    """A file's `value`, and the line number of each position; a position is the keys and indices from the top.

    `refusal` is the class of errors about the file.
    """

    path: Path
    value: Any
    lines: Mapping[Position, int] = field(repr=False)
    refusal: type[UserError] = UserError

    def line(self, position: Position) -> int:
        """Returns the line of a value, or of the nearest enclosing one that is in the file."""
        while position and position not in self.lines:
            position = position[:-1]
        return self.lines.get(position, 1)

    def error(self, position: Position, sentence: str) -> UserError:
        """Returns an error at that place: `file:line: sentence`."""
        return _error_at(self.refusal, self.path, self.line(position), sentence)


def _error_at(refusal: type[UserError], path: Path, line: int, sentence: str) -> UserError:
    return refusal(f"{printable(str(path))}:{line}: {sentence}")


def read_yaml(path: Path, *, what: str, refusal: type[UserError] = UserError) -> YamlFile:
    """Reads `path`. Raises as `parse_yaml` does, `refusal` for anything but a regular file, and OSError."""
    article = "an" if what.startswith(("a", "e", "i", "o", "u")) else "a"
    data = read_regular(path, what=f"{article} {what}", limit_bytes=FILE_LIMIT_BYTES, refusal=refusal)
    return parse_yaml(path, data, what=what, refusal=refusal)


def parse_yaml(path: Path, data: bytes, *, what: str, refusal: type[UserError] = UserError) -> YamlFile:
    """Parses the content of `path`, up to FILE_LIMIT_BYTES; errors call it `what`.

    Raises `refusal` if it has too many bytes or values, or is not valid UTF-8 or plain YAML.
    """

    def error_at(line: int, sentence: str) -> UserError:
        return _error_at(refusal, path, line, sentence)

    if len(data) > FILE_LIMIT_BYTES:
        raise error_at(1, f"the file exceeds {FILE_LIMIT_BYTES} bytes, too many for a {what}; check its path.")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise error_at(line, f"byte {error.start} is not valid UTF-8; save the file as UTF-8.") from error
    yaml = YAML(typ="safe", pure=True)
    yaml.Composer = _CountingComposer
    try:
        root = yaml.compose(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        problem = printable(str(error.problem or error.context or "not YAML"))
        raise error_at(line, f"this is not valid YAML ({problem}); correct the syntax there.") from error
    except (YAMLError, ValueError, OverflowError) as error:  # the last two for an escape that isn't a character
        raise error_at(1, f"this is not valid YAML ({printable(str(error), 120)}); correct the file.") from error
    except RecursionError as error:
        raise error_at(1, f"the YAML is nested too deeply for this {what}; correct the file.") from error
    reader = _Reader(yaml, error_at)
    return YamlFile(path, None if root is None else reader.read(root, ()), reader.lines, refusal)


def _require_plain(value: Any) -> Any:
    """Raises ValueError for a value that can't be printed or stored: half a surrogate pair, thousands of digits."""
    if isinstance(value, str):
        value.encode()
    if isinstance(value, int) and value.bit_length() > _INT_BITS:
        raise ValueError(f"more than {_INT_BITS} bits")
    return value


class _CountingComposer(Composer):
    """Composes up to MOST_VALUES keys and values."""

    count = 0

    def compose_node(self, parent: Node | None, index: Any) -> Node | None:
        self.count += 1
        if self.count > MOST_VALUES:
            mark = self.parser.peek_event().start_mark
            raise ComposerError(None, None, f"more than {MOST_VALUES} keys and values", mark)
        node: Node | None = super().compose_node(parent, index)
        return node


class _Reader:
    """Turns ruamel's nodes into plain values and records their lines."""

    def __init__(self, yaml: YAML, error_at: Callable[[int, str], UserError]) -> None:
        self.lines: dict[Position, int] = {}
        self._error_at = error_at
        self._constructor = yaml.constructor

    def read(self, node: Node, position: Position) -> Any:
        line = node.start_mark.line + 1
        self.lines.setdefault(position, line)
        if node.anchor:
            raise self._error_at(
                line,
                f"the anchor &{printable(node.anchor)} is not read here; write the value where it is used.",
            )
        if isinstance(node, MappingNode):
            return self._mapping(node, position)
        if isinstance(node, SequenceNode) and node.tag == f"{_TAG}seq":
            return [self.read(item, (*position, index)) for index, item in enumerate(node.value)]
        tag = str(node.tag).removeprefix(_TAG)
        if isinstance(node, ScalarNode) and tag == "timestamp":
            return node.value  # a date is text here
        if isinstance(node, ScalarNode) and tag in _SCALARS:
            try:
                return _require_plain(self._constructor.construct_object(node))
            except ValueError as error:
                text = printable(node.value, 60)
                raise self._error_at(line, f"{text!r} can't be read as {tag}; correct it.") from error
        raise self._error_at(line, f"the tag {printable(str(node.tag))!r} is not read here; write plain data.")

    def _mapping(self, node: MappingNode, position: Position) -> dict[str, Any]:
        if node.tag != f"{_TAG}map":
            raise self._error_at(
                node.start_mark.line + 1,
                f"the tag {printable(str(node.tag))!r} is not read here; write plain data.",
            )
        mapping: dict[str, Any] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, ScalarNode):
                what = "mapping" if isinstance(key_node, MappingNode) else "list"
                raise self._error_at(line, f"a {what} can't be a key; write one name before the colon.")
            if key_node.tag != f"{_TAG}str":
                text = printable(key_node.value, 60)
                raise self._error_at(line, f"the key {text!r} is not text; put quotes around it.")
            key = str(key_node.value)
            if key in mapping:
                first = self.lines[*position, key]
                raise self._error_at(
                    line, f"{printable(key)!r} is there twice, first on line {first}; rename or remove one."
                )
            self.lines[*position, key] = line
            mapping[key] = self.read(value_node, (*position, key))
        return mapping


def first_problem(error: ValidationError) -> ErrorDetails:
    """Returns the problem to report: a misspelt key comes before the missing key that it was meant to be."""
    return min(error.errors(include_url=False), key=lambda one: one["type"] != "extra_forbidden")


def place_of(problem: ErrorDetails) -> Position:
    """Returns the place of the problem, without the type that pydantic adds for a union."""
    return tuple(part for part in problem["loc"] if part not in ("int", "float"))


def sentence_of(problem: ErrorDetails, known: Iterable[str] = ()) -> str:
    """Returns a sentence with the key, its value, what it must be and what to do; `known` lists the valid keys."""
    key = printable(".".join(map(str, place_of(problem))) or "the file", 80)
    value = "empty" if problem["input"] in (None, [], {}) else printable(repr(problem["input"]), 60)
    kind, context = problem["type"], problem.get("ctx", {})
    if kind == "extra_forbidden":
        keys = tuple(known)
        others = f"known are: {', '.join(keys)}." if keys else "correct or remove it."
        return f"unknown key {key!r}; {did_you_mean(str(problem['loc'][-1]), keys, count=1, quote='`') or others}"
    if kind == "missing":
        return f"`{key}` is missing; add it."
    if kind == "literal_error":
        allowed = [word.strip("'") for word in str(context["expected"]).replace(" or ", ", ").split(", ")]
        others = f"it must be one of: {', '.join(allowed)}."
        near = did_you_mean(str(problem["input"]), allowed, count=1, quote="`")
        return f"`{key}` is {value}, which doesn't exist; {near or others}"
    if kind == "value_error":
        return _unusable(key, value, printable(str(context["error"])), whole=not problem["loc"])
    requirement = _REQUIREMENTS.get(kind, problem["msg"].removeprefix("Input should "))
    return f"`{key}` is {value}, and must {requirement}; correct it."


def _unusable(key: str, value: str, reason: str, *, whole: bool) -> str:
    """Returns the sentence for a value that our own check refused, without repeating what may be a secret."""
    if whole:
        return f"{reason}."
    clause = "" if key.endswith("_env") else f" is {value}, and that"
    return f"`{key}`{clause} can't be used: {reason}; correct it."
