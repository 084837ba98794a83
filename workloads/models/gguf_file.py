"""Llama models from GGUF files: metadata, quantized tensors and the order of rotary's rows.

GGUF keeps the two rows of a rotary pair of q_proj and k_proj beside each other (0, 1, 2, 3, ...); the canonical names
expect the first halves of all pairs before the second halves (0, 2, 4, ..., 1, 3, 5, ...), per head.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import gguf
import numpy as np

from foundation.errors import UserError
from workloads.models.config import LlamaConfig
from workloads.models.gguf_tokenizer import read_tokenizer
from workloads.models.weights import LazyTensors, ModelWeights, check_tensors, check_vocabulary, file_sha256

if TYPE_CHECKING:
    import torch

T = TypeVar("T")

TOP_NAMES = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output_norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",
}
LAYER_NAMES = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
#: What the reader raises for a file that ends early or holds nonsense.
MALFORMED = (ValueError, IndexError, KeyError, OverflowError, TypeError, MemoryError)


def load_gguf(name: str, path: Path) -> ModelWeights:
    """The model of a GGUF file; tensors are dequantized to float32 at each access.

    Raises `UserError` for a file that is missing, truncated, not a plain Llama, or incomplete.
    """
    reader = _open(path)
    metadata = Metadata(reader, path)
    tensors = {canonical_name(tensor.name): tensor for tensor in reader.tensors}
    shapes = {tensor: tuple(int(size) for size in reversed(entry.shape)) for tensor, entry in tensors.items()}
    config = _config(metadata, shapes)
    check_tensors(config, shapes, path)
    sources: dict[str, Callable[[], torch.Tensor]] = {
        tensor: functools.partial(_read_tensor, tensors[tensor], _heads(config, tensor), path)
        for tensor in config.tensor_shapes()
    }
    tokenizer = read_tokenizer(metadata)
    check_vocabulary(config, tokenizer, path)
    return ModelWeights(name, config, LazyTensors(sources), file_sha256(path), tokenizer, source=str(path))


class Metadata:
    """The key-value pairs of a GGUF file, typed as they are asked for."""

    def __init__(self, reader: gguf.GGUFReader, path: Path) -> None:
        self._reader = reader
        self.path = path

    def optional(self, key: str) -> Any:
        """The value of `key`, or None."""
        field = self._reader.get_field(key)
        if field is None:
            return None
        try:
            value = field.contents()
        except MALFORMED as error:
            raise UserError(f"{self.path}: {key} can't be read ({error}): fetch the file again.") from error
        # A float32 such as 1e-05 comes as 9.99999974e-06: take the shortest decimal that means the same.
        return float(str(np.float32(value))) if isinstance(value, float) else value

    def required(self, key: str) -> Any:
        """The value of `key`; raises `UserError` if there is none."""
        value = self.optional(key)
        if value is None:
            raise UserError(f"{self.path} has no {key} in its metadata: get the model as a complete GGUF file.")
        return value

    def integer(self, key: str, default: int | None = None) -> int:
        """A whole number; raises `UserError` if it is something else, or absent without a default."""
        value = self.optional(key) if default is not None else self.required(key)
        if value is None:
            value = default
        if not isinstance(value, int):
            raise UserError(f"{self.path}: {key} should be one whole number for all layers, not {str(value)[:40]!r}.")
        return value

    def number(self, key: str, default: float) -> float:
        """A number; raises `UserError` if it is something else."""
        value = self.optional(key)
        if value is not None and not isinstance(value, int | float):
            raise UserError(f"{self.path}: {key} should be a number, not {str(value)[:40]!r}.")
        return default if value is None else float(value)

    def listing(self, key: str, kind: type[T]) -> list[T]:
        """A list whose entries are all of one type; raises `UserError` if it is something else, or absent."""
        values = self.required(key)
        if not isinstance(values, list) or not all(isinstance(value, kind) for value in values):
            raise UserError(f"{self.path}: {key} should be a list of {kind.__name__}: fetch the file again.")
        return values


def canonical_name(name: str) -> str:
    """The Hugging Face name of a GGUF tensor; an unknown one stays as it is."""
    if name in TOP_NAMES:
        return TOP_NAMES[name]
    parts = name.split(".")
    if len(parts) == 4 and parts[0] == "blk" and parts[2] in LAYER_NAMES:
        return f"model.layers.{parts[1]}.{LAYER_NAMES[parts[2]]}.{parts[3]}"
    return name


def rotary_halves(rows: torch.Tensor, heads: int) -> torch.Tensor:
    """Reorder the rows [heads * head_dim, in] from neighbouring rotary pairs to halves, per head."""
    columns = rows.shape[1]
    pairs = rows.reshape(heads, -1, 2, columns)
    return pairs.transpose(1, 2).reshape(-1, columns).contiguous()


def _open(path: Path) -> gguf.GGUFReader:
    try:
        with path.open("rb") as file:
            magic = file.read(4)
        if magic != b"GGUF":
            raise UserError(
                f"{path} is not a GGUF file (it begins with {magic!r}): give a .gguf file or a model folder."
            )
        return gguf.GGUFReader(path)
    except OSError as error:
        raise UserError(f"{path} can't be read ({error.strerror}): check the path.") from error
    except MALFORMED as error:
        size = path.stat().st_size
        raise UserError(f"{path} is damaged or ends early at {size} bytes ({error}): fetch the file again.") from error


def _config(metadata: Metadata, shapes: dict[str, tuple[int, ...]]) -> LlamaConfig:
    _refuse_other_architectures(metadata)
    hidden, heads = metadata.integer("llama.embedding_length"), metadata.integer("llama.attention.head_count")
    head_dim = metadata.integer("llama.attention.key_length", default=hidden // heads if heads else 0)
    for key in ("llama.rope.dimension_count", "llama.attention.value_length"):
        if (size := metadata.integer(key, default=head_dim)) != head_dim:
            raise UserError(f"{metadata.path}: {key} is {size}, but only {head_dim}, the size of a head, is supported.")
    embedding = shapes.get("model.embed_tokens.weight", (0,))
    return LlamaConfig(
        vocab_size=metadata.integer("llama.vocab_size", default=embedding[0]),
        hidden_size=hidden,
        intermediate_size=metadata.integer("llama.feed_forward_length"),
        layers=metadata.integer("llama.block_count"),
        heads=heads,
        kv_heads=metadata.integer("llama.attention.head_count_kv", default=heads),
        head_dim=head_dim,
        rope_theta=metadata.number("llama.rope.freq_base", default=10_000.0),
        norm_eps=metadata.number("llama.attention.layer_norm_rms_epsilon", default=1e-5),
        tie_embeddings="lm_head.weight" not in shapes,
        max_positions=metadata.integer("llama.context_length"),
    )


def _refuse_other_architectures(metadata: Metadata) -> None:
    architecture = metadata.required("general.architecture")
    if architecture != "llama":
        raise UserError(
            f"{metadata.path} is a {str(architecture)[:40]!r} model: only the llama architecture is supported."
        )
    plain = {
        "split.count": (0, 1),
        "llama.expert_count": (0,),
        "llama.rope.scaling.type": ("none",),
        "llama.rope.scale_linear": (1.0,),
    }
    for key, values in plain.items():
        value = metadata.optional(key)
        if value is not None and value not in values:
            raise UserError(
                f"{metadata.path}: {key} is {str(value)[:40]!r}, which is not supported: use a plain Llama model."
            )


def _heads(config: LlamaConfig, tensor: str) -> int:
    """The number of heads whose rows GGUF permutes in this tensor; 0 for all other tensors."""
    if tensor.endswith(".q_proj.weight"):
        return config.heads
    return config.kv_heads if tensor.endswith(".k_proj.weight") else 0


def _read_tensor(entry: gguf.ReaderTensor, heads: int, path: Path) -> torch.Tensor:
    import torch  # takes seconds, and a run whose programs are there asks for no tensor

    try:
        values = gguf.dequantize(entry.data, entry.tensor_type)
    except NotImplementedError as error:
        raise UserError(
            f"{path}: {entry.name} is stored as {entry.tensor_type.name}, which can't be dequantized here: "
            "use a file quantized to Q4_1, Q8_0, F16 or the like."
        ) from error
    # The file is mapped read-only and torch wants memory of its own.
    tensor = torch.from_numpy(np.array(values, dtype=np.float32, copy=True))
    return rotary_halves(tensor, heads) if heads else tensor
