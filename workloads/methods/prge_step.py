"""One P-RGE training step as one `forward`: update, perturb, run the queries, project, remember.

A relative with another estimate is a subclass in its own module, which the table of methods names.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product

import torch
from torch import Tensor, nn

from workloads.methods.ends import Ends, answers_of, ends_of
from workloads.methods.parts import Parts, Shape
from workloads.methods.passes import Loops
from workloads.methods.perturbation import Noise, noise_of, of_type
from workloads.workload import Workload, adapter_values, layers_below_adapters


class PrgeStep(nn.Module):
    """A training step over a frozen model that is given as parts, eager or delegated.

    State: adapter float32 [n], and projected_gradient float32 [q] and pending_key int64 [2] as the last step left them.
    """

    adapter: Tensor
    projected_gradient: Tensor
    pending_key: Tensor

    def __init__(self, parts: Parts, loops: Loops, shape: Shape, noise: Noise, ends: Ends) -> None:
        super().__init__()
        self.embedding, self.blocks, self.head = parts.embedding, nn.ModuleList(parts.blocks), parts.head
        self.layout, self.products = parts.layout, parts.products
        self.below = layers_below_adapters(parts.layout)
        self.loops, self.shape, self.noise, self.ends = loops, shape, noise, ends
        self.register_buffer("adapter", torch.zeros(adapter_values(parts.layout)))
        self.register_buffer("projected_gradient", torch.zeros(loops.queries))
        self.register_buffer("pending_key", torch.zeros(2, dtype=torch.int64))

    def forward(
        self, tokens: Tensor, first: Tensor, labels: Tensor, key: Tensor, lr: Tensor, eps: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Runs the step of docs/contracts.md -> (losses float32 [2, q], row_losses float32 [2, q, b])."""
        points = self.points(key, lr)
        row_losses = self._row_losses(points, tokens, first, labels, key, eps)
        # A row's loss is the sum over its answer tokens; a query's is the mean over all answer tokens of the batch.
        losses = self.ends.mean_losses(row_losses, labels)
        # eps = 0 evaluates: both signs are then the same model, and nothing is left pending.
        gradient = self.gradient(losses, eps, key)
        self.adapter.copy_(points[0])
        self.projected_gradient.copy_(gradient)
        self.pending_key.copy_(self.pending(key, eps))
        return losses, row_losses

    def points(self, key: Tensor, lr: Tensor) -> tuple[Tensor, ...]:
        """Returns the adapters around which the losses are taken; the trained one, after the pending update, first."""
        del key
        return (self.noise.update(self.adapter, self.projected_gradient, self.pending_key, lr),)

    def gradient(self, losses: Tensor, eps: Tensor, key: Tensor) -> Tensor:
        """losses float32 [2, q] -> the projected gradients [q]; a step is the mean of their products with the noise."""
        del key
        return self.ends.gradient(losses, eps)

    def pending(self, key: Tensor, eps: Tensor) -> Tensor:
        """Returns the key of the update left pending; with eps = 0 all projected gradients are zero."""
        del eps
        return key

    def _row_losses(
        self, points: Sequence[Tensor], tokens: Tensor, first: Tensor, labels: Tensor, key: Tensor, eps: Tensor
    ) -> Tensor:
        shape = self.shape
        parts, signs = [], []
        below = self._below_adapters(tokens, first)
        for adapter, this in product(points, self.loops.passes()):
            for chunk in this.chunks(shape.batch * shape.length, shape.rows_per_chunk):
                if below is None:
                    x = self.ends.embed(self.embedding, tokens, chunk.slices)
                else:
                    x = torch.cat([below] * chunk.slices)
                bias = self.ends.attention_bias(first, shape.length, chunk.slices)
                perturbed = self.noise.perturbed(adapter, key, eps, self.layout, chunk)
                for index in range(self.below, len(self.blocks)):
                    x = self.blocks[index](x, bias, *(of_type(b, self.products) for b in perturbed(index, x)))
                logits = self.head(answers_of(self.ends, x, shape))
                parts.append(self.ends.answer_losses(logits, labels))
                signs.append(chunk.signs)
        return self.ends.collect_losses(parts, signs)

    def _below_adapters(self, tokens: Tensor, first: Tensor) -> Tensor | None:
        """Returns the input of the first layer with adapters, [1, b * T, hidden]; None if that is the first layer.

        It doesn't depend on perturbations, so the layers below are computed once for all slices of all passes.
        """
        if not self.below:
            return None
        x = self.ends.embed(self.embedding, tokens, 1)
        bias = self.ends.attention_bias(first, self.shape.length, 1)
        for index in range(self.below):
            x = self.blocks[index](x, bias)
        return x


Step = Callable[[Parts, Loops, Shape, Noise, Ends], PrgeStep]


def make_program(workload: Workload, parts: Parts, step: Step = PrgeStep) -> PrgeStep:
    """Returns the step over `parts`, with a zero adapter and no pending update."""
    return step(parts, Loops.of(workload), Shape.of(workload), noise_of(workload, parts), ends_of(workload, parts))
