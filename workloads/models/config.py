"""The shape of a Llama model: sizes, tensor names and shapes, parameter counts."""

import math
from dataclasses import asdict, dataclass, fields

from foundation.errors import UserError

PROJECTIONS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
"""The linear layers of a decoder layer, in the order in which it uses them."""

#: The fields that determine tensor shapes, compared by `LlamaConfig.shape_differences`.
SHAPE_FIELDS = ("vocab_size", "hidden_size", "intermediate_size", "layers", "heads", "kv_heads", "head_dim")


@dataclass(frozen=True)
class ParameterCounts:
    """A model's number of values, by how they are quantized."""

    decoder_linears: int
    embedding: int
    output_head: int
    """0 when the output head is the embedding itself."""
    norms: int

    @property
    def total(self) -> int:
        """All values; a tied output head counts once."""
        return self.decoder_linears + self.embedding + self.output_head + self.norms


@dataclass(frozen=True)
class LlamaConfig:
    """The hyperparameters of the Llama family (Touvron et al. 2023): RMSNorm, rotary, grouped queries, SiLU gate.

    `rope_theta` is the base of the rotary angles, `norm_eps` the constant inside RMSNorm's root.
    Raises `UserError` for impossible sizes.
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

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name != "tie_embeddings" and not (value > 0 and math.isfinite(value)):
                raise UserError(
                    f"The model's {field.name} is {value}, but it must be a number above 0: check its configuration."
                )
        if self.heads % self.kv_heads:
            raise UserError(
                f"The model's {self.heads} heads can't share {self.kv_heads} kv_heads evenly: check its configuration."
            )
        if self.head_dim % 2:
            raise UserError(
                f"The model's head_dim is {self.head_dim}, but rotary positions need an even one: "
                "check its configuration."
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

    def tensor_shapes(self) -> dict[str, tuple[int, ...]]:
        """Returns every tensor of the model in canonical order, under the names Hugging Face's Llama checkpoints use.

        `lm_head.weight` is absent when the output head is tied to the embedding.
        """
        shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (self.vocab_size, self.hidden_size)}
        for layer in range(self.layers):
            prefix = f"model.layers.{layer}"
            shapes[f"{prefix}.input_layernorm.weight"] = (self.hidden_size,)
            shapes |= {f"{prefix}.{name}.weight": shape for name, shape in self.linear_shapes().items()}
            shapes[f"{prefix}.post_attention_layernorm.weight"] = (self.hidden_size,)
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
            norms=(2 * self.layers + 1) * self.hidden_size,
        )

    def shape_differences(self, other: "LlamaConfig") -> list[str]:
        """Lists where `other` differs, as `layers 30 instead of 22`; empty if all tensors have the same shapes."""
        return [
            f"{name} {getattr(other, name)} instead of {getattr(self, name)}"
            for name in SHAPE_FIELDS
            if getattr(self, name) != getattr(other, name)
        ]

    def as_dict(self) -> dict[str, int | float | bool]:
        """Returns the fields as plain values, for hashes and metadata."""
        return asdict(self)
