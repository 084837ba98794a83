"""A model's weights under canonical names, with each tensor created on access."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections import ChainMap
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from foundation.errors import UserError
from workloads.models.config import LlamaConfig
from workloads.models.tokenizer import Tokenizer, padding_id

if TYPE_CHECKING:
    import torch


#: Tensors that some checkpoints contain although they follow from the configuration.
DERIVED_SUFFIX = "rotary_emb.inv_freq"


Digest = Callable[[Path], str]
"""Identifies a file by its content; for files that are only inspected, the function may skip reading."""


class LazyTensors(Mapping[str, "torch.Tensor"]):
    """A state dict whose tensors are read, dequantized or drawn at each access.

    A model of 7 billion values can thus be quantized without ever being completely in memory.
    Nothing is cached: keep a reference to a tensor that is needed twice. `dict(tensors)` gives an ordinary state dict.
    """

    def __init__(self, sources: Mapping[str, Callable[[], torch.Tensor]]) -> None:
        self._sources = dict(sources)

    def __getitem__(self, name: str) -> torch.Tensor:
        """Returns the tensor; raises `UserError` if it has a NaN or an infinity, which would spoil every loss."""
        tensor = self._sources[name]()
        if not all_finite(tensor):
            bad = tensor.numel() - int(tensor.isfinite().sum())
            raise UserError(
                f"{bad} of {tensor.numel()} values of the weights' {name} are not finite: get the model's files again."
            )
        return tensor

    def __contains__(self, name: object) -> bool:
        return name in self._sources  # Mapping's own method would create the tensor

    def __iter__(self) -> Iterator[str]:
        return iter(self._sources)

    def __len__(self) -> int:
        return len(self._sources)


def all_finite(values: torch.Tensor) -> bool:
    """Returns whether `values` have neither NaN nor infinity, in which case their sum has none, unless it overflows."""
    return bool(values.sum().isfinite()) or bool(values.isfinite().all())


@dataclass(frozen=True)
class ModelWeights:
    """A model ready to be built.

    `state` maps the names of `config.tensor_shapes()` to float32 or float16 tensors of these shapes, in that order.
    `sha256` identifies the weights: it is the hash of their files, or of shape and seed if they are random.
    `source` describes where they come from.
    """

    name: str
    config: LlamaConfig
    state: Mapping[str, torch.Tensor]
    sha256: str
    tokenizer: Tokenizer
    source: str

    def with_tensors(self, others: Mapping[str, torch.Tensor]) -> ModelWeights:
        """Returns the model with additional tensors; none of its own is loaded before it is accessed."""
        state = ChainMap(dict(others), self.state)  # type: ignore[arg-type] # a state is never written to
        return dataclasses.replace(self, state=state)


def check_tensors(
    config: LlamaConfig,
    found: Mapping[str, tuple[int, ...]],
    where: Path,
    stored_name: Callable[[str], str] = str,
) -> None:
    """Raises `UserError` unless `found` (name -> shape) has exactly the tensors that `config` requires.

    `stored_name` returns a tensor's name in the file. A tied model may contain a copy of its output head. Any other
    surplus tensor belongs to a feature that our model does not have (such as a bias), and ignoring it would compute
    something else.
    """
    require_enough_tensors(config.layers, len(found), where)
    expected = {stored_name(name): shape for name, shape in config.tensor_shapes().items()}
    missing = [name for name in expected if name not in found]
    if missing:
        raise UserError(
            f"{where} lacks {len(missing)} of {len(expected)} tensors, the first is {missing[0]}: "
            "get the complete model."
        )
    surplus = [
        name
        for name in found
        if name not in expected and name != "lm_head.weight" and not name.endswith(DERIVED_SUFFIX)
    ]
    if surplus:
        raise UserError(
            f"{where} has {len(surplus)} tensors that are not supported for its architecture, the first is "
            f"{surplus[0]}: use a model without these."
        )
    for name, shape in expected.items():
        if found[name] != shape:
            raise UserError(
                f"{where}: {name} has shape {list(found[name])}, but its configuration requires {list(shape)}: get "
                "configuration and weights from the same source."
            )


def require_enough_tensors(layers: int, tensors: int, where: Path) -> None:
    """Raises `UserError` for more layers than tensors, before a nonsensical count makes a huge list."""
    if layers > tensors:
        raise UserError(f"{where} has {tensors} tensors, too few for {layers} layers: get the complete model.")


def within_vocabulary(config: LlamaConfig, tokenizer: Tokenizer, where: Path) -> Tokenizer:
    """Returns the tokenizer with its padding id moved into the vocabulary: it is masked, so any known id will do.

    Raises `UserError` if text, or the token before it, can become an id that the embedding does not have. A special
    token beyond it (such as a `[PAD]` that was added later) is harmless, as text never becomes one.
    """
    beyond = tokenizer.reachable_from(config.vocab_size)
    beyond += [index for index in tokenizer.prefix if index >= config.vocab_size]
    if beyond:
        raise UserError(
            f"{where}: the tokenizer gives ids up to {max(beyond)}, but the model has only {config.vocab_size} tokens: "
            "use the tokenizer that belongs to the model."
        )
    if tokenizer.pad_id < config.vocab_size:
        return tokenizer
    known_end = tokenizer.eos_id if tokenizer.eos_id is not None and tokenizer.eos_id < config.vocab_size else None
    return dataclasses.replace(tokenizer, pad_id=padding_id(None, known_end))


def file_sha256(path: Path) -> str:
    """Returns the sha256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def document_sha256(document: object) -> str:
    """Returns the sha256 of a document's canonical JSON, in hexadecimal."""
    return hashlib.sha256(json.dumps(document, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
