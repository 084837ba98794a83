"""The tokenizer inside a GGUF file's metadata."""

from __future__ import annotations

from typing import TYPE_CHECKING

import tokenizers

from foundation.errors import UserError
from workloads.tokenizer import BYTE_LEVEL_CUTS, Tokenizer, byte_level_bpe, mark_special, padding_id, scored_bpe

if TYPE_CHECKING:
    from workloads.models.gguf_file import Metadata

#: Values of `tokenizer.ggml.token_type`.
NORMAL, UNKNOWN, CONTROL, USER_DEFINED = 1, 2, 3, 4


def read_tokenizer(metadata: Metadata) -> Tokenizer:
    """The tokenizer of a GGUF file: byte-level BPE (`gpt2`) or SentencePiece's scored BPE (`llama`).

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
        # SentencePiece models begin with the token unless told otherwise, byte-level ones do not.
        adds_bos=bos is not None and (family == "llama" if adds_bos is None else bool(adds_bos)),
    )


def _byte_level(metadata: Metadata, tokens: list[str]) -> tokenizers.Tokenizer:
    cut = metadata.optional("tokenizer.ggml.pre") or "gpt-2"
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
