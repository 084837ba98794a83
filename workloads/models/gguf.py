"""Models from GGUF files: metadata, quantized tensors, the row order for rotary positions, and the tokenizer inside."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import gguf
import numpy as np

from foundation.errors import UserError
from foundation.foreign_files import open_regular
from workloads.models.config import BIASES, HEAD_NORMS, RESULT_NORMS, LayerForm, LlamaConfig, Rope, rope_of
from workloads.models.families import with_scaled_embedding
from workloads.models.gguf_header import GgufHeader, TensorPlace, read_header
from workloads.models.gguf_metadata import Metadata, read_tokenizer, require_plain
from workloads.models.weights import (
    Digest,
    LazyTensors,
    ModelWeights,
    check_tensors,
    file_sha256,
    require_enough_tensors,
    within_vocabulary,
)

if TYPE_CHECKING:
    import torch


#: Keys of the architecture that `_config` reads, and those that don't affect the arithmetic.
UNDERSTOOD = frozenset(
    (
        *("vocab_size", "context_length", "embedding_length", "block_count", "feed_forward_length"),
        *("attention.head_count", "attention.head_count_kv", "attention.layer_norm_rms_epsilon"),
        *("attention.key_length", "attention.value_length", "rope.dimension_count", "rope.freq_base"),
        *("attention.sliding_window", "rope.scaling.type", "rope.scaling.factor"),
        "tensor_data_layout",
    )
)
#: Other keys of the architecture, with the values that change nothing.
NEUTRAL: dict[str, tuple[object, ...]] = {
    "expert_count": (0,),
    "expert_used_count": (0,),
    "rope.scaling.attn_factor": (1.0,),
    "rope.scaling.finetuned": (False,),
    "rope.scale_linear": (1.0,),
    "use_parallel_residual": (False,),
    "attention.causal": (True,),
    "attention.clamp_kqv": (0.0,),
    "attention.max_alibi_bias": (0.0,),
    "logit_scale": (1.0,),
    "residual_scale": (1.0,),
    "embedding_scale": (1.0,),
    "attn_logit_softcapping": (0.0,),
    "final_logit_softcapping": (0.0,),
}
DIVISORS = "rope_freqs.weight"
"""The tensor with the divisors of the rotary frequencies, as in Llama 3.1's scaling."""


@dataclass(frozen=True)
class Architecture:
    """The properties of an architecture that are not in the file."""

    vectors: tuple[str, ...] = ()
    permuted: bool = False
    """Whether the rows of queries and keys are ordered as neighbouring rotary pairs."""
    without_rotary: int | None = None
    """Every n-th layer has no rotary positions."""
    full_every: int | None = None
    """Every n-th layer sees all positions; the others see a window, and have their own rotary base."""
    gate: str = "silu"
    scaled_embedding: bool = False
    """Whether the embedding is multiplied by sqrt(hidden_size)."""
    scales_by_width: int | None = None
    """Models with this number of layers divide queries by sqrt(hidden_size / heads) instead of sqrt(head_dim)."""
    keys: frozenset[str] = frozenset()
    """Supported keys in addition to UNDERSTOOD."""


ARCHITECTURES = {
    "llama": Architecture(permuted=True),
    "qwen2": Architecture(BIASES),
    "qwen3": Architecture(HEAD_NORMS),
    "smollm3": Architecture(permuted=True, without_rotary=4),
    "gemma3": Architecture(
        (*HEAD_NORMS, *RESULT_NORMS),
        full_every=6,
        gate="gelu_tanh",
        scaled_embedding=True,
        scales_by_width=62,
        keys=frozenset(("attention.sliding_window_pattern", "rope.freq_base_swa")),
    ),
}
"""By name, as llama.cpp converts and computes them (src/llama-model.cpp). Mistral's models are `llama`."""

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
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "attn_output": "self_attn.o_proj",
    "post_attention_norm": "self_attn.result_norm",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
    "post_ffw_norm": "mlp.result_norm",
}


def load_gguf(name: str, path: Path, digest: Digest | None = None) -> ModelWeights:
    """Returns the model of a GGUF file; tensors are dequantized to float32 at each access.

    Raises `UserError` for a file that is missing, truncated, incomplete, or of a model that is not supported.
    """
    header = _open(path)
    metadata = Metadata(header, path)
    tensors = {canonical_name(tensor.name): tensor for tensor in header.tensors}
    shapes = {name: entry.shape for name, entry in tensors.items() if name != DIVISORS}
    config = _config(metadata, tensors)
    check_tensors(config, shapes, path)
    architecture = _architecture(metadata)[1]

    def read(tensor: str) -> torch.Tensor:
        found = _read_tensor(tensors[tensor], path)
        if architecture.permuted and (heads := _heads(config, tensor)):
            return rotary_halves(found, heads)
        return with_scaled_embedding(config, tensor, found) if architecture.scaled_embedding else found

    sources: dict[str, Callable[[], torch.Tensor]] = {
        tensor: functools.partial(read, tensor) for tensor in config.tensor_shapes()
    }
    tokenizer = within_vocabulary(config, read_tokenizer(metadata), path)
    sha256 = (digest or file_sha256)(path)
    return ModelWeights(name, config, LazyTensors(sources), sha256, tokenizer, source=str(path))


def read_gguf_config(path: Path) -> LlamaConfig:
    """Returns the shape of the model in a GGUF file; raises the same `UserError` as `load_gguf`."""
    header = _open(path)
    return _config(Metadata(header, path), {canonical_name(tensor.name): tensor for tensor in header.tensors})


def canonical_name(name: str) -> str:
    """Returns the Hugging Face name of a GGUF tensor; an unknown name is unchanged."""
    if name in TOP_NAMES:
        return TOP_NAMES[name]
    parts = name.split(".")
    if len(parts) == 4 and parts[0] == "blk" and parts[2] in LAYER_NAMES:
        return f"model.layers.{parts[1]}.{LAYER_NAMES[parts[2]]}.{parts[3]}"
    return name


def rotary_halves(rows: torch.Tensor, heads: int) -> torch.Tensor:
    """Reorders the rows [heads * head_dim, in] from neighbouring rotary pairs to halves, per head."""
    columns = rows.shape[1]
    pairs = rows.reshape(heads, -1, 2, columns)
    return pairs.transpose(1, 2).reshape(-1, columns).contiguous()


def _open(path: Path) -> GgufHeader:
    try:
        with open_regular(path, what="a GGUF file") as file:
            magic = file.read(4)
        if magic != b"GGUF":
            raise UserError(
                f"{path} is not a GGUF file (it starts with {magic!r}): give a .gguf file or a model folder."
            )
        header = read_header(path)
    except OSError as error:
        raise UserError(f"{path} can't be read ({error.strerror}): check the path.") from error
    except ValueError as error:
        size = path.stat().st_size
        raise UserError(f"{path} is damaged or ends early at {size} bytes ({error}): fetch the file again.") from error
    _require_decoders(header, path)
    return header


def _require_decoders(header: GgufHeader, path: Path) -> None:
    """Raises `UserError` for a tensor that can't be dequantized, before any is read: an export takes minutes."""
    for kind, name in {tensor.type: tensor.name for tensor in header.tensors}.items():
        try:
            gguf.dequantize(np.zeros(gguf.GGML_QUANT_SIZES[kind][1], np.uint8), kind)
        except NotImplementedError as error:  # gguf publishes no list of types with a decoder
            raise UserError(
                f"{path}: {name} is stored as {kind.name}, which can't be dequantized here: "
                "use a file quantized to Q4_1, Q8_0, F16 or the like."
            ) from error


def _config(metadata: Metadata, tensors: Mapping[str, TensorPlace]) -> LlamaConfig:
    kind, architecture = _architecture(metadata)

    def integer(key: str, default: int | None = None) -> int:
        return metadata.integer(f"{kind}.{key}", default)

    hidden, heads, layers = integer("embedding_length"), integer("attention.head_count"), integer("block_count")
    require_enough_tensors(layers, len(tensors), metadata.path)
    head_dim = integer("attention.key_length", default=hidden // heads if heads else 0)
    for key in ("rope.dimension_count", "attention.value_length"):
        if (size := integer(key, default=head_dim)) != head_dim:
            raise UserError(
                f"{metadata.path}: {kind}.{key} is {size}, but only {head_dim}, the size of a head, is supported."
            )
    embedding = tensors.get("model.embed_tokens.weight")
    rope = _rope(metadata, kind, head_dim, tensors.get(DIVISORS))
    window = integer("attention.sliding_window", default=0)
    by_width = architecture.scales_by_width == layers and hidden != heads * head_dim
    return LlamaConfig(
        vocab_size=integer("vocab_size", default=0 if embedding is None else embedding.shape[0]),
        hidden_size=hidden,
        intermediate_size=integer("feed_forward_length"),
        layers=layers,
        heads=heads,
        kv_heads=integer("attention.head_count_kv", default=heads),
        head_dim=head_dim,
        rope_theta=rope.theta,
        norm_eps=metadata.number(f"{kind}.attention.layer_norm_rms_epsilon", default=1e-5),
        tie_embeddings="lm_head.weight" not in tensors,
        max_positions=integer("context_length"),
        form=LayerForm(
            vectors=architecture.vectors,
            gate=architecture.gate,
            query_scale=(hidden / heads) ** -0.5 if by_width else None,
            ropes=_ropes(metadata, kind, rope, head_dim, layers),
            window=window or None,
        ),
    )


def _ropes(metadata: Metadata, kind: str, rope: Rope, head_dim: int, layers: int) -> tuple[Rope | None, ...]:
    """Returns the rotary positions of each layer, empty if all have only a base."""
    architecture, path = ARCHITECTURES[kind], metadata.path
    if architecture.without_rotary is not None:
        return tuple(None if (layer + 1) % architecture.without_rotary == 0 else rope for layer in range(layers))
    if architecture.full_every is not None:
        every = metadata.integer(f"{kind}.attention.sliding_window_pattern", default=architecture.full_every)
        if every < 1:
            raise UserError(f"{path}: {kind}.attention.sliding_window_pattern is {every}, not 1 or more.")
        local = rope_of({}, metadata.number(f"{kind}.rope.freq_base_swa", default=10_000.0), head_dim, path)
        return tuple(local if (layer + 1) % every else rope for layer in range(layers))
    return (rope,) * layers if rope.divisors else ()


def _rope(metadata: Metadata, kind: str, head_dim: int, stored: TensorPlace | None) -> Rope:
    """Returns the rotary positions of layers that see all positions; `stored` has further divisors."""
    path, scaling = metadata.path, metadata.optional(f"{kind}.rope.scaling.type")
    parameters = {
        "rope_type": "default" if scaling in (None, "none") else scaling,
        "factor": metadata.number(f"{kind}.rope.scaling.factor", default=1.0),
    }
    rope = rope_of(parameters, metadata.number(f"{kind}.rope.freq_base", default=10_000.0), head_dim, path)
    if stored is None:
        return rope
    if stored.type.name != "F32" or stored.shape != (head_dim // 2,):
        raise UserError(
            f"{path}: {DIVISORS} has the shape {stored.shape} and the type {stored.type.name}, but heads of "
            f"{head_dim} need {head_dim // 2} values of type F32: fetch the file again."
        )
    divisors = rope.divisors or (1.0,) * (head_dim // 2)
    return Rope(rope.theta, tuple(one * float(other) for one, other in zip(divisors, stored.read(), strict=True)))


def _architecture(metadata: Metadata) -> tuple[str, Architecture]:
    """Returns the name and the properties of a supported architecture; refuses unsupported keys."""
    kind = metadata.required("general.architecture")
    if kind not in ARCHITECTURES:
        raise UserError(
            f"{metadata.path} is a {str(kind)[:40]!r} model: only {', '.join(ARCHITECTURES)} are supported in GGUF "
            "files; give others as a Hugging Face folder."
        )
    require_plain(metadata, "split.count", (0, 1))
    for key in metadata.keys_below(f"{kind}."):
        if key not in UNDERSTOOD | ARCHITECTURES[kind].keys:
            require_plain(metadata, f"{kind}.{key}", NEUTRAL.get(key, ()))
    return kind, ARCHITECTURES[kind]


def _heads(config: LlamaConfig, tensor: str) -> int:
    """Returns the number of heads whose rows GGUF permutes in this tensor; 0 for all other tensors."""
    if tensor.endswith(".q_proj.weight"):
        return config.heads
    return config.kv_heads if tensor.endswith(".k_proj.weight") else 0


def _read_tensor(entry: TensorPlace, path: Path) -> torch.Tensor:
    import torch  # takes seconds, and a run with cached programs needs no tensors

    try:
        values = gguf.dequantize(entry.read(), entry.type)
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: {entry.name} can't be read any more ({error}): copy the file again.") from error
    # The file is mapped read-only, but torch needs its own memory.
    return torch.from_numpy(np.array(values, dtype=np.float32, copy=True))
