"""The losses of the reference that are kept with an artifact."""

from __future__ import annotations

import errno
import json
import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import workloads.reference.losses
from foundation.errors import UserError
from tests.support.workloads.counted_export import WORKLOAD, CountedExport
from tests.support.workloads.training_runs import some_batches
from workloads.estimates.estimate import NOISE_ROWS
from workloads.export.artifact import ArtifactCache
from workloads.lowering.arithmetic_probe import Accumulation
from workloads.models.weights import ModelWeights
from workloads.reference.eager import Reference
from workloads.reference.expected_losses import ReferenceLosses
from workloads.reference.losses import kept_losses
from workloads.tasks.batches import TaskBatches
from workloads.workload import TrainingSettings

DATA = some_batches(WORKLOAD, 2)


@pytest.fixture
def data() -> TaskBatches:
    return TaskBatches(
        tokens=np.stack([batch.tokens for batch in DATA]),
        first=np.stack([batch.first for batch in DATA]),
        labels=np.stack([batch.labels for batch in DATA]),
        classes=np.zeros((2, WORKLOAD.b), dtype=np.int64),
        candidates=1,
        rows=2,
        truncated_rows=0,
    )


TRAINING = TrainingSettings(lr=1e-3, eps=0.1, seed=3)


Ask = Callable[..., ReferenceLosses]


@pytest.fixture
def reference_losses(cache: ArtifactCache, export: CountedExport, tiny: ModelWeights, data: TaskBatches) -> Ask:
    artifact = cache.export(WORKLOAD, tiny)

    def ask(
        training: TrainingSettings = TRAINING, steps: int = 2, on_progress: Callable[[float], None] = lambda _: None
    ) -> ReferenceLosses:
        found = workloads.reference.losses.reference_losses(
            artifact, WORKLOAD, tiny, data, training, steps, on_progress
        )
        assert kept_losses(artifact, data, training, steps, Accumulation.FP32) == found
        return found

    return ask


def test_reference_losses_are_those_of_the_reference(reference_losses: Ask, tiny: ModelWeights) -> None:
    expected = Reference(WORKLOAD, tiny.config, tiny.state).train(DATA, 2, seed=3, lr=1e-3, eps=0.1).losses
    assert np.array_equal(np.array(reference_losses().losses, dtype=np.float32), expected.reshape(2, -1))


def test_reference_losses_are_computed_once(reference_losses: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    first = reference_losses()
    monkeypatch.delattr(workloads.reference.losses, "_compute")
    assert reference_losses() == first


def test_other_settings_have_other_reference_losses(reference_losses: Ask) -> None:
    first = reference_losses()
    for other in (replace(TRAINING, eps=0.2), replace(TRAINING, seed=4)):
        assert reference_losses(other) != first
    assert len(reference_losses(steps=3).losses) == 3
    assert reference_losses() == first


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"of": {}}', '{"of": null, "losses": 3}', '{"losses": [], "shortfall": 1}']
)
def test_damaged_reference_file_is_computed_again(content: str, reference_losses: Ask, cache: ArtifactCache) -> None:
    first = reference_losses()
    (path,) = cache.root.glob("*/reference-*.json")
    path.write_text(content)
    assert reference_losses() == first
    assert json.loads(path.read_text())["losses"] == [list(row) for row in first.losses]


def test_reference_file_of_other_data_is_not_used(reference_losses: Ask, cache: ArtifactCache) -> None:
    first = reference_losses()
    (path,) = cache.root.glob("*/reference-*.json")
    document = json.loads(path.read_text())
    document["of"]["data"] = "0" * 64
    document["losses"] = [[1.0, 1.0]] * 2
    path.write_text(json.dumps(document))
    assert reference_losses() == first


def test_full_disk_under_the_losses_is_reported(reference_losses: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, data: bytes) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    monkeypatch.setattr(workloads.reference.losses, "write_atomic", refuse)
    with pytest.raises(UserError, match=f"error {errno.ENOSPC}"):
        reference_losses()


def test_a_reference_that_would_take_too_long_is_left_out_with_the_reason(
    reference_losses: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workloads.reference.losses, "affordable_steps", lambda *_: 0)
    monkeypatch.setattr("workloads.reference.eager.Reference", None)
    found = reference_losses()
    assert found.losses == ()
    assert "would take about" in str(found.shortfall) and "180 s are allowed" in str(found.shortfall)


def test_a_reference_does_the_steps_that_there_is_time_for(
    reference_losses: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = reference_losses(replace(TRAINING, seed=4), steps=1)
    monkeypatch.setattr(workloads.reference.losses, "affordable_steps", lambda *_: 1)
    found = reference_losses(replace(TRAINING, seed=4), steps=3)
    assert found.losses == whole.losses
    assert "for each of 3 steps" in str(found.shortfall) and "did 1" in str(found.shortfall)


def test_a_reference_slower_than_estimated_is_ended_by_the_clock(
    reference_losses: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Through two layers: two passes and their jittered ones for the noise, two passes for each query of a step.
    noise_passes = 2 * (1 + -(-NOISE_ROWS // (2 * WORKLOAD.b)))
    clock = iter([0.0, *[1.0] * (noise_passes + WORKLOAD.q * 2) * 2, *[1e6] * 99])
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    found = reference_losses(steps=3)
    assert len(found.losses) == 1
    assert "did 1 of 3 steps in 1000000 s, its limit" in str(found.shortfall)
    assert (found.untrained, found.noise is not None) == ((), True)


def test_each_accumulation_has_its_own_losses(
    cache: ArtifactCache, export: CountedExport, tiny: ModelWeights, data: TaskBatches
) -> None:
    workload = replace(WORKLOAD, quant="fp16")
    artifact = cache.export(workload, tiny)
    found = [
        workloads.reference.losses.reference_losses(
            artifact, workload, tiny, data, TRAINING, 2, lambda _: None, accumulation
        )
        for accumulation in Accumulation
    ]
    kept = [kept_losses(artifact, data, TRAINING, 2, accumulation) for accumulation in Accumulation]
    assert kept == found
    assert found[0].losses != found[1].losses


def test_untrained_losses_are_those_of_a_zero_adapter(reference_losses: Ask, tiny: ModelWeights) -> None:
    still = Reference(WORKLOAD, tiny.config, tiny.state).train(DATA, 3, seed=3, lr=0.0, eps=0.1).losses
    found = reference_losses(steps=3)
    assert np.array_equal(np.array(found.untrained, dtype=np.float32), still[1:].reshape(2, -1))
    assert found.losses[1:] != found.untrained


NOISY = replace(WORKLOAD, quant="8da4w")


@pytest.mark.parametrize("clear", [0.0, 1e9])
def test_late_steps_show_the_updates_that_noise_hides(
    clear: float,
    cache: ArtifactCache,
    export: CountedExport,
    tiny: ModelWeights,
    data: TaskBatches,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(workloads.reference.losses, "_CLEAR", clear)
    artifact, shares = cache.export(NOISY, tiny), list[float]()
    found = workloads.reference.losses.reference_losses(artifact, NOISY, tiny, data, TRAINING, 3, shares.append)
    assert kept_losses(artifact, data, TRAINING, 3, Accumulation.FP32) == found
    assert shares == sorted(shares) and shares[-1] == 1.0
    if not clear:
        assert (len(found.untrained), found.late) == (2, ())
        return
    assert found.untrained == () and tuple(late.step for late in found.late) == NOISY.setting.late_steps
    still = Reference(NOISY, tiny.config, tiny.state).train(DATA, 9, seed=3, lr=0.0, eps=0.1).losses
    assert found.late[0].untrained == tuple(map(float, still[8].reshape(-1)))
    assert all(len(late.slopes) == late.step * NOISY.q and late.left_out > 0 for late in found.late)


def test_late_steps_that_time_does_not_allow_leave_the_updates_unchecked(
    cache: ArtifactCache, export: CountedExport, tiny: ModelWeights, data: TaskBatches, monkeypatch: pytest.MonkeyPatch
) -> None:
    def end(*_: object, **__: object) -> None:
        raise workloads.reference.losses._OutOfTimeError

    monkeypatch.setattr(workloads.reference.losses, "_CLEAR", 1e9)
    monkeypatch.setattr(Reference, "loss_and_gradient", end)
    artifact = cache.export(NOISY, tiny)
    found = workloads.reference.losses.reference_losses(artifact, NOISY, tiny, data, TRAINING, 3, lambda _: None)
    assert (len(found.losses), found.untrained, found.late) == (3, (), ())
    assert "did 3 of 3 steps and nothing for their updates in" in str(found.shortfall)


def test_noise_is_the_effect_of_the_last_bits(reference_losses: Ask) -> None:
    noise = reference_losses().noise
    assert noise is not None and 1e-8 < noise < 1e-5


def test_progress_rises_from_the_first_pass_to_the_last(reference_losses: Ask) -> None:
    shares: list[float] = []
    reference_losses(on_progress=shares.append)
    assert shares == sorted(shares)
    assert 0 < shares[0] < 0.5 and shares[-1] == pytest.approx(1.0)
