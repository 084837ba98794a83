"""Reads a program file: its instructions in order, with the shapes of their arguments.

The file is a FlatBuffer; executorch's own flatc turns it into JSON with the schemas in the same wheel, so that no field
has to be known by number. A delegate's graph is another FlatBuffer inside. Similar parts (decoder layers) differ only
in the digests of their constants, so each different graph is read once.
"""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from foundation.errors import UserError

_TIMEOUT_S = 300.0
_NO_VALUE = 0xFFFFFFFF
_DIGEST = re.compile(rb"[0-9a-f]{64}")
_INPUT = re.compile(r"input\d*_id|filter_id|bias_id")
_BYTES_PER_VALUE = {
    "float": 4.0, "half": 2.0, "bfloat16": 2.0, "long": 8.0, "int": 4.0, "char": 1.0, "byte": 1.0, "bool": 1.0,
    "fp32": 4.0, "fp16": 2.0, "bf16": 2.0, "int32": 4.0, "qint8": 1.0, "qint32": 4.0, "quint8": 1.0,
    "qcint8": 1.0, "qcint32": 4.0, "qdint8": 1.0, "qcint4": 0.5, "qbint4": 0.5,
}  # fmt: skip


@dataclass(frozen=True)
class TensorFact:
    """Shape and type of a tensor; `key` is the digest of a constant, `place` its number among a delegate's values."""

    shape: tuple[int, ...]
    dtype: str
    key: str = ""
    place: int = -1
    external: bool = False

    @property
    def count(self) -> int:
        """The number of its values."""
        count = 1
        for size in self.shape:
            count *= size
        return count

    @property
    def bytes(self) -> float:
        """The size of its values."""
        return self.count * _BYTES_PER_VALUE.get(self.dtype, 4.0)


Argument = TensorFact | tuple["Argument", ...] | float | int | bool | str | None


@dataclass(frozen=True)
class KernelCall:
    """A call of an operator outside delegates; its last argument is its result."""

    name: str
    arguments: tuple[Argument, ...]

    def tensors(self) -> list[TensorFact]:
        """All tensors, including those in lists, each only once."""
        found = dict.fromkeys(_flat(self.arguments))
        return list(found)


def _flat(arguments: Sequence[Argument]) -> Iterator[TensorFact]:
    for argument in arguments:
        if isinstance(argument, TensorFact):
            yield argument
        elif isinstance(argument, tuple):
            yield from _flat(argument)


@dataclass(frozen=True)
class Node:
    """A node of a delegate's graph, `kind` as XNNPACK's schema names it, without its XNN."""

    kind: str
    inputs: tuple[TensorFact, ...]
    output: TensorFact


@dataclass(frozen=True)
class DelegateCall:
    """A call of a delegate with the nodes of its graph."""

    nodes: tuple[Node, ...]


Instruction = KernelCall | DelegateCall | None
"""None: an instruction that only moves or frees values, or jumps."""


class ProgramUnreadable(UserError):  # noqa: N818 - named after the file's state, not the error
    """A program file doesn't have the form that this version of executorch writes."""


def read_instructions(program: Path) -> list[Instruction]:
    """Returns the instructions of the program's only method. Raises `ProgramUnreadable`."""
    try:
        return _Program(program.read_bytes()).instructions()
    except (OSError, ValueError, KeyError, IndexError, TypeError, subprocess.SubprocessError) as error:
        raise ProgramUnreadable(
            f"the operators of {program} can't be read ({type(error).__name__}: {error}): export it again with the "
            "installed executorch."
        ) from error


class _Program:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self._document = _decode("exir/_serialize", "program.fbs", data)
        self._plan: Mapping[str, Any] = self._document["execution_plan"][0]
        self._graphs: dict[bytes, Sequence[Node]] = {}

    def instructions(self) -> list[Instruction]:
        (chain,) = self._plan["chains"]
        return [self._instruction(each["instr_args_type"], each["instr_args"]) for each in chain["instructions"]]

    def _instruction(self, kind: str, arguments: Mapping[str, Any]) -> Instruction:
        if kind == "KernelCall":
            name = self._plan["operators"][arguments["op_index"]]["name"]
            return KernelCall(str(name), tuple(self._values[index] for index in arguments["args"]))
        if kind == "DelegateCall":
            return DelegateCall(self._delegates[arguments["delegate_index"]])
        return None

    @cached_property
    def _values(self) -> list[Argument]:
        values = self._plan["values"]
        return [self._value(value["val_type"], value["val"], values) for value in values]

    def _value(self, kind: str, value: Mapping[str, Any], values: Sequence[Mapping[str, Any]]) -> Argument:
        if kind == "Tensor":
            extra = value.get("extra_tensor_info") or {}
            constant = extra.get("location") == "EXTERNAL"
            key = str(extra.get("fully_qualified_name", "")).rpartition("=")[2][:64] if constant else ""
            return TensorFact(tuple(value["sizes"]), str(value["scalar_type"]).lower(), key)
        if kind in ("TensorList", "OptionalTensorList"):
            items = [values[index] if index >= 0 else None for index in value["items"]]
            return tuple(None if one is None else self._value(one["val_type"], one["val"], values) for one in items)
        if kind == "IntList":  # of places of values
            return tuple(int(values[index]["val"]["int_val"]) for index in value["items"])
        for member in ("int_val", "double_val", "bool_val", "string_val"):
            if member in value:
                found: int | float | bool | str = value[member]
                return found
        return None

    @cached_property
    def _delegates(self) -> list[tuple[Node, ...]]:
        return [self._nodes(each["processed"]) for each in self._plan["delegates"]]

    def _nodes(self, place: Mapping[str, Any]) -> tuple[Node, ...]:
        data = self._delegate_data(place)
        # The header of executorch/backends/xnnpack/serialization.
        start, size = int.from_bytes(data[10:14], "little"), int.from_bytes(data[14:18], "little")
        graph = data[start : start + size]
        keys = [digest.decode() for digest in _DIGEST.findall(graph)]
        numbers = iter(range(len(keys)))
        form = _DIGEST.sub(lambda _: f"{next(numbers):064d}".encode(), graph)
        if form not in self._graphs:
            self._graphs[form] = list(_read_graph(form))
        return tuple(_with_keys(node, keys) for node in self._graphs[form])

    def _delegate_data(self, place: Mapping[str, Any]) -> bytes:
        if place["location"] == "INLINE":
            return bytes(self._document["backend_delegate_data"][place["index"]]["data"])
        segment = self._document["segments"][place["index"]]
        start = int.from_bytes(self._data[24:32], "little") + int(segment["offset"])  # after the header's base
        return self._data[start : start + int(segment["size"])]


def _with_keys(node: Node, keys: Sequence[str]) -> Node:
    """Replaces the numbers of digests with the digests."""
    inputs = tuple(replace(one, key=keys[int(one.key)]) if one.key else one for one in node.inputs)
    return replace(node, inputs=inputs)


def _read_graph(graph: bytes) -> Iterator[Node]:
    document = _decode("backends/xnnpack/serialization", "schema.fbs", graph)
    constants = [str(one.get("named_key", "")) for one in document["constant_data"]]
    facts = {}
    for value in document["xvalues"]:
        tensor = value["xvalue_union"]
        tensor = tensor.get("tensor_value", tensor)
        place, constant = int(tensor["id_out"]), constants[tensor["constant_buffer_idx"]]
        number = constant[-64:] if _DIGEST.fullmatch(constant[-64:].encode()) else ""
        dtype = str(tensor["datatype"]).removeprefix("xnn_datatype_")
        shape = tuple(tensor["dims"][: tensor["num_dims"]])
        facts[place] = TensorFact(shape, dtype, number, place, tensor["external_id"] != _NO_VALUE)
    for node in document["xnodes"]:
        kind, members = str(node["xnode_union_type"]).removeprefix("XNN"), node["xnode_union"]
        inputs = [members[name] for name in members if _INPUT.fullmatch(name) and members[name] != _NO_VALUE]
        yield Node(kind.lstrip("_"), tuple(facts[one] for one in inputs), facts[members["output_id"]])


def _decode(folder: str, schema: str, data: bytes) -> dict[str, Any]:
    """Returns a FlatBuffer as flatc's JSON, with numbers that JSON lacks as texts."""
    spec = importlib.util.find_spec("executorch")
    if spec is None or not spec.submodule_search_locations:
        raise ValueError("executorch is not installed")
    root = Path(spec.submodule_search_locations[0])
    with tempfile.TemporaryDirectory() as scratch:
        (Path(scratch) / "data.bin").write_bytes(data)
        flatc, form = root / "data" / "bin" / "flatc", ("--json", "--strict-json", "--defaults-json", "--raw-binary")
        subprocess.run(
            [str(flatc), *form, "-o", scratch, str(root / folder / schema), "--", f"{scratch}/data.bin"],
            check=True, capture_output=True, timeout=_TIMEOUT_S,
        )  # fmt: skip
        text = (Path(scratch) / "data.json").read_text()
    document: dict[str, Any] = json.loads(re.sub(r":\s*(-?(?:inf|nan))\b", r': "\1"', text))
    return document
