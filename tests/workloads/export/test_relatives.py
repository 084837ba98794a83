"""Programs of P-RGE's relatives in the runner: the training of the eager reference, here and on aarch64."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from devices.deployment.built_runner import BuiltRunner
from tests.support.twins.twin_emulator import emulated_script
from tests.support.twins.twin_processors import PI_5
from tests.support.workloads.program_bounds import ALLOWED
from tests.support.workloads.training_runs import (
    ArtifactOf,
    FloatArray,
    Settings,
    reference_training,
    relative_error,
    some_batches,
    train_and_flush,
)
from workloads.models.weights import ModelWeights
from workloads.reference.eager import Trajectory
from workloads.workload import Workload

pytestmark = pytest.mark.slow

STEPS = 3
SMALL = Workload("tiny", "fp32", q=2, b=2, T=16, rank=4, method="rademacher")
PROGRAMS = {
    "fzoo, delegated": Workload("tiny", "fp32", q=3, b=2, T=16, rank=4, method="fzoo"),
    "rademacher": replace(SMALL, quant="nf4"),
}
SCHEDULED = {
    "adazeta": replace(SMALL, quant="nf4", method="adazeta"),
    "momentum": replace(SMALL, quant="nf4", method="prge-momentum"),
    "mezo-svrg, delegated": replace(SMALL, q=1, method="mezo-svrg"),
}
RATES = {"fzoo": Settings(lr=2e-4, eps=0.1)}
OTHERS = Settings(lr=2e-3, eps=0.1)
STEPS_OF = {"adazeta": 4, "mezo-svrg": 7}
"""AdaZeta's first group of two steps ends, and another one; SVRG's estimates are corrected."""

FIRST_OF = {"adazeta": 299}


def trained(runner: Path, workload: Workload, exported: ArtifactOf, folder: Path) -> tuple[FloatArray, FloatArray]:
    method, program, batches = workload.method, exported(workload).program, some_batches(workload, 2)
    steps, first, settings = STEPS_OF.get(method, STEPS), FIRST_OF.get(method, 0), RATES.get(method, OTHERS)
    return train_and_flush(runner, program, workload, batches, steps, settings, folder, first)


def expected_training(weights: ModelWeights, workload: Workload) -> Trajectory:
    method, batches = workload.method, some_batches(workload, 2)
    steps, first, settings = STEPS_OF.get(method, STEPS), FIRST_OF.get(method, 0), RATES.get(method, OTHERS)
    return reference_training(weights, workload, batches, steps, settings, first)


@pytest.mark.parametrize("workload", (PROGRAMS | SCHEDULED).values(), ids=PROGRAMS | SCHEDULED)
def test_program_trains_as_the_reference(
    workload: Workload, tiny: ModelWeights, exported: ArtifactOf, runner: Path, tmp_path: Path
) -> None:
    losses, adapter = trained(runner, workload, exported, tmp_path / "run")
    expected = expected_training(tiny, workload)
    of_losses = np.abs(losses / expected.losses - 1.0).max()
    of_adapter = relative_error(adapter, expected.adapter)
    print(f"{workload.method}: losses {of_losses:.1e}, adapter {of_adapter:.1e}")
    assert of_losses < ALLOWED[workload.quant] / 5
    assert of_adapter < ALLOWED[workload.quant]


@pytest.mark.parametrize("workload", [*PROGRAMS.values(), SCHEDULED["momentum"], SCHEDULED["mezo-svrg, delegated"]])
def test_aarch64_trains_as_this_host(
    workload: Workload, exported: ArtifactOf, runner: Path, aarch64_runner: BuiltRunner, tmp_path: Path
) -> None:
    pi_5 = emulated_script(aarch64_runner, PI_5, tmp_path / "pi-5")
    here, there = (
        trained(each, workload, exported, tmp_path / name) for name, each in (("here", runner), ("there", pi_5))
    )
    assert np.abs(there[0] / here[0] - 1.0).max() < 2 * ALLOWED[workload.quant] / 5
    assert relative_error(there[1], here[1]) < 2 * ALLOWED[workload.quant]


@pytest.mark.parametrize("workload", PROGRAMS.values(), ids=PROGRAMS)
def test_program_updates_its_adapter_in_place_and_copies_nothing_else(workload: Workload, exported: ArtifactOf) -> None:
    operators = exported(workload).document["operators"]
    assert (operators["update_rademacher.out"], operators["copy_.default"]) == (1, 2)
    assert operators["perturb_rademacher.out"] == 2  # a layer each
    assert not {"update.out", "perturb.out"} & operators.keys()


@pytest.mark.parametrize("workload", SCHEDULED.values(), ids=SCHEDULED)
def test_a_scheduled_program_changes_its_state_in_place(workload: Workload, exported: ArtifactOf) -> None:
    """What is copied are the projected gradients and the key."""
    operators = exported(workload).document["operators"]
    assert operators["copy_.default"] == 2
    assert operators["pending_key.out"] == 1
