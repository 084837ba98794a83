"""What a step does before the first layer and after the last: with the runner's kernels, or with stock operators."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor, nn

from workloads.prge import step_ops
from workloads.quantize.int8 import Int8Embedding
from workloads.quantize.nf4 import Nf4Embedding


class Ends(Protocol):
    """The operators around the layers, as workloads.prge.step_ops describes them."""

    def embed(self, embedding: nn.Module, tokens: Tensor, slices: int) -> Tensor:
        """tokens int64 [b, T] -> hidden states float32 [slices, b * T, hidden]."""

    def attention_bias(self, first: Tensor, length: int, slices: int) -> Tensor:
        """first int64 [b] -> [slices * b, 1, 1, T, T]."""

    def answer_rows(self, x: Tensor, length: int, answers: int) -> Tensor:
        """Hidden states [slices, b * T, hidden] -> [slices * b * K, hidden]."""

    def answer_losses(self, logits: Tensor, labels: Tensor) -> Tensor:
        """logits [slices * b * K, vocabulary] -> float32 [slices, b]."""

    def collect_losses(self, parts: Sequence[Tensor], signs: Sequence[int]) -> Tensor:
        """Losses of the chunks -> float32 [2, q, b]."""

    def mean_losses(self, row_losses: Tensor, labels: Tensor) -> Tensor:
        """float32 [2, q, b] -> [2, q]."""

    def gradient(self, losses: Tensor, eps: Tensor) -> Tensor:
        """float32 [2, q] -> [q]."""


class StockEnds:
    """Operators that every ExecuTorch runtime has."""

    attention_bias = staticmethod(step_ops.attention_bias)
    answer_rows = staticmethod(step_ops.answer_rows)
    answer_losses = staticmethod(step_ops.answer_losses)
    collect_losses = staticmethod(step_ops.collect_losses)
    mean_losses = staticmethod(step_ops.mean_losses)
    gradient = staticmethod(step_ops.gradient)

    def embed(self, embedding: nn.Module, tokens: Tensor, slices: int) -> Tensor:
        """tokens int64 [b, T] -> hidden states float32 [slices, b * T, hidden]."""
        x: Tensor = embedding(tokens).to(torch.float32)
        return x.reshape(1, tokens.numel(), -1).repeat(slices, 1, 1)


class KernelEnds:
    """The runner's kernels. `alone`: nothing but the embedding reads its table in the course of a step."""

    def __init__(self, alone: bool) -> None:
        self._alone = alone
        operators = torch.ops.prge
        self.attention_bias, self.answer_rows = operators.attention_bias, operators.answer_rows
        self.answer_losses, self.collect_losses = operators.answer_losses, operators.collect_losses
        self.mean_losses, self.gradient = operators.mean_losses, operators.gradient

    def embed(self, embedding: nn.Module, tokens: Tensor, slices: int) -> Tensor:
        """tokens int64 [b, T] -> hidden states float32 [slices, b * T, hidden]."""
        table, scales = _table(embedding)
        result: Tensor = torch.ops.prge.embed(tokens, table, scales, slices, self._alone)
        return result


def _table(embedding: nn.Module) -> tuple[Tensor, list[Tensor]]:
    if isinstance(embedding, Int8Embedding):
        return embedding.weight, [embedding.scale]
    if isinstance(embedding, Nf4Embedding):
        return embedding.packed, [embedding.absmax]
    return embedding.get_parameter("weight"), []
