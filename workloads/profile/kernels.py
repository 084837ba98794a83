"""The purpose and cost of the runner's own operators, and of the parts that they report.

The names of parts are those of devices/runner/kernels/part_times.cpp.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from workloads.models.config import PROJECTIONS
from workloads.profile.operator import (
    GATE_FLOPS,
    NORM_FLOPS,
    ROTARY_FLOPS,
    SOFTMAX_FLOPS,
    Constants,
    Group,
    Operator,
)
from workloads.profile.program_file import Argument, KernelCall, TensorFact

_GROUPS = {
    **dict.fromkeys(("embed", "embed_perturbed", "attention_bias", "cat"), Group.EMBED),
    **dict.fromkeys(("rms_norm", "rms_norm_back"), Group.NORM),
    **dict.fromkeys(
        ("answer_rows", "spread_rows", "linear_frozen", "linear_frozen_back", "linear_perturbed"), Group.HEAD
    ),
    **dict.fromkeys(("answer_losses", "collect_losses", "mean_losses", "loss_gradient"), Group.HEAD),
    **dict.fromkeys(("gradient", "normalised_gradient", "anchored_gradient"), Group.HEAD),
    **dict.fromkeys(("perturb", "update", "copy_", "move_weight", "descend", "moving_mean", "adam"), Group.NOISE),
}
_WORKS = {
    "product": (Group.FROZEN, "product"),
    "decode": (Group.DECODE, "dequantize"),
    "low_rank": (Group.LOW_RANK, "x A^T B"),
    "inner_products": (Group.LOW_RANK, "x A^T"),
    "norm": (Group.NORM, "norm"),
    "rotary": (Group.ROTARY, "rotate"),
    "scores": (Group.ATTENTION, "scores"),
    "softmax": (Group.ATTENTION, "softmax"),
    "mix": (Group.ATTENTION, "mix"),
    "gate": (Group.GATE, "gate"),
    "pack": (Group.ATTENTION, "pack values"),
    "bias": (Group.REST, "bias"),
}
_SOURCES = (0, 0, 0, 1, 2, 2, 3)
"""Projections with the same number have the same input."""
_LAYERS = ("decoder_layer", "general_layer", "perturbed_layer")


@dataclass(frozen=True)
class Kernel:
    """A call of one of our operators: as a whole, and its parts by the names that it reports."""

    whole: Operator
    parts: Mapping[str, Operator]

    def part(self, name: str) -> Operator:
        """Returns the part of that name; for an unknown part only its name."""
        work, _, projection = name.partition(" ")
        group, words = _WORKS.get(work, (self.whole.group, work))
        return self.parts.get(name) or Operator(words, group, projection, self.whole.layer)


def kernel_operators(call: KernelCall, constants: Constants) -> Kernel:
    """Returns what a call of an operator outside delegates does."""
    name = call.name.rpartition("::")[2]
    tensors = list(_flat(call.arguments[:-1]))  # the last two are the same, the result
    size = sum(one.bytes for one in tensors)
    if name in _LAYERS:
        return _layer(name, call, constants)
    group = _GROUPS.get(name, Group.REST)
    if name == "linear_frozen" and isinstance(call.arguments[0], TensorFact):
        rows, result = call.arguments[0], tensors[-1]
        whole = Operator(name, group, "lm_head", None, 2.0 * result.count * rows.shape[-1], size)
        product = replace(whole, name="product")
        decoded = Operator("dequantize", Group.HEAD, "lm_head")
        return Kernel(whole, {"product": product, "decode": decoded})
    if name == "embed":  # reads only the rows of the tokens
        size = 2 * tensors[-1].bytes
    if name == "perturb":  # reads its own part of the adapter once for all slices, and x not at all
        size = sum(one.bytes * (1 + 1 / one.shape[0]) for one in tensors if len(one.shape) == 3 and one != tensors[3])
    flops = NORM_FLOPS * float(tensors[-1].count) if name == "rms_norm" else None
    return Kernel(Operator(name, group, flops=flops, bytes=size), {})


@dataclass(frozen=True)
class _Shape:
    """The sizes of a decoder layer's call."""

    rows: int
    results: int
    length: int
    slices: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate: int
    rank: int
    adapted: tuple[int, ...]


def _layer(name: str, call: KernelCall, constants: Constants) -> Kernel:
    """Analyses the arguments of prge::decoder_layer (docs/contracts.md)."""
    skipped = 4 if name == "perturbed_layer" else 0
    x = _tensor(call.arguments[0])
    norms, rotary, weights, scales, lora_a, _, adapted = (
        _tuple(one) for one in call.arguments[3 + skipped : 10 + skipped]
    )
    heads, kv_heads = (int(str(one)) for one in call.arguments[10 + skipped : 12 + skipped])
    table, length, matrices = _tensor(rotary[0]), _tensor(rotary[2]).shape[0], [_tensor(one) for one in weights]
    bits = [_stored(matrix, scales, index) for index, matrix in enumerate(matrices)]
    rows = x.shape[0] * x.shape[1]
    shape = _Shape(
        rows=rows, results=rows // length * table.shape[0], length=length, slices=x.shape[0], hidden=x.shape[2],
        heads=heads, kv_heads=kv_heads, head_dim=table.shape[-1], intermediate=matrices[4].shape[0],
        rank=_tensor(lora_a[0]).shape[0] if lora_a else 0, adapted=tuple(int(str(one)) for one in adapted),
    )  # fmt: skip
    place = constants.projection(matrices[0].key)
    layer = None if place is None else place[0]
    parts = {key: replace(one, layer=layer) for key, one in _parts(shape, bits).items()}
    flops = sum(one.flops or 0.0 for one in parts.values())
    moved = 2 * x.bytes + _tensor(call.arguments[1]).bytes + sum(bits) + sum(_tensor(one).bytes for one in norms)
    return Kernel(Operator(name, Group.REST, "", layer, flops, moved), parts)


def _parts(shape: _Shape, stored: Sequence[float]) -> dict[str, Operator]:
    results, queries, keys = shape.results, shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    out = (queries, keys, keys, shape.hidden, shape.intermediate, shape.intermediate, shape.hidden)
    into = (*[shape.hidden] * 3, queries, *[shape.hidden] * 2, shape.intermediate)
    scores = results * shape.heads * shape.length
    found: dict[str, Operator] = {}
    for index, name in enumerate(PROJECTIONS):
        rows = shape.rows if name in ("k_proj", "v_proj") else results
        work = rows * (into[index] + out[index])
        flops = 2.0 * rows * out[index] * into[index]
        found[f"product {name}"] = Operator(
            "product", Group.FROZEN, name, None, flops, 4.0 * (work + out[index] * into[index])
        )
        found[f"decode {name}"] = Operator(
            "dequantize", Group.DECODE, name, None, None, stored[index] + 4.0 * out[index] * into[index]
        )
        if index in shape.adapted:
            b = shape.slices * shape.rank * out[index]
            size = 4.0 * (rows * (shape.rank + 2 * out[index]) + b)
            found[f"low_rank {name}"] = Operator(
                "x A^T B", Group.LOW_RANK, name, None, 2.0 * rows * shape.rank * out[index], size
            )
    # A and attention's norm apply to all rows; the other norm only to those with results.
    met = {index: shape.rows if _SOURCES[index] == 0 else results for index in shape.adapted}
    inner = sum(rows * into[index] for index, rows in met.items())
    inputs = sum({_SOURCES[index]: rows * into[index] for index, rows in met.items()}.values())
    of_a = shape.rank * sum(into[index] for index in met)
    rotated, normalized = results * queries + shape.rows * keys, (shape.rows + results) * shape.hidden
    whole = {
        "inner_products": (2.0 * shape.rank * inner, 4.0 * (inputs + of_a)),
        "norm": (float(NORM_FLOPS * normalized), 4.0 * 2 * normalized),
        "rotary": (float(ROTARY_FLOPS * rotated), 4.0 * 2 * rotated),
        "scores": (2.0 * scores * shape.head_dim, 4.0 * (rotated + scores)),
        "softmax": (float(SOFTMAX_FLOPS * scores), 4.0 * 2 * scores),
        "mix": (2.0 * scores * shape.head_dim, 4.0 * (rotated + scores)),
        "gate": (float(GATE_FLOPS * results * shape.intermediate), 4.0 * 3 * results * shape.intermediate),
    }
    for name, (flops, size) in whole.items():
        group, words = _WORKS[name]
        found[name] = Operator(words, group, "", None, flops, size)
    return found


def _stored(matrix: TensorFact, scales: Sequence[Argument], index: int) -> float:
    each = len(scales) // len(PROJECTIONS)
    return matrix.bytes + sum(_tensor(one).bytes for one in scales[index * each : (index + 1) * each])


def _flat(arguments: Sequence[Argument]) -> list[TensorFact]:
    found: list[TensorFact] = []
    for argument in arguments:
        if isinstance(argument, TensorFact):
            found.append(argument)
        elif isinstance(argument, tuple):
            found.extend(_flat(argument))
    return found


def _tensor(argument: Argument) -> TensorFact:
    if not isinstance(argument, TensorFact):
        raise TypeError(f"{argument} is not a tensor")
    return argument


def _tuple(argument: Argument) -> Sequence[Argument]:
    if not isinstance(argument, tuple):
        raise TypeError(f"{argument} is not a list")
    return argument
