"""One P-RGE training step as one `forward`: update, perturb, run the queries, project, remember.

The work before the first layer and after the last is done by the runner's kernels, or by stock operators.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from workloads.methods import operators as step_ops
from workloads.methods.passes import Loops
from workloads.methods.perturbation import Noise
from workloads.quantize.frozen import Frozen
from workloads.workload import AdapterSlot, adapter_values


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
        """losses of the chunks -> float32 [2, q, b]."""

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


@dataclass(frozen=True)
class Shape:
    """Sizes of a program: b rows of T tokens, the last K of which predict labels, and the rows of a chunk."""

    batch: int
    length: int
    answers: int
    rows_per_chunk: int


class PrgeStep(nn.Module):
    """A training step over a frozen model that is given as parts, eager or delegated.

    State: adapter float32 [n], projected_gradient float32 [q] and pending_key int64 [2], what the last step left.
    """

    adapter: Tensor
    projected_gradient: Tensor
    pending_key: Tensor

    def __init__(
        self,
        embedding: nn.Module,
        blocks: Sequence[nn.Module],
        head: nn.Module,
        layout: tuple[AdapterSlot, ...],
        loops: Loops,
        shape: Shape,
        products: torch.dtype,
        noise: Noise,
        ends: Ends,
    ) -> None:
        super().__init__()
        self.embedding, self.blocks, self.head = embedding, nn.ModuleList(blocks), head
        self.layout, self.loops, self.shape, self.products = layout, loops, shape, products
        self.noise, self.ends = noise, ends
        self.register_buffer("adapter", torch.zeros(adapter_values(layout)))
        self.register_buffer("projected_gradient", torch.zeros(loops.queries))
        self.register_buffer("pending_key", torch.zeros(2, dtype=torch.int64))

    def forward(
        self, tokens: Tensor, first: Tensor, labels: Tensor, key: Tensor, lr: Tensor, eps: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Runs the step of docs/contracts.md -> (losses float32 [2, q], row_losses float32 [2, q, b])."""
        adapter = self.noise.update(self.adapter, self.projected_gradient, self.pending_key, lr)
        row_losses = self._row_losses(adapter, tokens, first, labels, key, eps)
        # A row's loss is the sum over its answer tokens; a query's is the mean over all answer tokens of the batch.
        losses = self.ends.mean_losses(row_losses, labels)
        # eps = 0 evaluates: both signs are the same model then, and nothing is left pending.
        gradient = self.ends.gradient(losses, eps)
        self.adapter.copy_(adapter)
        self.projected_gradient.copy_(gradient)
        self.pending_key.copy_(key)
        return losses, row_losses

    def _row_losses(
        self, adapter: Tensor, tokens: Tensor, first: Tensor, labels: Tensor, key: Tensor, eps: Tensor
    ) -> Tensor:
        shape = self.shape
        parts, signs = [], []
        for this in self.loops.passes():
            for chunk in this.chunks(shape.batch * shape.length, shape.rows_per_chunk):
                x = self.ends.embed(self.embedding, tokens, chunk.slices)
                bias = self.ends.attention_bias(first, shape.length, chunk.slices)
                perturbed = self.noise.perturbed(adapter, key, eps, self.layout, chunk)
                for index, block in enumerate(self.blocks):
                    x = block(x, bias, *(b.to(self.products) for b in perturbed(index, x)))
                logits = self.head(self.ends.answer_rows(x, shape.length, shape.answers))
                parts.append(self.ends.answer_losses(logits, labels))
                signs.append(chunk.signs)
        return self.ends.collect_losses(parts, signs)
