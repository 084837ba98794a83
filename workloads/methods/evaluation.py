"""Evaluates an adapter: the losses of candidate answers, without any perturbation or update.

The program exists next to the training step's and takes its weights from the same data files, so that evaluating on a
device needs neither a second copy of the model nor the 2q forward passes of a step.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from workloads.methods.ends import Ends, answers_of, ends_of
from workloads.methods.parts import Parts, Shape
from workloads.methods.passes import UNPERTURBED_PASS
from workloads.methods.perturbation import KernelNoise, of_type
from workloads.workload import Workload


class Evaluation(nn.Module):
    """One forward pass over a frozen model with a given adapter.

    With one candidate, a row's K labels are the tokens of an answer. With more, each label is a complete answer of one
    token, and the row passes through the model once for all of them.
    """

    key: Tensor
    eps: Tensor

    def __init__(self, parts: Parts, candidates: int, shape: Shape, ends: Ends) -> None:
        super().__init__()
        self.embedding, self.blocks, self.head = parts.embedding, nn.ModuleList(parts.blocks), parts.head
        self.layout, self.products, self.candidates, self.shape = parts.layout, parts.products, candidates, shape
        self.noise, self.ends = KernelNoise(parts.products), ends
        # Other inputs of the operator that perturbs adapters, so that it returns the adapter itself in the products'
        # type.
        self.register_buffer("key", torch.zeros(2, dtype=torch.int64), persistent=False)
        self.register_buffer("eps", torch.zeros(()), persistent=False)

    def forward(self, tokens: Tensor, first: Tensor, labels: Tensor, adapter: Tensor) -> Tensor:
        """tokens int64 [b, T], first int64 [b], adapter float32 [n] -> losses float32 [candidates, b].

        labels int64 [b, K] with one candidate, [b, candidates] with more; a loss is summed over a row's answer tokens.
        """
        shape = self.shape
        x = self.ends.embed(self.embedding, tokens, 1)
        bias = self.ends.attention_bias(first, shape.length, 1)
        adapted = self.noise.perturbed(adapter, self.key, self.eps, self.layout, UNPERTURBED_PASS)
        for index, block in enumerate(self.blocks):
            x = block(x, bias, *(of_type(b, self.products) for b in adapted(index, x)))
        logits = self.head(answers_of(self.ends, x, shape))
        return candidate_losses(self.ends, logits, labels, self.candidates)


def candidate_losses(ends: Ends, logits: Tensor, labels: Tensor, candidates: int) -> Tensor:
    """Returns the losses of each row's candidates, float32 [candidates, b]; labels as in `Evaluation`."""
    if candidates == 1:
        return ends.answer_losses(logits, labels)
    return torch.cat([ends.answer_losses(logits, labels[:, place : place + 1]) for place in range(candidates)])


def make_program(workload: Workload, parts: Parts) -> Evaluation:
    """Returns the evaluation over `parts`."""
    return Evaluation(parts, workload.candidates, Shape.of(workload), ends_of(workload, parts))
