"""The shape of a model of the Llama family: sizes, tensors, parameter counts, the form of its layers, and its rotary
positions (a base, and the scaling of frequencies for long contexts).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from foundation.errors import UserError

PROJECTIONS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
"""The linear layers of a decoder layer, in order of use."""

#: The fields that determine tensor shapes, compared by `LlamaConfig.shape_differences`.
SHAPE_FIELDS = ("vocab_size", "hidden_size", "intermediate_size", "layers", "heads", "kv_heads", "head_dim")


@dataclass(frozen=True)
class ParameterCounts:
    """A model's number of values, by how they are quantized."""

    decoder_linears: int
    embedding: int
    output_head: int
    """0 if the output head is the embedding itself."""
    norms: int
    """Including the biases: everything that no setting quantizes."""

    @property
    def total(self) -> int:
        """All values; a tied output head counts once."""
        return self.decoder_linears + self.embedding + self.output_head + self.norms


BIASES = ("self_attn.q_proj.bias", "self_attn.k_proj.bias", "self_attn.v_proj.bias")
HEAD_NORMS = ("self_attn.q_norm.weight", "self_attn.k_norm.weight")
RESULT_NORMS = ("self_attn.result_norm.weight", "mlp.result_norm.weight")
VECTORS = (*BIASES, *HEAD_NORMS, *RESULT_NORMS)
"""Vectors that some families' layers have and Llama's lack, in the operators' order.

Biases of queries, keys and values; norms of each head's queries and keys before rotation; norms of the results of
attention and feed-forward before they are added to the residual stream.
"""


@dataclass(frozen=True)
class Rope:
    """Rotary positions: frequency i of head_dim / 2 is theta^(-2i / head_dim) / divisors[i], or / 1 without any."""

    theta: float
    divisors: tuple[float, ...] = ()


@dataclass(frozen=True)
class LayerForm:
    """All differences between a family's decoder layers and Llama's, as numbers and vectors."""

    vectors: tuple[str, ...] = ()
    """Which of VECTORS a layer has."""
    gate: str = "silu"
    """The function of the gate: `silu` or `gelu_tanh`, the tanh approximation of GELU."""
    query_scale: float | None = None
    """The scale of the scores, instead of 1 / sqrt(head_dim)."""
    ropes: tuple[Rope | None, ...] = ()
    """For each layer; None means no rotary positions. Empty: all have `rope_theta`."""
    window: int | None = None
    """The number of positions from which a key is visible, the smallest of all layers; None without a limit."""


PLAIN_FORM = LayerForm()


@dataclass(frozen=True)
class LlamaConfig:
    """The hyperparameters of the Llama family (Touvron et al. 2023): RMSNorm, rotary, grouped queries, SiLU gate.

    `rope_theta` is the base of the rotary angles, `norm_eps` the constant inside RMSNorm's root, `form` the differences
    of other families' layers. Raises `UserError` for impossible sizes.
    """

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    rope_theta: float = 10_000.0
    norm_eps: float = 1e-5
    tie_embeddings: bool = False
    max_positions: int = 2048
    form: LayerForm = PLAIN_FORM

    def __post_init__(self) -> None:
        for field in fields(self):
            if field.name not in ("tie_embeddings", "form"):
                _require_positive(field.name, getattr(self, field.name))
        for rope in (rope for rope in self.form.ropes if rope is not None):
            _require_positive("rope_theta", rope.theta)
            for divisor in rope.divisors:
                _require_positive("rotary scaling", divisor)
        if self.form.query_scale is not None:
            _require_positive("query scale", self.form.query_scale)
        if self.heads % self.kv_heads:
            raise UserError(
                f"The model's {self.heads} heads can't share {self.kv_heads} kv_heads evenly: check its configuration."
            )
        if self.head_dim % 2:
            raise UserError(
                f"The model's head_dim is {self.head_dim}, but rotary positions need an even one: "
                "check its configuration."
            )

    def rope(self, layer: int) -> Rope | None:
        """Returns the rotary positions of a layer, None if it has none."""
        return self.form.ropes[layer] if self.form.ropes else Rope(self.rope_theta)

    @property
    def ropes_vary(self) -> bool:
        """Whether not all layers have the same rotary positions."""
        return len(set(self.form.ropes)) > 1

    def require_length(self, length: int, name: str) -> None:
        """Raises `UserError` for rows of more tokens than the model, which the user calls `name`, supports here.

        A layer with a window sees as much as any other if rows are no longer than the window.
        """
        if length > self.max_positions:
            most = self.max_positions
            raise UserError(f"T is {length}, but {name} has {most} positions: choose a T up to {most}.")
        if self.form.window is not None and length > self.form.window:
            most = self.form.window
            raise UserError(
                f"T is {length}, but layers of {name} see only {most} positions, and longer rows are not supported for "
                f"such layers: choose a T up to {most}."
            )

    @property
    def query_size(self) -> int:
        """Output features of q_proj, input features of o_proj."""
        return self.heads * self.head_dim

    @property
    def kv_size(self) -> int:
        """Output features of k_proj and of v_proj."""
        return self.kv_heads * self.head_dim

    def linear_shapes(self) -> dict[str, tuple[int, int]]:
        """Returns the seven projections of one layer as (out, in), named as in `model.layers.N.<name>.weight`."""
        return {
            "self_attn.q_proj": (self.query_size, self.hidden_size),
            "self_attn.k_proj": (self.kv_size, self.hidden_size),
            "self_attn.v_proj": (self.kv_size, self.hidden_size),
            "self_attn.o_proj": (self.hidden_size, self.query_size),
            "mlp.gate_proj": (self.intermediate_size, self.hidden_size),
            "mlp.up_proj": (self.intermediate_size, self.hidden_size),
            "mlp.down_proj": (self.hidden_size, self.intermediate_size),
        }

    def projection_shape(self, projection: str) -> tuple[int, int]:
        """(out, in) of one of the seven by its last name, such as `q_proj`."""
        return {name.rpartition(".")[2]: shape for name, shape in self.linear_shapes().items()}[projection]

    def vector_sizes(self) -> dict[str, int]:
        """Returns the sizes of the VECTORS that a layer has, in order, named as in `model.layers.N.<name>`."""
        sizes = (self.query_size, self.kv_size, self.kv_size, self.head_dim, self.head_dim, *2 * [self.hidden_size])
        return {name: size for name, size in zip(VECTORS, sizes, strict=True) if name in self.form.vectors}

    def tensor_shapes(self) -> dict[str, tuple[int, ...]]:
        """Returns every tensor of the model in canonical order, with the names of Hugging Face's Llama checkpoints.

        If a family uses a name for something else, its tensors are renamed when they are read (RESULT_NORMS).
        `lm_head.weight` is absent if the output head is tied to the embedding.
        """
        shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (self.vocab_size, self.hidden_size)}
        for layer in range(self.layers):
            prefix = f"model.layers.{layer}"
            shapes[f"{prefix}.input_layernorm.weight"] = (self.hidden_size,)
            shapes |= {f"{prefix}.{name}.weight": shape for name, shape in self.linear_shapes().items()}
            shapes[f"{prefix}.post_attention_layernorm.weight"] = (self.hidden_size,)
            shapes |= {f"{prefix}.{name}": (size,) for name, size in self.vector_sizes().items()}
        shapes["model.norm.weight"] = (self.hidden_size,)
        if not self.tie_embeddings:
            shapes["lm_head.weight"] = (self.vocab_size, self.hidden_size)
        return shapes

    def parameter_counts(self) -> ParameterCounts:
        """Returns the number of values of each kind."""
        table = self.vocab_size * self.hidden_size
        return ParameterCounts(
            decoder_linears=self.layers * sum(rows * columns for rows, columns in self.linear_shapes().values()),
            embedding=table,
            output_head=0 if self.tie_embeddings else table,
            norms=(2 * self.layers + 1) * self.hidden_size + self.layers * sum(self.vector_sizes().values()),
        )

    def shape_differences(self, other: LlamaConfig) -> list[str]:
        """Lists how `other` differs, such as `layers 30 instead of 22`; empty if all tensors have the same shapes."""
        return [
            f"{name} {getattr(other, name)} instead of {getattr(self, name)}"
            for name in SHAPE_FIELDS
            if getattr(self, name) != getattr(other, name)
        ]

    def as_dict(self) -> dict[str, Any]:
        """Returns the fields as plain values, for hashes and metadata; without `form` if it is Llama's."""
        return {name: value for name, value in asdict(self).items() if name != "form" or self.form != PLAIN_FORM}


def _require_positive(name: str, value: float) -> None:
    if not (value > 0 and math.isfinite(value)):
        raise UserError(f"The model's {name} is {value}, but it must be a number above 0: check its configuration.")


SCALINGS = ("default", "linear", "llama3")
MOST_HEAD_DIM = 16_384
"""Wider heads are a mistake; each pair of a head's values has its own divisor."""
_LLAMA3 = ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings")


def rope_of(parameters: Mapping[str, Any], theta: float, head_dim: int, where: Path) -> Rope:
    """Returns the rotary positions of `rope_parameters` or `rope_scaling` in a config.json, or their equivalent in
    GGUF.

    `theta` is the base if `parameters` have none. Raises `UserError` for a scaling that is not supported or lacks a
    number, and for head sizes that no model has.
    """
    kind = parameters.get("rope_type", parameters.get("type", "default"))
    base = _number(parameters.get("rope_theta", theta), "rope_theta", where)
    if kind not in SCALINGS or parameters.get("partial_rotary_factor", 1.0) != 1.0:
        asked = kind if kind not in SCALINGS else "partial"
        raise UserError(
            f"{where} asks for {str(asked)[:40]!r} rotary scaling, which is not supported: use a model with one of "
            f"{', '.join(SCALINGS)}."
        )
    if kind == "default":
        if parameters.get("factor", 1.0) != 1.0:
            raise UserError(f"{where} has a rotary factor of an unknown type: name its rope_type.")
        return Rope(base)
    if head_dim > MOST_HEAD_DIM:
        raise UserError(f"{where} has heads of {head_dim} values, more than {MOST_HEAD_DIM}: copy the file again.")
    names = ("factor",) if kind == "linear" else _LLAMA3
    numbers = [_number(parameters.get(name), name, where) for name in names]
    half = head_dim // 2
    if kind == "linear":
        return Rope(base, () if numbers[0] == 1.0 else (numbers[0],) * half)
    return Rope(base, llama3_divisors(base, half, *numbers))


def llama3_divisors(
    theta: float, half: int, factor: float, low: float, high: float, original_positions: float
) -> tuple[float, ...]:
    """Returns Llama 3.1's divisor of each frequency.

    Waves shorter than original_positions / high are kept, those longer than original_positions / low are stretched by
    `factor`, and between the two the frequency is interpolated linearly in original_positions / wavelength (Llama 3.1,
    arXiv 2407.21783, and its reference code).
    """
    divisors = []
    for index in range(half):
        turns = original_positions * theta ** (-index / half) / (2.0 * math.pi)
        share = min(1.0, max(0.0, (turns - low) / (high - low))) if high > low else float(turns >= low)
        divisors.append(1.0 / (share + (1.0 - share) / factor))
    return tuple(divisors)


def _number(value: object, name: str, where: Path) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise UserError(f"{where}: {name} of its rotary positions must be a number, but it is {str(value)[:40]}.")
    if not (value > 0 and math.isfinite(value)):
        raise UserError(
            f"The model's {name} is {value}, but it must be a number above 0: check its configuration, {where}."
        )
    return float(value)
