"""Programs of a step for rows of several lengths: batches that need less padding train as with all of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.support.workloads.program_bounds import ALLOWED, SETTINGS
from tests.support.workloads.training_runs import ArtifactOf, RunnerTraining, relative_error, train_in_runner
from workloads.reference.eager import Batch
from workloads.workload import Workload

pytestmark = pytest.mark.slow

STEPS = 6
WHOLE = Workload("tiny", "fp32", q=2, b=2, T=32, rank=4)
SHORTER = 16
FIRSTS = ((4, 20), (16, 17), (20, 29))
"""Of each batch: rows of 28, of 16 and of 12 tokens at most."""


def batches() -> list[Batch]:
    """Rows whose padding is not what a model ignores by itself."""
    generator = np.random.default_rng(5)
    return [
        Batch(generator.integers(0, 200, (WHOLE.b, WHOLE.T)), np.array(first), generator.integers(0, 200, (WHOLE.b, 1)))
        for first in FIRSTS
    ]


def training(
    runner: Path, exported: ArtifactOf, workload: Workload, steps: int, folder: Path, before: Path | None = None,
    first_step: int = 0, *, shorter: bool = True,
) -> RunnerTraining:  # fmt: skip
    """A training from step `first_step` on; `shorter`: with a program for rows of half the length beside the whole."""
    turned = [batches()[(first_step + place) % len(FIRSTS)] for place in range(len(FIRSTS))]
    beside = [exported(replace(workload, T=SHORTER)).program] if shorter else []
    program = exported(workload).program
    return train_in_runner(
        runner, program, workload, turned, steps, SETTINGS, folder, before, shorter=beside, first_step=first_step
    )


@pytest.mark.parametrize("quant", ["fp32", "nf4"])
def test_shorter_rows_train_as_padded_ones_do(quant: str, exported: ArtifactOf, runner: Path, tmp_path: Path) -> None:
    """Padding is masked: a key's weight is exactly zero, so that only the order of sums differs."""
    workload = replace(WHOLE, quant=quant)
    padded = training(runner, exported, workload, STEPS, tmp_path / "padded", shorter=False)
    found = training(runner, exported, workload, STEPS, tmp_path / "found")
    assert np.abs(found.losses / padded.losses - 1.0).max() < ALLOWED[quant] / 5
    assert relative_error(found.adapter, padded.adapter) < ALLOWED[quant]
    assert (found.pending_key == padded.pending_key).all()
    assert found.lengths == [32, 16, 16] * 2


def test_a_training_goes_on_to_the_bits_of_an_undisturbed_one_wherever_it_was_interrupted(
    exported: ArtifactOf, runner: Path, tmp_path: Path
) -> None:
    """The process ends after a step of either program, and the next one starts with the other."""
    whole = training(runner, exported, WHOLE, STEPS, tmp_path / "whole")
    for end in (1, 3):
        first = training(runner, exported, WHOLE, end, tmp_path / f"until-{end}")
        rest = training(runner, exported, WHOLE, STEPS - end, tmp_path / f"from-{end}", first.state_file, end)
        assert (np.concatenate([first.losses, rest.losses]) == whole.losses).all()
        assert rest.state.keys() == whole.state.keys()
        assert all((rest.state[name] == value).all() for name, value in whole.state.items())


def test_a_program_of_another_batch_is_refused(exported: ArtifactOf, runner: Path, tmp_path: Path) -> None:
    other = [exported(replace(WHOLE, q=1, b=1, T=8)).program]
    with pytest.raises(AssertionError, match=r"Input 0 \(tokens\) is int64 \[2, 32\] in the job"):
        train_in_runner(runner, exported(WHOLE).program, WHOLE, batches(), 1, SETTINGS, tmp_path / "odd", shorter=other)
