"""One P-RGE training step as one `forward`: update, perturb, run the queries, project, remember.

    g_i = (L(B + eps z_i) - L(B - eps z_i)) / (2 eps)          B <- B - lr * mean over i of g_i z_i

The update a step finds is left pending and applied by the next one, so that a step needs forward passes only. With the
outer loop parallel the batch stands q times side by side, with the inner loop parallel once for + and once for -; a
loop that is not parallel is a sequence of passes inside the same program.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from workloads.adapter_layout import AdapterSlot, adapter_values
from workloads.models.llama import attention_bias
from workloads.prge.passes import BOTH, MINUS, PLUS, Loops
from workloads.prge.perturbation import Noise, Perturbed


@dataclass(frozen=True)
class Shape:
    """Sizes of a program: b rows of T tokens, the last K of which predict labels."""

    batch: int
    length: int
    answers: int = 1


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
        dtype: torch.dtype,
        noise: Noise,
    ) -> None:
        super().__init__()
        self.embedding, self.blocks, self.head = embedding, nn.ModuleList(blocks), head
        self.layout, self.loops, self.shape, self.dtype, self.noise = layout, loops, shape, dtype, noise
        self.register_buffer("adapter", torch.zeros(adapter_values(layout)))
        self.register_buffer("projected_gradient", torch.zeros(loops.queries))
        self.register_buffer("pending_key", torch.zeros(2, dtype=torch.int64))

    def forward(
        self, tokens: Tensor, first: Tensor, labels: Tensor, key: Tensor, lr: Tensor, eps: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The program of docs/contracts.md: -> (losses float32 [2, q], row_losses float32 [2, q, b])."""
        adapter = self.noise.update(self.adapter, self.projected_gradient, self.pending_key, lr)
        row_losses = self._row_losses(adapter, tokens, first, labels, key, eps)
        answers = (labels >= 0).to(torch.float32).sum()
        # A row's loss is the sum over its answer tokens; a query's is the mean over all answer tokens of the batch.
        losses = row_losses.sum(dim=-1) / answers
        # eps = 0 evaluates: both signs are the same model then, and nothing is left pending.
        active = (eps > 0).to(torch.float32)
        gradient = (losses[0] - losses[1]) * active / (2.0 * eps + (1.0 - active))
        self.adapter.copy_(adapter)
        self.projected_gradient.copy_(gradient)
        self.pending_key.copy_(key)
        return losses, row_losses

    def _row_losses(
        self, adapter: Tensor, tokens: Tensor, first: Tensor, labels: Tensor, key: Tensor, eps: Tensor
    ) -> Tensor:
        shape = self.shape
        embedded = self.embedding(tokens).to(self.dtype).reshape(1, shape.batch * shape.length, -1)
        bias = attention_bias(first, shape.length).to(self.dtype)
        found: dict[int, list[Tensor]] = {PLUS: [], MINUS: []}
        for this in self.loops.passes():
            chunks = this.chunks(shape.batch * shape.length)
            perturbed = [self.noise.perturbed(adapter, key, eps, self.layout, chunk) for chunk in chunks]
            for chunk, logits in zip(chunks, self._logits(embedded, bias, perturbed, chunks[0].slices), strict=True):
                rows = answer_losses(logits, labels)
                if this.signs in (BOTH, PLUS):
                    found[PLUS].append(rows[: chunk.queries])
                if this.signs in (BOTH, MINUS):
                    found[MINUS].append(rows[-chunk.queries :])
        return torch.stack([torch.cat(found[PLUS]), torch.cat(found[MINUS])])

    def _logits(self, embedded: Tensor, bias: Tensor, perturbed: Sequence[Perturbed], slices: int) -> Iterator[Tensor]:
        """Logits of the answers, float32 [slices, b, K, vocabulary], of each chunk of a forward pass."""
        shape = self.shape
        bias = bias.repeat(slices, 1, 1, 1, 1)
        hidden = [embedded.repeat(slices, 1, 1)] * len(perturbed)
        for index, block in enumerate(self.blocks):
            hidden = [
                block(x, bias, *(b.to(self.dtype) for b in of_layer(index, x)))
                for x, of_layer in zip(hidden, perturbed, strict=True)
            ]
        for x in hidden:
            last = x.reshape(slices * shape.batch, shape.length, -1)[:, -shape.answers :]
            logits = self.head(last.reshape(slices * shape.batch * shape.answers, -1))
            yield logits.to(torch.float32).reshape(slices, shape.batch, shape.answers, -1)


def answer_losses(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy summed over a row's answer tokens.

    logits float32 [slices, b, K, vocabulary], labels int64 [b, K] with -1 for "no label" -> float32 [slices, b].
    """
    log_probability = logits.log_softmax(dim=-1)
    wanted = labels.clamp(min=0)[None, :, :, None].expand(logits.shape[0], -1, -1, 1)
    picked = log_probability.gather(-1, wanted).squeeze(-1)
    return -(picked * (labels >= 0).to(torch.float32)).sum(dim=-1)
