"""Converts text to token ids and back, whatever the tokenizer's source.

Three families are built here on the `tokenizers` library: byte-level BPE (GPT-2, SmolLM2), the scored BPE of
SentencePiece with byte fallback (Llama 2, TinyLlama), and our own small byte-level one for random models. Tokenizers
from a tokenizer.json, which can contain anything, are in foreign_tokenizer.py.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import tokenizers
from tokenizers import AddedToken, decoders, models, normalizers, pre_tokenizers

#: Names of the supported byte-level pre-tokenizers (`tokenizer.ggml.pre`).
BYTE_LEVEL_CUTS = ("gpt-2", "smollm", "llama-bpe", "qwen2")
CUTS_WITH_BOS = ("llama-bpe",)
"""Those whose sequences start with the token unless a file says otherwise."""

_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,%d}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|"
    r"\s+(?!\S)|\s+"
)
"""The word pattern of Llama 3's and Qwen 2's tokenizer.json; %d is the most digits per token."""
_DIGITS = {"llama-bpe": 3, "qwen2": 1}

SPACE = "\N{LOWER ONE EIGHTH BLOCK}"
"""Represents a space in SentencePiece's vocabularies."""

#: Words that, with their leading space, are single tokens in the tokenizer of random models; so are their prefixes.
COMMON_WORDS = (
    "It was great terrible good bad the and of to is that this film movie story with for not but very from "
    "have one all you what ending acting plot never watch again time more about would scenes music"
)
BYTE_LEVEL_SPECIALS = ("<pad>", "<bos>", "<eos>")


@dataclass(frozen=True)
class Tokenizer(ABC):
    """Encodes text without ever taking part of it for a special token: a review that contains `</s>` stays a review.

    `adds_bos`: sequences of this model start with `bos_id`. `pad_id` is always masked.
    """

    bos_id: int | None
    eos_id: int | None
    pad_id: int
    adds_bos: bool

    @property
    def prefix(self) -> list[int]:
        """The start of every sequence: the beginning-of-sequence token, or nothing."""
        return [self.bos_id] if self.adds_bos and self.bos_id is not None else []

    def encode(self, text: str) -> list[int]:
        """Returns the ids of the text, without special tokens."""
        (ids,) = self.encode_many([text])
        return ids

    @abstractmethod
    def encode_many(self, texts: Sequence[str]) -> list[list[int]]:
        """Encodes each text, on all cores."""

    @abstractmethod
    def decode(self, ids: Sequence[int]) -> str:
        """Decodes the ids; special tokens are left out."""

    @abstractmethod
    def reachable_from(self, start: int) -> list[int]:
        """Returns the ids from `start` on that text can become; special tokens are never among these.

        Except a special token whose characters the vocabulary would join anyway, and the one for unknown words.
        """


@dataclass(frozen=True)
class LibraryTokenizer(Tokenizer):
    """A tokenizer of the library, in this process."""

    backend: tokenizers.Tokenizer

    def __post_init__(self) -> None:
        self.backend.no_truncation()
        self.backend.no_padding()
        self.backend.encode_special_tokens = True

    @property
    def vocab_size(self) -> int:
        """One more than the highest token id."""
        return max(self.backend.get_vocab(with_added_tokens=True).values()) + 1

    def reachable_from(self, start: int) -> list[int]:
        added = self.backend.get_added_tokens_decoder()
        special = {index: token.content for index, token in added.items() if token.special}
        unknown = getattr(self.backend.model, "unk_token", None)
        return [
            index
            for token, index in self.backend.get_vocab(with_added_tokens=True).items()
            if index >= start and (index not in special or token == unknown or index in self.encode(special[index]))
        ]

    def encode_many(self, texts: Sequence[str]) -> list[list[int]]:
        return [list(one.ids) for one in self.backend.encode_batch(list(texts), add_special_tokens=False)]

    def decode(self, ids: Sequence[int]) -> str:
        return str(self.backend.decode(list(ids), skip_special_tokens=True))


def byte_level_tokenizer() -> LibraryTokenizer:
    """Returns the tokenizer of random models: 256 bytes, three special tokens and the prefixes of some common words.

    Every merge extends a word, from its leading space, by one letter, so a word becomes its longest known prefix.
    """
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: index for index, token in enumerate([*BYTE_LEVEL_SPECIALS, *letters])}
    merges: list[tuple[str, str]] = []
    for word in COMMON_WORDS.split():
        grown = "\N{LATIN CAPITAL LETTER G WITH DOT ABOVE}"  # a space, in the byte-level alphabet
        for letter in word:
            if grown + letter not in vocabulary:
                vocabulary[grown + letter] = len(vocabulary)
                merges.append((grown, letter))
            grown += letter
    backend = _byte_level(vocabulary, merges, pre_tokenizers.ByteLevel(add_prefix_space=False))
    backend.add_special_tokens(list(BYTE_LEVEL_SPECIALS))
    return LibraryTokenizer(bos_id=1, eos_id=2, pad_id=0, adds_bos=True, backend=backend)


def byte_level_bpe(tokens: Sequence[str], merges: Sequence[str], cut: str) -> tokenizers.Tokenizer:
    """Builds a byte-level BPE from a list of tokens (index = id) and merges (`left right`); `cut` is one of
    BYTE_LEVEL_CUTS.
    """
    pairs = []
    for merge in merges:
        left, _, right = merge.partition(" ")
        pairs.append((left, right))
    backend = _byte_level({token: index for index, token in enumerate(tokens)}, pairs, _pre_tokenizer(cut))
    # A word that is in the vocabulary becomes one token, even if no merges lead to it.
    backend.model.ignore_merges = cut == "llama-bpe"
    if cut == "qwen2":
        backend.normalizer = normalizers.NFC()
    return backend


def scored_bpe(
    tokens: Sequence[str], scores: Sequence[float], unknown_id: int, *, adds_space: bool = True
) -> tokenizers.Tokenizer:
    """Builds SentencePiece's BPE: of all neighbours that form a known piece, the best scored are merged first.

    With `adds_space`, a space is added before the text. The order comes from ranked merges: every split of a piece into
    two known ones, ranked by the score of the whole (Kudo & Richardson 2018). Characters without a piece fall back to
    `<0xNN>` bytes.
    """
    vocabulary = {token: index for index, token in enumerate(tokens)}
    ranked = []
    for index, piece in enumerate(tokens):
        for cut in range(1, len(piece)):
            left, right = piece[:cut], piece[cut:]
            if left in vocabulary and right in vocabulary:
                ranked.append((-scores[index], vocabulary[left], vocabulary[right], (left, right)))
    merges = [pair for *_, pair in sorted(ranked)]
    backend = tokenizers.Tokenizer(
        models.BPE(vocab=vocabulary, merges=merges, unk_token=tokens[unknown_id], fuse_unk=True, byte_fallback=True)
    )
    spaces, text = (
        normalizers.Replace(" ", SPACE),
        [decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse()],
    )
    backend.normalizer = normalizers.Sequence([normalizers.Prepend(SPACE), spaces]) if adds_space else spaces
    backend.decoder = decoders.Sequence([*text, decoders.Strip(" ", 1, 0)] if adds_space else text)
    return backend


def padding_id(pad_id: int | None, eos_id: int | None) -> int:
    """Returns the padding id: padding is masked, so any id of the vocabulary will do if the model names none."""
    if pad_id is not None and pad_id >= 0:
        return pad_id
    return eos_id if eos_id is not None else 0


def mark_special(backend: tokenizers.Tokenizer, special: Sequence[str], whole: Sequence[str]) -> None:
    """Registers control tokens, which decoding leaves out, and user-defined tokens, which match as whole texts."""
    backend.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in special])
    backend.add_tokens([AddedToken(token, normalized=False) for token in whole])


def _byte_level(
    vocabulary: dict[str, int], merges: list[tuple[str, str]], cut: pre_tokenizers.PreTokenizer
) -> tokenizers.Tokenizer:
    backend = tokenizers.Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    backend.pre_tokenizer = cut
    backend.decoder = decoders.ByteLevel()
    return backend


def _pre_tokenizer(cut: str) -> pre_tokenizers.PreTokenizer:
    words = pre_tokenizers.ByteLevel(add_prefix_space=False)
    if cut == "smollm":
        return pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), words])
    if cut in _DIGITS:
        pieces = pre_tokenizers.Split(tokenizers.Regex(_WORDS % _DIGITS[cut]), "isolated")
        return pre_tokenizers.Sequence([pieces, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    return words
