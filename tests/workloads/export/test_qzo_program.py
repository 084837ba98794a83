"""QZO in the runner: the training of the eager reference, here and on aarch64."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from executorch.exir._serialize._program import deserialize_pte_binary

from devices.deployment.built_runner import BuiltRunner
from tests.support.twins.twin_emulator import emulated_script
from tests.support.twins.twin_processors import PI_5
from tests.support.workloads.training_runs import (
    ArtifactOf,
    FloatArray,
    RunnerTraining,
    Settings,
    relative_error,
    some_batches,
    train_in_runner,
)
from workloads.all_weights.scales_step import LIMIT
from workloads.estimates.estimate import estimate
from workloads.estimates.session_memory import trained_values
from workloads.models.weights import ModelWeights
from workloads.reference.of_methods import ScalesReference
from workloads.workload import Workload

pytestmark = pytest.mark.slow

STEPS = 5
SETTINGS = Settings(lr=1e-4, eps=1e-2)
STEEP = Settings(lr=0.1, eps=1e-2)
"""After a step of this length the slope is beyond its limit (nf4)."""
PROGRAMS = {quant: Workload("tiny", quant, q=1, b=2, T=16, method="qzo") for quant in ("int8", "nf4")}


def trained(
    runner: Path, workload: Workload, exported: ArtifactOf, folder: Path, settings: Settings = SETTINGS
) -> RunnerTraining:
    program, batches = exported(workload).program, some_batches(workload, 2)
    return train_in_runner(runner, program, workload, batches, STEPS, settings, folder)


def flat(run: RunnerTraining) -> FloatArray:
    return np.concatenate([run.state[name] for name in sorted(run.state)])


def reference(
    workload: Workload, weights: ModelWeights, settings: Settings = SETTINGS
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Losses [steps, 2, 1], and the scales before and after, one behind the other in the order of their names."""
    found = ScalesReference(workload, weights.config, weights.state)
    before = found._stored()
    losses = found.train(some_batches(workload, 2), STEPS, seed=settings.seed, lr=settings.lr, eps=settings.eps).losses
    start, end = (np.concatenate([each[name].numpy() for name in sorted(each)]) for each in (before, found.trained))
    return losses, start, end


@pytest.mark.parametrize("workload", PROGRAMS.values(), ids=PROGRAMS)
def test_program_trains_scales_as_the_reference(
    workload: Workload, tiny: ModelWeights, exported: ArtifactOf, runner: Path, tmp_path: Path
) -> None:
    run = trained(runner, workload, exported, tmp_path / "run")
    losses, before, after = reference(workload, tiny)
    assert flat(run).size == trained_values(workload, tiny.config)
    of_losses = np.abs(run.losses / losses - 1.0).max()
    moved = relative_error(flat(run) - before, after - before)
    ratio = estimate(workload, tiny.config).memory_bytes / 1024 / run.peak_kib
    print(f"{workload.quant}: losses {of_losses:.1e}, scales {moved:.1e}, estimate {ratio:.2f} of the peak")
    assert 0.95 < ratio < 1.35
    assert of_losses < 1e-6
    assert moved < 5e-5
    assert np.abs(losses[0] - losses[2]).max() > 0.05  # the same batch: training shows


def test_program_clips_a_slope_that_is_beyond_the_limit(
    tiny: ModelWeights, exported: ArtifactOf, runner: Path, tmp_path: Path
) -> None:
    workload = PROGRAMS["nf4"]
    run = trained(runner, workload, exported, tmp_path / "run", STEEP)
    losses, before, after = reference(workload, tiny, STEEP)
    slopes = (losses[:, 0] - losses[:, 1]) / (2 * STEEP.eps)
    assert np.abs(slopes).max() > 1.5 * LIMIT
    assert np.abs(run.losses / losses - 1.0).max() < 1e-4
    assert relative_error(flat(run) - before, after - before) < 1e-3


@pytest.mark.parametrize("workload", PROGRAMS.values(), ids=PROGRAMS)
def test_aarch64_trains_scales_as_this_host(
    workload: Workload, exported: ArtifactOf, runner: Path, aarch64_runner: BuiltRunner, tmp_path: Path
) -> None:
    """Noise and rounding have the same bits; the losses' sums have other orders."""
    pi_5 = emulated_script(aarch64_runner, PI_5, tmp_path / "pi-5")
    here, there = (
        trained(each, workload, exported, tmp_path / name) for name, each in (("here", runner), ("there", pi_5))
    )
    assert np.abs(there.losses / here.losses - 1.0).max() < 2e-6
    assert relative_error(flat(there), flat(here)) < 1e-6


def test_a_step_with_eps_zero_changes_no_bit(
    tiny: ModelWeights, exported: ArtifactOf, runner: Path, tmp_path: Path
) -> None:
    workload, still = PROGRAMS["int8"], Settings(lr=1.0, eps=0.0)
    run = trained(runner, workload, exported, tmp_path / "run", still)
    assert run.losses[0, 0] == run.losses[0, 1] == run.losses[2, 0]
    before = ScalesReference(workload, tiny.config, tiny.state)._stored()
    assert set(run.state) == {f"scales.{name}" for name in before}
    assert all(np.array_equal(run.state[f"scales.{name}"], value.numpy()) for name, value in before.items())


@pytest.mark.parametrize("workload", PROGRAMS.values(), ids=PROGRAMS)
def test_program_keeps_codes_in_the_data_file_and_writes_scales_in_place(
    workload: Workload, tiny: ModelWeights, exported: ArtifactOf
) -> None:
    artifact, needed = exported(workload), estimate(workload, tiny.config)
    operators = artifact.document["operators"]
    assert "copy_.default" not in operators
    assert operators["move_weight.out"] == 1 + 7 * tiny.config.layers
    assert set(operators) <= {f"{name}.out" for name in OPERATORS}
    plan = deserialize_pte_binary(artifact.program.read_bytes()).program.execution_plan[0]
    scales = 4 * trained_values(workload, tiny.config)
    assert scales <= sum(plan.non_const_buffer_sizes) < scales + 200_000
    assert needed.weight_bytes == artifact.weight_bytes
    assert 1.0 <= needed.program_bytes / artifact.program_bytes < 1.3
    assert needed.adapters_file_bytes == 0
    prge = exported(Workload("tiny", workload.quant, q=2, b=2, T=32, rank=4))
    assert [file.sha256 for file in artifact.data] == [prge.data[0].sha256]  # devices get it once


OPERATORS = (
    *("perturb", "embed", "attention_bias", "general_layer", "rms_norm", "linear_frozen"),
    *("answer_losses", "collect_losses", "mean_losses", "gradient", "clipped", "scaled", "move_weight"),
    "_empty_dim_order",  # the scratch memory of a layer
)
