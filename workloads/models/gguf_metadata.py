"""The metadata of a GGUF file, with typed access, and its tokenizer."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import tokenizers

from foundation.errors import UserError
from workloads.models.gguf_header import GgufHeader
from workloads.models.tokenizer import (
    BYTE_LEVEL_CUTS,
    CUTS_WITH_BOS,
    LibraryTokenizer,
    byte_level_bpe,
    mark_special,
    padding_id,
    scored_bpe,
)

T = TypeVar("T")

MOST_PIECE_CHARS = 256
"""The longest SentencePiece token; by default, SentencePiece makes none above 16 characters."""


class Metadata:
    """The key-value pairs of a GGUF file, with typed access."""

    def __init__(self, header: GgufHeader, path: Path) -> None:
        self._values = header.values
        self.path = path

    def optional(self, key: str) -> Any:
        """Returns the value of `key`, or None."""
        value = self._values.get(key)
        # A float32 such as 1e-05 reads as 9.99999974e-06, so the shortest decimal with the same value is used.
        return float(str(np.float32(value))) if isinstance(value, float) else value

    def keys_below(self, prefix: str) -> list[str]:
        """Returns the keys that start with `prefix`, without it."""
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


def require_plain(metadata: Metadata, key: str, values: tuple[object, ...]) -> None:
    """Raises `UserError` if the key is there with another value: it would change what the model computes."""
    value = metadata.optional(key)
    if value is not None and value not in values:
        raise UserError(
            f"{metadata.path}: {key} is {str(value)[:40]!r}, which is not supported: use a model without it."
        )


#: Keys of the tokenizer that change how text is cut, with the values of our tokenizers, by family.
TOKENIZER_NEUTRAL: dict[str, dict[str, tuple[object, ...]]] = {
    "gpt2": {"add_space_prefix": (False,), "remove_extra_whitespaces": (False,)},
    "llama": {"add_space_prefix": (True, False), "remove_extra_whitespaces": (False,)},
}
TOKENIZER_UNDERSTOOD = re.compile(
    r"model|pre|tokens|scores|merges|token_type|token_type_count|add_(bos|eos|sep)_token|\w+_token_ids?"
)

#: Values of `tokenizer.ggml.token_type`.
NORMAL, UNKNOWN, CONTROL, USER_DEFINED = 1, 2, 3, 4


def read_tokenizer(metadata: Metadata) -> LibraryTokenizer:
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
            require_plain(metadata, f"tokenizer.ggml.{key}", TOKENIZER_NEUTRAL[family].get(key, ()))
    typed = list(zip(tokens, types, strict=True))
    mark_special(
        backend,
        special=[token for token, kind in typed if kind in (UNKNOWN, CONTROL)],
        whole=[token for token, kind in typed if kind == USER_DEFINED],
    )
    bos, eos, pad = (_token_id(metadata, kind, len(tokens)) for kind in ("bos", "eos", "padding"))
    adds_bos = metadata.optional("tokenizer.ggml.add_bos_token")
    by_default = family == "llama" or metadata.optional("tokenizer.ggml.pre") in CUTS_WITH_BOS
    return LibraryTokenizer(
        bos_id=bos,
        eos_id=eos,
        pad_id=padding_id(pad, eos),
        # By default, sequences of SentencePiece models and of Llama 3 start with the token, those of other byte-level
        # ones don't.
        adds_bos=bos is not None and (by_default if adds_bos is None else bool(adds_bos)),
        backend=backend,
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
            f"{metadata.path}: the tokenizer cuts text as {str(cut)[:40]!r}, only {', '.join(BYTE_LEVEL_CUTS)} are "
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
            f"{metadata.path}: a token has {longest} characters, but the limit is {MOST_PIECE_CHARS}: fetch the file "
            "again."
        )
    unknown_id = _token_id(metadata, "unknown", len(tokens))
    adds_space = metadata.optional("tokenizer.ggml.add_space_prefix") is not False
    return scored_bpe(tokens, scores, unknown_id if unknown_id is not None else 0, adds_space=adds_space)


def _token_id(metadata: Metadata, kind: str, count: int) -> int | None:
    key = f"tokenizer.ggml.{kind}_token_id"
    if metadata.optional(key) is None:
        return None
    value = metadata.integer(key)
    if not 0 <= value < count:
        raise UserError(f"{metadata.path}: {key} is {value}, but there are only {count} tokens: fetch the file again.")
    return value
