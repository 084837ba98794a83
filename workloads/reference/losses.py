"""The reference losses of the first steps: stored with the artifact, limited in time.

If the reference would take too long for some or all steps, there are fewer losses and a reason, which belongs in every
comparison with them.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from foundation.atomic import write_atomic
from foundation.foreign_files import DAMAGED
from workloads.estimates.estimate import ALLOWED_SECONDS, UNTRAINED_STEPS, affordable_steps, step_seconds
from workloads.export.artifact import Artifact, reporting_unwritable
from workloads.lowering.arithmetic_probe import Accumulation
from workloads.models.weights import ModelWeights, document_sha256
from workloads.quantize.settings import REFERENCE_STEPS
from workloads.reference.expected_losses import LateStep, Losses, ReferenceLosses, from_document
from workloads.tasks.batches import TaskBatches
from workloads.workload import TrainingSettings, Workload, adapter_values

if TYPE_CHECKING:
    from workloads.reference.eager import Batch

OnProgress = Callable[[float], None]
"""Receives the finished share of all steps, 0 to 1."""


_VERSION = 2
"""Of the reference's arithmetic: losses that were stored with another one are computed again."""

_CLEAR = 2.0
"""The first updates are clear if their effect is this many times the noise: a slope of 1 then reads .75 or more."""


class _OutOfTimeError(Exception):
    """Raised when time runs out, as the estimate was too low."""


def kept_losses(
    artifact: Artifact, data: TaskBatches, training: TrainingSettings, steps: int, accumulation: Accumulation
) -> ReferenceLosses | None:
    """Returns the stored reference losses, if any; a damaged file counts as none."""
    question = _question(data, training, steps, accumulation)
    try:
        document = json.loads(_path(artifact, question).read_bytes())
        found = from_document(document)
        if document["of"] == question and (len(found.losses) == steps) == (found.shortfall is None):
            return found
    except (FileNotFoundError, *DAMAGED):
        pass
    return None


def reference_losses(
    artifact: Artifact,
    workload: Workload,
    weights: ModelWeights,
    data: TaskBatches,
    training: TrainingSettings,
    steps: int,
    on_progress: OnProgress,
    accumulation: Accumulation = Accumulation.FP32,
) -> ReferenceLosses:
    """Returns the losses of the first `steps` steps, or of fewer if time doesn't allow all; stored with the artifact.

    Computing them costs two eager forward passes of the batch for each query of a step. Raises UserError if the disk
    is full or can't be written.
    """
    kept = kept_losses(artifact, data, training, steps, accumulation)
    if kept is not None:
        return kept
    found = _compute(workload, weights, data, training, steps, on_progress, accumulation)
    question = _question(data, training, steps, accumulation)
    path = _path(artifact, question)
    with reporting_unwritable(workload, artifact.folder.parent):
        write_atomic(path, json.dumps({"of": question, **asdict(found)}).encode())
    return found


def _compute(
    workload: Workload,
    weights: ModelWeights,
    data: TaskBatches,
    training: TrainingSettings,
    steps: int,
    on_progress: OnProgress,
    accumulation: Accumulation,
) -> ReferenceLosses:
    affordable = affordable_steps(workload, weights.config, steps, accumulation)
    if not affordable:
        return ReferenceLosses((), _too_long(workload, weights, 0, steps, accumulation))
    calculation = _Calculation(workload, weights, data, training, accumulation)
    shortfall = None if affordable == steps else _too_long(workload, weights, affordable, steps, accumulation)
    try:
        calculation.carry_out(affordable, on_progress)
    except _OutOfTimeError:
        shortfall = (
            f"the eager reference did {len(calculation.losses)} of {steps} steps"
            f"{' and nothing for their updates' * (len(calculation.losses) == steps)} in {calculation.seconds:.0f} s, "
            f"its limit"
        )
    return ReferenceLosses(
        tuple(calculation.losses),
        shortfall,
        tuple(calculation.untrained),
        calculation.noise if calculation.losses else None,
        calculation.late,
    )


class _Calculation:
    """The losses of one reference so far: finished ones count, even if time runs out."""

    def __init__(
        self,
        workload: Workload,
        weights: ModelWeights,
        data: TaskBatches,
        training: TrainingSettings,
        accumulation: Accumulation,
    ) -> None:
        from workloads.reference.eager import Batch  # takes seconds to import

        self._workload, self._weights = workload, weights
        self._training, self._accumulation = training, accumulation
        self._batches = [Batch(*arrays) for arrays in zip(data.tokens, data.first, data.labels, strict=True)]
        self._begin = time.monotonic()
        self.losses: list[Losses] = []
        self.untrained: list[Losses] = []
        self.noise: float | None = None
        self.late: tuple[LateStep, ...] = ()

    @property
    def seconds(self) -> float:
        """The time since the start."""
        return time.monotonic() - self._begin

    def carry_out(self, steps: int, on_progress: OnProgress) -> None:
        """Computes the first `steps` steps and the check of their updates. Raises _OutOfTimeError."""
        import torch

        from workloads.reference.eager import Reference
        from workloads.reference.late_steps import late_steps
        from workloads.reference.of_methods import reference_of

        again = range(max(1, steps - UNTRAINED_STEPS), steps)
        late = self._workload.late_steps if steps >= REFERENCE_STEPS else ()
        parts = 1 + steps + len(again) + 2 * len(late)  # the noise, each step, those without updates, slopes

        def within(part: int) -> OnProgress:
            def watch(share: float) -> None:
                if self.seconds > 2 * ALLOWED_SECONDS:
                    raise _OutOfTimeError
                on_progress((part + share) / parts)

            return watch

        reference = reference_of(self._workload, self._weights, self._accumulation)
        lr, seed, eps = self._training.lr, self._training.seed, self._training.eps
        self.noise = reference.loss_noise(self._batches[0], seed=seed, eps=eps, on_progress=within(0))
        adapter = torch.zeros(adapter_values(reference.layout))
        trajectory = reference.losses(
            self._batches,
            adapter,
            seed=seed,
            lr=lr,
            eps=eps,
            on_progress=lambda share: within(len(self.losses) + 1)(share),
        )
        for row in islice(trajectory, steps):
            self.losses.append(_flattened(row))

        def untrained_losses(step: int, place: int) -> Losses:
            batch = self._batch(step)
            return _flattened(reference.untrained_losses(batch, step, seed=seed, eps=eps, on_progress=within(place)))

        for step in again:
            self.untrained.append(untrained_losses(step, 1 + len(self.losses) + len(self.untrained)))
        if late and lr and self._noise_hides_updates():
            self.untrained = []
            place = parts - 2 * len(late)
            untrained = {step: untrained_losses(step, place + index) for index, step in enumerate(late)}
            del reference, trajectory  # the exact one needs the memory
            self.late = late_steps(
                Reference(self._workload, self._weights.config, self._weights.state, self._accumulation, exact=True),
                {step: self._batch(step) for step in late},
                untrained,
                adapter / steps,
                seed=seed,
                on_progress=lambda share: within(parts - len(late))(share * len(late)),
            )
        within(parts)(0.0)

    def _noise_hides_updates(self) -> bool:
        """Whether the losses with updates and those without differ by little more than noise."""
        moved = [
            trained - still
            for step, steps_still in zip(self.losses[-len(self.untrained) :], self.untrained, strict=True)
            for trained, still in zip(step, steps_still, strict=True)
        ]
        return math.hypot(*moved) < _CLEAR * (self.noise or 0.0) * math.sqrt(len(moved))

    def _batch(self, step: int) -> Batch:
        return self._batches[step % len(self._batches)]


def _flattened(losses: NDArray[np.float32]) -> Losses:
    return tuple(float(loss) for loss in losses.reshape(-1))


def _too_long(
    workload: Workload, weights: ModelWeights, affordable: int, steps: int, accumulation: Accumulation
) -> str:
    each = step_seconds(workload, weights.config, accumulation)
    return (
        f"the eager reference would take about {each:.0f} s for each of {steps} steps, and {ALLOWED_SECONDS:.0f} s "
        f"are allowed for all, so it did {affordable}"
    )


def _question(data: TaskBatches, training: TrainingSettings, steps: int, accumulation: Accumulation) -> dict[str, Any]:
    return {
        "version": _VERSION,
        "data": data.sha256,
        "steps": steps,
        **asdict(training),
        "accumulation": str(accumulation),
    }


def _path(artifact: Artifact, question: Mapping[str, Any]) -> Path:
    return artifact.folder / f"reference-{document_sha256(question)[:16]}.json"
