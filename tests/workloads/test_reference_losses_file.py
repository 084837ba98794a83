"""The losses of the reference that are kept with an artifact."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from counted_export import WORKLOAD, CountedExport
from training_runs import some_batches

import workloads.artifact
from workloads.artifact import ArtifactCache, TrainingSettings
from workloads.errors import UserError
from workloads.models.weights import ModelWeights
from workloads.reference import Reference
from workloads.tasks import TaskBatches

DATA = some_batches(WORKLOAD, 2)


@pytest.fixture
def data() -> TaskBatches:
    return TaskBatches(
        tokens=np.stack([batch.tokens for batch in DATA]),
        first=np.stack([batch.first for batch in DATA]),
        labels=np.stack([batch.labels for batch in DATA]),
        classes=np.zeros((2, WORKLOAD.b), dtype=np.int64),
        answers=((1,),),
        rows=2,
        truncated_rows=0,
    )


TRAINING = TrainingSettings(lr=1e-3, eps=0.1, seed=3)


@pytest.fixture
def reference_losses(
    cache: ArtifactCache, export: CountedExport, tiny: ModelWeights, data: TaskBatches
) -> Callable[..., list[list[float]]]:
    artifact = cache.export(WORKLOAD, tiny)

    def ask(training: TrainingSettings = TRAINING, steps: int = 2) -> list[list[float]]:
        return cache.reference_losses(artifact, WORKLOAD, tiny, data, training, steps)

    return ask


Ask = Callable[..., list[list[float]]]


def test_reference_losses_are_those_of_the_reference(reference_losses: Ask, tiny: ModelWeights) -> None:
    wanted = Reference(WORKLOAD, tiny.config, tiny.state).train(DATA, 2, seed=3, lr=1e-3, eps=0.1).losses
    assert np.array_equal(np.array(reference_losses(), dtype=np.float32), wanted.reshape(2, -1))


def test_reference_losses_are_computed_once(reference_losses: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    first = reference_losses()
    monkeypatch.delattr(workloads.artifact, "_reference")
    assert reference_losses() == first


def test_reference_losses_of_other_settings_are_others(reference_losses: Ask) -> None:
    first = reference_losses()
    for other in (replace(TRAINING, eps=0.2), replace(TRAINING, seed=4)):
        assert reference_losses(other) != first
    assert len(reference_losses(steps=3)) == 3
    assert reference_losses() == first


@pytest.mark.parametrize("content", ["", "{", "[]", '{"of": {}}', '{"of": null, "losses": 3}'])
def test_damaged_reference_file_is_computed_again(content: str, reference_losses: Ask, cache: ArtifactCache) -> None:
    first = reference_losses()
    (path,) = cache.root.glob("*/reference-*.json")
    path.write_text(content)
    assert reference_losses() == first
    assert json.loads(path.read_text())["losses"] == first


def test_reference_file_of_other_data_is_not_taken(reference_losses: Ask, cache: ArtifactCache) -> None:
    first = reference_losses()
    (path,) = cache.root.glob("*/reference-*.json")
    kept = json.loads(path.read_text())
    kept["of"]["data"] = "0" * 64
    kept["losses"] = [[1.0, 1.0]] * 2
    path.write_text(json.dumps(kept))
    assert reference_losses() == first


def test_full_disk_under_the_reference_losses_is_told(reference_losses: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path, *_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self))

    monkeypatch.setattr(Path, "write_text", refuse)
    with pytest.raises(UserError, match=f"error {errno.ENOSPC}"):
        reference_losses()
