"""A program's first steps, right and wrong, against the reference: what a session's check of losses makes of them."""

from __future__ import annotations

from pathlib import Path

import torch

from suite.sessions.loss_check import ExpectedLosses, LossComparison, compare_losses
from tests.support.workloads.training_runs import ArtifactOf, FloatArray, Settings, train_in_runner
from workloads.lowering.arithmetic_probe import Accumulation
from workloads.models.weights import ModelWeights
from workloads.quantize.settings import REFERENCE_STEPS
from workloads.reference.eager import Batch
from workloads.reference.losses import reference_losses
from workloads.tasks.batches import batches
from workloads.tasks.task import built_in_task
from workloads.workload import TrainingSettings, Workload


def follow_trainings(
    workload: Workload,
    weights: ModelWeights,
    exported: ArtifactOf,
    runner: Path,
    accumulation: Accumulation,
    folder: Path,
) -> dict[str, LossComparison]:
    """Returns the program's first steps with the right learning rate and with wrong ones, each against the reference.

    A negative rate is an update with the wrong sign, a rate of 0 one that is missing. All run in the runner.
    """
    artifact, setting = exported(workload), workload.setting
    training, steps = TrainingSettings(setting.default_lr, setting.default_eps), max(setting.late_steps, default=2) + 1
    data = batches(built_in_task(), weights.tokenizer, workload.b, workload.T, 16, training.seed)
    reference = reference_losses(
        artifact, workload, weights, data, training, REFERENCE_STEPS, lambda _: None, accumulation
    )
    assert reference.noise is not None
    expected = ExpectedLosses(
        reference.losses, reference.untrained, reference.noise, training.lr, training.eps, late=reference.late
    )
    inputs = [Batch(*arrays) for arrays in zip(data.tokens, data.first, data.labels, strict=True)]
    losses = {
        name: train_in_runner(
            runner,
            artifact.program,
            workload,
            inputs,
            steps,
            Settings(lr, training.eps, training.seed),
            folder / name.replace(" ", "-"),
            threads=torch.get_num_threads(),
        ).losses
        for name, lr in (("right", training.lr), ("wrong sign", -training.lr), ("missing update", 0.0))
    }
    losses["swapped signs"] = losses["right"][:, ::-1]
    return {name: _compared(of_run, expected) for name, of_run in losses.items()}


def _compared(losses: FloatArray, expected: ExpectedLosses) -> LossComparison:
    found = compare_losses([tuple(map(float, step)) for step in losses.reshape(len(losses), -1)], expected)
    assert isinstance(found, LossComparison)
    return found


def require_right_one_alone(found: dict[str, LossComparison]) -> None:
    for name, comparison in found.items():
        print(
            f"{name}: noise {comparison.noise:.2g}, L+ - L- {comparison.difference:.2g}, "
            f"relative error {comparison.max_relative_error:.1e}, differences {comparison.differences}, "
            f"updates {comparison.updates}: {comparison.fault}"
        )
    assert found["right"].fault is None
    for name in ("wrong sign", "missing update", "swapped signs"):
        assert found[name].fault is not None, name
