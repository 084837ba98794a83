"""What a method's step consists of: a model with adapters, in parts, and the sizes of a step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from workloads.models.config import LlamaConfig
from workloads.models.llama import Rotary
from workloads.workload import AdapterSlot, Workload


@dataclass(frozen=True)
class Parts:
    """A quantized model with adapters, in the parts that make up a step.

    `products`: the type of products' operands. `frozen_a` makes the A of a slot, in that type. `rotary`: the tables of
    each block.
    """

    config: LlamaConfig
    layout: tuple[AdapterSlot, ...]
    embedding: nn.Module
    blocks: Sequence[nn.Module]
    head: nn.Module
    products: torch.dtype
    frozen_a: Callable[[AdapterSlot], Tensor]
    rotary: Sequence[Rotary] = ()


@dataclass(frozen=True)
class Shape:
    """Sizes of a program: b rows of T tokens, the last K of which predict labels, and the rows of a chunk.

    `results`: how many rows at the end of a sequence the last layer computes, K or T.
    """

    batch: int
    length: int
    answers: int
    results: int
    rows_per_chunk: int

    @classmethod
    def of(cls, workload: Workload) -> Shape:
        """Returns the sizes of a workload's program."""
        return cls(workload.b, workload.T, workload.answers, workload.results, workload.setting.rows_per_chunk)
