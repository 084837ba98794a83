"""One P-RGE training step as one `forward`: update, perturb, run the queries, project, remember.

    g_i = (L(B + eps z_i) - L(B - eps z_i)) / (2 eps)          B <- B - lr * mean over i of g_i z_i

The update a step finds is left pending and applied by the next one, so that a step needs forward passes only. With the
outer loop parallel the batch stands q times side by side, with the inner loop parallel once for + and once for -; a
loop that is not parallel is a sequence of passes inside the same program.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from workloads.adapter_layout import AdapterSlot, adapter_values
from workloads.prge.ends import Ends
from workloads.prge.passes import Loops
from workloads.prge.perturbation import Noise


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
        """The program of docs/contracts.md: -> (losses float32 [2, q], row_losses float32 [2, q, b])."""
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
