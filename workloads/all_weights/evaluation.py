"""Evaluates trained weights or scales: the losses of candidate answers, without perturbation or update.

The program is the training step's model with the same state, so that it can load the state that a step left; without
one it evaluates the model of the data file.
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
    """One forward pass with the unchanged weights or scales."""

    key: Tensor
    zero: Tensor

    def __init__(self, candidates: int, *of_step: Any) -> None:
        super().__init__(*of_step)
        self.candidates = candidates
        # Other inputs of the step's operators, for noise that is never added.
        self.register_buffer("key", torch.zeros(2, dtype=torch.int64), persistent=False)
        self.register_buffer("zero", torch.zeros(1), persistent=False)

    def forward(self, tokens: Tensor, first: Tensor, labels: Tensor) -> Tensor:  # type: ignore[override]
        """Evaluates rows as workloads.methods.evaluation does, but without an adapter."""
        eps = self.zero.view(())
        logits = self.answer_logits(tokens, first, self.key, eps, PLUS)
        # An update of length zero, which changes no bit: only what a program writes counts as its state and can be
        # loaded.
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
