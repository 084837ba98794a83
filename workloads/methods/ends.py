"""The operators around a step's layers: tokens in, losses and projected gradients out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor, nn

from workloads.methods import operators as step_ops
from workloads.methods.parts import Parts, Shape
from workloads.quantize.frozen import Frozen
from workloads.workload import Workload


class Ends(Protocol):
    """The operators around the layers, as workloads.methods.operators describes them."""

    def embed(self, embedding: nn.Module, tokens: Tensor, slices: int) -> Tensor:
        """tokens int64 [b, T] -> hidden states float32 [slices, b * T, hidden]."""

    def attention_bias(self, first: Tensor, length: int, slices: int) -> Tensor:
        """first int64 [b] -> [slices * b, 1, 1, T, T]."""

    def answer_rows(self, x: Tensor, length: int, answers: int) -> Tensor:
        """Hidden states [slices, b * T, hidden] -> [slices * b * K, hidden]."""

    def answer_losses(self, logits: Tensor, labels: Tensor) -> Tensor:
        """logits [slices * b * K, vocabulary] -> float32 [slices, b]."""

    def collect_losses(self, parts: Sequence[Tensor], signs: Sequence[int]) -> Tensor:
        """losses of the chunks -> float32 [2, q, b], or [1, slices, b] if all are +."""

    def mean_losses(self, row_losses: Tensor, labels: Tensor) -> Tensor:
        """float32 [s, q, b] -> [s, q]."""

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
    """The runner's kernels. `alone`: only the embedding reads its table during a step."""

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
    if isinstance(embedding, Frozen):
        return embedding.weight, embedding.scales
    return embedding.get_parameter("weight"), []


def answers_of(ends: Ends, x: Tensor, shape: Shape) -> Tensor:
    """Returns the answer rows of the last layer's result, [slices * b * K, hidden]."""
    if shape.results < shape.length:
        return x.flatten(0, 1)
    return ends.answer_rows(x, shape.length, shape.answers)


def ends_of(workload: Workload, parts: Parts) -> Ends:
    """Returns the ends of a workload's step: the runner's kernels, or stock operators."""
    if workload.noise == "stock":
        return StockEnds()
    # If the runner multiplies the head, a tied table is also the head's weight; a delegate has its own packed copy.
    return KernelEnds(not parts.config.tie_embeddings or not workload.setting.multiplies_head(workload.noise))
