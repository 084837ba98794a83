"""How good weights or scales are that were trained: the losses of candidate answers, without perturbation or update.

The program is the training step's model with what that trains as its state, so that it takes the state that a step
left as it is; without one it evaluates the model as the data file has it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from workloads.all_weights.own_weights import OwnWeightsStep
from workloads.all_weights.scales_step import QzoStep
from workloads.all_weights.step import MezoFullStep
from workloads.methods.evaluation import candidate_losses
from workloads.methods.parts import Parts, Shape
from workloads.methods.passes import PLUS
from workloads.workload import Workload


class _Evaluation(OwnWeightsStep):
    """One forward pass with what is trained as it is."""

    key: Tensor
    zero: Tensor

    def __init__(self, candidates: int, *of_step: Any) -> None:
        super().__init__(*of_step)
        self.candidates = candidates
        # What the step's operators take besides: of noise that is nowhere added.
        self.register_buffer("key", torch.zeros(2, dtype=torch.int64), persistent=False)
        self.register_buffer("zero", torch.zeros(1), persistent=False)

    def forward(self, tokens: Tensor, first: Tensor, labels: Tensor) -> Tensor:  # type: ignore[override]
        """Evaluates rows as workloads.methods.evaluation does, but without an adapter."""
        eps = self.zero.view(())
        logits = self.answer_logits(tokens, first, self.key, eps, PLUS)
        # An update of no length, which changes no bit: only what a program writes is its state, which can be loaded.
        self.move(self.zero, self.key, eps)
        return candidate_losses(self.ends, logits, labels, self.candidates)


class WeightsEvaluation(_Evaluation, MezoFullStep):
    """Evaluates the weights of a state, `weights.NAME`."""


class ScalesEvaluation(_Evaluation, QzoStep):
    """Evaluates the scales of a state, `scales.NAME`."""


def make_program(workload: Workload, parts: Parts) -> _Evaluation:
    """Returns the evaluation of `parts`."""
    shape, candidates = Shape.of(workload), workload.candidates
    if workload.training_method.trains == "weights":
        return WeightsEvaluation(candidates, parts, shape)
    return ScalesEvaluation(candidates, parts, shape, workload.setting.largest_code)
