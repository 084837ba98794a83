"""Llama models from GGUF files: metadata, quantized tensors, the order of rotary's rows, and the tokenizer inside."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import gguf
import numpy as np
import tokenizers

from foundation.errors import UserError
from foundation.foreign_files import open_regular
from workloads.models.config import LlamaConfig
from workloads.models.gguf_header import GgufHeader, TensorPlace, read_header
from workloads.models.tokenizer import BYTE_LEVEL_CUTS, Tokenizer, byte_level_bpe, mark_special, padding_id, scored_bpe
from workloads.models.weights import (
    Digest,
    LazyTensors,
    ModelWeights,
    check_tensors,
    file_sha256,
    within_vocabulary,
)

if TYPE_CHECKING:
    import torch


MOST_PIECE_CHARS = 256
"""Of a token of SentencePiece, which makes none above 16 unless it is asked to."""

#: Values of `tokenizer.ggml.token_type`.
NORMAL, UNKNOWN, CONTROL, USER_DEFINED = 1, 2, 3, 4


def read_tokenizer(metadata: Metadata) -> Tokenizer:
    """Returns the tokenizer of a GGUF file: byte-level BPE (`gpt2`) or SentencePiece's scored BPE (`llama`).

    Raises `UserError` for other families and for lists that do not fit together.
    """
    family = metadata.required("tokenizer.ggml.model")
    tokens = metadata.listing("tokenizer.ggml.tokens", str)
    has_types = metadata.optional("tokenizer.ggml.token_type") is not None
    types = metadata.listing("tokenizer.ggml.token_type", int) if has_types else [NORMAL] * len(tokens)
    if len(types) != len(tokens) or len(set(tokens)) != len(tokens):
        raise UserError(
            f"{metadata.path}: the tokenizer's {len(tokens)} tokens, {len(set(tokens))} of them distinct, and "
            f"{len(types)} types do not fit together: fetch the file again."
        )
    if family == "gpt2":
        backend = _byte_level(metadata, tokens)
    elif family == "llama":
        backend = _scored(metadata, tokens)
    else:
        raise UserError(f"{metadata.path}: tokenizers of the family {str(family)[:40]!r} are not supported.")
    for key in metadata.keys_below("tokenizer.ggml."):
        if not TOKENIZER_UNDERSTOOD.fullmatch(key):
            _require_plain(metadata, f"tokenizer.ggml.{key}", TOKENIZER_NEUTRAL[family].get(key, ()))
    typed = list(zip(tokens, types, strict=True))
    mark_special(
        backend,
        special=[token for token, kind in typed if kind in (UNKNOWN, CONTROL)],
        whole=[token for token, kind in typed if kind == USER_DEFINED],
    )
    bos, eos, pad = (_token_id(metadata, kind, len(tokens)) for kind in ("bos", "eos", "padding"))
    adds_bos = metadata.optional("tokenizer.ggml.add_bos_token")
    return Tokenizer(
        backend,
        bos_id=bos,
        eos_id=eos,
        pad_id=padding_id(pad, eos),
        # SentencePiece models begin with the token by default, byte-level ones do not.
        adds_bos=bos is not None and (family == "llama" if adds_bos is None else bool(adds_bos)),
    )


def _byte_level(metadata: Metadata, tokens: list[str]) -> tokenizers.Tokenizer:
    cut = metadata.optional("tokenizer.ggml.pre")
    if cut is None:
        raise UserError(
            f"{metadata.path} has no tokenizer.ggml.pre, so how its tokenizer cuts text is unknown: convert the model "
            "again with a current converter, or give it as a Hugging Face folder with its tokenizer.json."
        )
    if cut not in BYTE_LEVEL_CUTS:
        raise UserError(
            f"{metadata.path}: the tokenizer cuts text as {str(cut)[:40]!r}, only {' and '.join(BYTE_LEVEL_CUTS)} are "
            "supported: give the model as a Hugging Face folder with its tokenizer.json."
        )
    merges = metadata.listing("tokenizer.ggml.merges", str)
    known = set(tokens)
    for merge in merges:
        left, _, right = merge.partition(" ")
        if not {left, right, left + right} <= known:
            raise UserError(f"{metadata.path}: the merge {merge[:40]!r} makes no known token: fetch the file again.")
    return byte_level_bpe(tokens, merges, cut)


def _scored(metadata: Metadata, tokens: list[str]) -> tokenizers.Tokenizer:
    scores = metadata.listing("tokenizer.ggml.scores", float)
    if len(scores) != len(tokens):
        raise UserError(f"{metadata.path}: {len(tokens)} tokens but {len(scores)} scores: fetch the file again.")
    if (longest := max(map(len, tokens), default=0)) > MOST_PIECE_CHARS:  # each is tried at every cut
        raise UserError(
            f"{metadata.path}: a token has {longest} characters, {MOST_PIECE_CHARS} is the limit: fetch the file again."
        )
    unknown_id = _token_id(metadata, "unknown", len(tokens))
    return scored_bpe(tokens, scores, unknown_id if unknown_id is not None else 0)


def _token_id(metadata: Metadata, kind: str, count: int) -> int | None:
    key = f"tokenizer.ggml.{kind}_token_id"
    if metadata.optional(key) is None:
        return None
    value = metadata.integer(key)
    if not 0 <= value < count:
        raise UserError(f"{metadata.path}: {key} is {value}, but there are only {count} tokens: fetch the file again.")
    return value


T = TypeVar("T")

#: Keys of the architecture that `_config` reads, and those that say nothing about the arithmetic.
UNDERSTOOD = frozenset(
    (
        *("vocab_size", "context_length", "embedding_length", "block_count", "feed_forward_length"),
        *("attention.head_count", "attention.head_count_kv", "attention.layer_norm_rms_epsilon"),
        *("attention.key_length", "attention.value_length", "rope.dimension_count", "rope.freq_base"),
        "tensor_data_layout",
    )
)
#: Other keys of the architecture, with the values that change nothing.
NEUTRAL: dict[str, tuple[object, ...]] = {
    "expert_count": (0,),
    "expert_used_count": (0,),
    "rope.scaling.type": ("none",),
    "rope.scaling.factor": (1.0,),
    "rope.scaling.attn_factor": (1.0,),
    "rope.scaling.finetuned": (False,),
    "rope.scale_linear": (1.0,),
    "use_parallel_residual": (False,),
    "attention.causal": (True,),
    "attention.sliding_window": (0,),
    "attention.clamp_kqv": (0.0,),
    "attention.max_alibi_bias": (0.0,),
    "logit_scale": (1.0,),
    "residual_scale": (1.0,),
    "embedding_scale": (1.0,),
}
#: Keys of the tokenizer that change how text is cut, with the values that the tokenizers here have, by family.
TOKENIZER_NEUTRAL: dict[str, dict[str, tuple[object, ...]]] = {
    "gpt2": {"add_space_prefix": (False,), "remove_extra_whitespaces": (False,)},
    "llama": {"add_space_prefix": (True,), "remove_extra_whitespaces": (False,)},
}
TOKENIZER_UNDERSTOOD = re.compile(
    r"model|pre|tokens|scores|merges|token_type|token_type_count|add_(bos|eos|sep)_token|\w+_token_ids?"
)

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


def load_gguf(name: str, path: Path, digest: Digest | None = None) -> ModelWeights:
    """Returns the model of a GGUF file; tensors are dequantized to float32 at each access.

    Raises `UserError` for a file that is missing, truncated, not a plain Llama, or incomplete.
    """
    header = _open(path)
    metadata = Metadata(header, path)
    tensors = {canonical_name(tensor.name): tensor for tensor in header.tensors}
    shapes = {tensor: entry.shape for tensor, entry in tensors.items()}
    config = _config(metadata, shapes)
    check_tensors(config, shapes, path)
    sources: dict[str, Callable[[], torch.Tensor]] = {
        tensor: functools.partial(_read_tensor, tensors[tensor], _heads(config, tensor), path)
        for tensor in config.tensor_shapes()
    }
    tokenizer = within_vocabulary(config, read_tokenizer(metadata), path)
    sha256 = (digest or file_sha256)(path)
    return ModelWeights(name, config, LazyTensors(sources), sha256, tokenizer, source=str(path))


class Metadata:
    """The key-value pairs of a GGUF file, with typed access."""

    def __init__(self, header: GgufHeader, path: Path) -> None:
        self._values = header.values
        self.path = path

    def optional(self, key: str) -> Any:
        """Returns the value of `key`, or None."""
        value = self._values.get(key)
        # A float32 such as 1e-05 reads as 9.99999974e-06: use the shortest decimal that means the same.
        return float(str(np.float32(value))) if isinstance(value, float) else value

    def keys_below(self, prefix: str) -> list[str]:
        """Returns the keys that begin with `prefix`, without it."""
        return [key.removeprefix(prefix) for key in self._values if key.startswith(prefix)]

    def required(self, key: str) -> Any:
        """Returns the value of `key`; raises `UserError` if there is none."""
        value = self.optional(key)
        if value is None:
            raise UserError(f"{self.path} has no {key} in its metadata: get the model as a complete GGUF file.")
        return value

    def integer(self, key: str, default: int | None = None) -> int:
        """Returns a whole number; raises `UserError` if it is something else, or absent without a default."""
        value = self.optional(key) if default is not None else self.required(key)
        if value is None:
            value = default
        if not isinstance(value, int):
            raise UserError(f"{self.path}: {key} should be one whole number for all layers, not {str(value)[:40]!r}.")
        return value

    def number(self, key: str, default: float) -> float:
        """Returns a number; raises `UserError` if it is something else."""
        value = self.optional(key)
        if value is not None and not isinstance(value, int | float):
            raise UserError(f"{self.path}: {key} should be a number, not {str(value)[:40]!r}.")
        return default if value is None else float(value)

    def listing(self, key: str, kind: type[T]) -> list[T]:
        """Returns a list whose entries are all of one type; raises `UserError` if it is something else, or absent."""
        values = self.required(key)
        if not isinstance(values, list) or not all(isinstance(value, kind) for value in values):
            raise UserError(f"{self.path}: {key} should be a list of {kind.__name__}: fetch the file again.")
        return values


def canonical_name(name: str) -> str:
    """Returns the Hugging Face name of a GGUF tensor; an unknown one stays as it is."""
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
                f"{path} is not a GGUF file (it begins with {magic!r}): give a .gguf file or a model folder."
            )
        return read_header(path)
    except OSError as error:
        raise UserError(f"{path} can't be read ({error.strerror}): check the path.") from error
    except ValueError as error:
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
    _require_plain(metadata, "split.count", (0, 1))
    for key in metadata.keys_below("llama."):
        if key not in UNDERSTOOD:
            _require_plain(metadata, f"llama.{key}", NEUTRAL.get(key, ()))


def _require_plain(metadata: Metadata, key: str, values: tuple[object, ...]) -> None:
    """Raises `UserError` if the key is there with another value: it would change what the model computes."""
    value = metadata.optional(key)
    if value is not None and value not in values:
        raise UserError(
            f"{metadata.path}: {key} is {str(value)[:40]!r}, which is not supported: use a plain Llama model."
        )


def _heads(config: LlamaConfig, tensor: str) -> int:
    """Returns the number of heads whose rows GGUF permutes in this tensor; 0 for all other tensors."""
    if tensor.endswith(".q_proj.weight"):
        return config.heads
    return config.kv_heads if tensor.endswith(".k_proj.weight") else 0


def _read_tensor(entry: TensorPlace, heads: int, path: Path) -> torch.Tensor:
    import torch  # takes seconds, and a run with cached programs needs no tensors

    try:
        values = gguf.dequantize(entry.read(), entry.type)
    except NotImplementedError as error:
        raise UserError(
            f"{path}: {entry.name} is stored as {entry.type.name}, which can't be dequantized here: "
            "use a file quantized to Q4_1, Q8_0, F16 or the like."
        ) from error
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: {entry.name} can't be read any more ({error}): copy the file again.") from error
    # The file is mapped read-only and torch wants memory of its own.
    tensor = torch.from_numpy(np.array(values, dtype=np.float32, copy=True))
    return rotary_halves(tensor, heads) if heads else tensor
