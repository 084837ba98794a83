"""Seeded random weights: for tests, and for the shape of a model whose weights are not at hand."""

from __future__ import annotations

import functools
import hashlib
import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from workloads.models.config import LlamaConfig
from workloads.models.weights import LazyTensors, ModelWeights, document_sha256
from workloads.tokenizer import byte_level_tokenizer

if TYPE_CHECKING:
    import torch

#: Part of the weights' hash: change it with anything that changes the values.
SCHEME = "philox normal, deviation 1/sqrt(columns), norms one, version 1"


def random_weights(name: str, config: LlamaConfig, seed: int = 0) -> ModelWeights:
    """Weights of `config` that depend on the seed and the tensor's name alone, float32.

    Matrices are normal with deviation 1/sqrt(columns), so that activations keep their size whatever the width;
    norms are one. Text goes in through the built-in byte-level tokenizer.
    """
    sources = {
        tensor: functools.partial(_draw, tensor, shape, seed) for tensor, shape in config.tensor_shapes().items()
    }
    typed: dict[str, Callable[[], torch.Tensor]] = dict(sources)
    return ModelWeights(
        name=name,
        config=config,
        state=LazyTensors(typed),
        sha256=document_sha256({"scheme": SCHEME, "config": config.as_dict(), "seed": seed}),
        tokenizer=byte_level_tokenizer(),
        source=f"random, seed {seed}",
    )


def _draw(name: str, shape: tuple[int, ...], seed: int) -> torch.Tensor:
    import torch  # takes seconds, and a run whose programs are there asks for no tensor

    if len(shape) == 1:
        return torch.ones(shape)
    key = int.from_bytes(hashlib.sha256(f"{seed}/{name}".encode()).digest()[:16], "little")
    # numpy's sampler, not torch's: torch's vectorised one rounds differently from CPU to CPU.
    values = np.random.Generator(np.random.Philox(key=key)).standard_normal(shape, dtype=np.float32)
    values *= np.float32(1 / math.sqrt(shape[1]))
    return torch.from_numpy(values)
