"""Trained weights and scales: evaluated from the state that a training left, and trained on from it, to the bit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from devices.deployment.built_runner import BuiltRunner
from tests.support.twins.twin_emulator import emulated_script
from tests.support.twins.twin_processors import PI_5
from tests.support.workloads.training_runs import (
    ArtifactOf,
    FloatArray,
    RunnerTraining,
    Settings,
    evaluate_in_runner,
    some_batches,
    train_in_runner,
)
from workloads.estimates.estimate import estimate
from workloads.models.weights import ModelWeights
from workloads.reference.eager import Batch
from workloads.reference.of_methods import AllWeightsReference, reference_of
from workloads.workload import Workload

pytestmark = pytest.mark.slow

STEPS, ROWS, CANDIDATES, ANSWERS = 4, 3, 4, 2
TRAININGS = {
    f"{method} {quant}": Workload("tiny", quant, q=1, b=2, T=16, method=method)
    for method, quants in (("mezo-full", ("fp32", "fp16")), ("qzo", ("int8", "nf4")))
    for quant in quants
}
SETTINGS = {"mezo-full": Settings(lr=1e-4, eps=1e-2), "qzo": Settings(lr=1e-3, eps=1e-2)}
ALLOWED = {"mezo-full fp16": 2e-4}
"""Relative error of a loss, where it is not 1e-5: near a draw a float16 may be rounded the other way."""

every_training = pytest.mark.parametrize("training", TRAININGS.values(), ids=TRAININGS)


def evaluation_of(training: Workload, *, candidates: int = 1, answers: int = 1) -> Workload:
    method = training.training_method.evaluated_by
    return replace(training, method=method, b=ROWS, candidates=candidates, answers=answers)


def batches_of(training: Workload) -> list[Batch]:
    """Batches with rows of 16, of 5 and of 4 tokens at most."""
    found = zip(some_batches(training, 3), (0, 11, 12), strict=True)
    return [replace(batch, first=np.minimum(batch.first + padding, training.T - 2)) for batch, padding in found]


def trained(
    runner: Path, training: Workload, exported: ArtifactOf, folder: Path, steps: int = STEPS, first_step: int = 0,
    before: Path | None = None, shorter: int | None = None,
) -> RunnerTraining:  # fmt: skip
    """A training from step `first_step` on; `shorter` is the length of rows that another program is for."""
    batches = batches_of(training)
    turned = [*batches[first_step % 3 :], *batches[: first_step % 3]]
    beside = [] if shorter is None else [exported(replace(training, T=shorter)).program]
    program, settings = exported(training).program, SETTINGS[training.method]
    return train_in_runner(
        runner, program, training, turned, steps, settings, folder, before, shorter=beside, first_step=first_step
    )


def held_out(training: Workload, tiny: ModelWeights, labels: int) -> list[Batch]:
    drawn = np.random.default_rng(5)
    shape, firsts = (2, ROWS, training.T), ([0, 3, 9], [2, 0, 0])
    tokens, answers = (drawn.integers(0, tiny.config.vocab_size, each) for each in (shape, (2, ROWS, labels)))
    return [Batch(*parts) for parts in zip(tokens, np.array(firsts), answers, strict=True)]


def reference_losses(reference: AllWeightsReference, batches: list[Batch], answers: int) -> FloatArray:
    """Losses [batches, candidates, rows] of the model as it stands; each label alone, or all `answers` of a row."""
    groups = [slice(0, answers)] if answers > 1 else [slice(place, place + 1) for place in range(CANDIDATES)]

    def loss(batch: Batch, row: int, labels: slice) -> float:
        own = slice(row, row + 1)
        one = Batch(batch.tokens[own], batch.first[own], batch.labels[own, labels])
        return answers * reference.loss(torch.zeros(0), one)

    found = [[[loss(batch, row, labels) for row in range(ROWS)] for labels in groups] for batch in batches]
    return np.array(found, dtype=np.float32)


def trained_reference(training: Workload, tiny: ModelWeights, steps: int) -> AllWeightsReference:
    """The reference with the weights that so many steps leave."""
    reference = reference_of(training, tiny)
    assert isinstance(reference, AllWeightsReference)
    if steps:
        settings = SETTINGS[training.method]
        reference.train(batches_of(training), steps, seed=settings.seed, lr=settings.lr, eps=settings.eps)
        reference._set(reference.trained, reference._noise(0, 0), 0.0)
    return reference


@every_training
def test_a_state_has_the_losses_of_the_reference_that_was_trained_alike(
    training: Workload, tiny: ModelWeights, exported: ArtifactOf, runner: Path, tmp_path: Path
) -> None:
    state = trained(runner, training, exported, tmp_path / "training").state_file
    before, after = (trained_reference(training, tiny, steps) for steps in (0, STEPS))
    allowed = ALLOWED.get(f"{training.method} {training.quant}", 1e-5)
    for answers, evaluation in (
        (1, evaluation_of(training, candidates=CANDIDATES)),
        (ANSWERS, evaluation_of(training, answers=ANSWERS)),
    ):
        program = exported(evaluation).program
        batches = held_out(training, tiny, ANSWERS if answers > 1 else CANDIDATES)
        of_start, of_end = (
            evaluate_in_runner(runner, program, evaluation, batches, tmp_path / f"{answers}-{name}", each)
            for name, each in (("start", None), ("end", state))
        )
        np.testing.assert_allclose(of_start, reference_losses(before, batches, answers), rtol=1e-5)
        np.testing.assert_allclose(of_end, reference_losses(after, batches, answers), rtol=allowed)
        assert np.abs(of_end / of_start - 1.0).max() > 10 * allowed


@every_training
def test_evaluating_draws_no_noise_and_changes_no_bit(
    training: Workload, tiny: ModelWeights, exported: ArtifactOf, runner: Path, tmp_path: Path
) -> None:
    """A batch has the same losses again."""
    evaluation = evaluation_of(training, candidates=CANDIDATES)
    batches = held_out(training, tiny, CANDIDATES)
    state = trained(runner, training, exported, tmp_path / "training").state_file
    program = exported(evaluation).program
    once = evaluate_in_runner(runner, program, evaluation, batches, tmp_path / "once", state)
    thrice = evaluate_in_runner(runner, program, evaluation, [*batches, *batches, *batches], tmp_path / "thrice", state)
    assert (thrice.reshape(3, *once.shape) == once).all()


@every_training
def test_aarch64_evaluates_a_state_of_this_host(
    training: Workload, tiny: ModelWeights, exported: ArtifactOf, runner: Path, aarch64_runner: BuiltRunner,
    tmp_path: Path,
) -> None:  # fmt: skip
    evaluation = evaluation_of(training, candidates=CANDIDATES)
    state = trained(runner, training, exported, tmp_path / "training").state_file
    program, batches = exported(evaluation).program, held_out(training, tiny, CANDIDATES)
    here, there = (
        evaluate_in_runner(each, program, evaluation, batches, tmp_path / name, state)
        for each, name in ((runner, "here"), (emulated_script(aarch64_runner, PI_5, tmp_path / "pi-5"), "there"))
    )
    np.testing.assert_allclose(there, here, rtol=2e-6)


@every_training
@pytest.mark.parametrize("shorter", [None, 8])
def test_a_training_goes_on_to_the_bits_of_an_undisturbed_one_wherever_it_was_interrupted(
    training: Workload, shorter: int | None, exported: ArtifactOf, runner: Path, tmp_path: Path
) -> None:
    """Also where all that is trained moves between programs for rows of two lengths, each of which begins once."""
    whole = trained(runner, training, exported, tmp_path / "whole", shorter=shorter)
    assert whole.lengths == ([] if shorter is None else [16, 8, 8, 16])
    for end in (1, 3):
        first = trained(runner, training, exported, tmp_path / f"until-{end}", end, shorter=shorter)
        rest = trained(
            runner, training, exported, tmp_path / f"from-{end}", STEPS - end, end, first.state_file, shorter
        )
        assert (np.concatenate([first.losses, rest.losses]) == whole.losses).all()
        assert rest.state.keys() == whole.state.keys()
        assert all((rest.state[name] == value).all() for name, value in whole.state.items())


@every_training
def test_shorter_rows_train_what_padded_ones_do(
    training: Workload, exported: ArtifactOf, runner: Path, tmp_path: Path
) -> None:
    """Padding is masked, so that only the order of sums differs."""
    padded = trained(runner, training, exported, tmp_path / "padded")
    found = trained(runner, training, exported, tmp_path / "found", shorter=8)
    np.testing.assert_allclose(
        found.losses, padded.losses, rtol=ALLOWED.get(f"{training.method} {training.quant}", 1e-5)
    )
    for name, value in padded.state.items():
        difference = np.abs(found.state[name].astype(np.float64) - value.astype(np.float64))
        assert difference.max() < 2e-3 * np.abs(value.astype(np.float64)).max()


@every_training
def test_a_state_has_the_bytes_that_were_estimated(
    training: Workload, tiny: ModelWeights, exported: ArtifactOf, runner: Path, tmp_path: Path
) -> None:
    state = trained(runner, training, exported, tmp_path / "training", 1).state
    assert estimate(training, tiny.config).state_bytes == sum(value.nbytes for value in state.values())
