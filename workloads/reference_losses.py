"""Losses of the first steps by the eager reference: kept with the artifact, bounded in time.

Where the reference would take too long for some or all of the steps, there are fewer losses and a reason: what is
compared with them has to say so.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from workloads.artifact import Artifact, told_if_unwritable
from workloads.models.weights import ModelWeights, document_sha256
from workloads.reference_cost import ALLOWED_SECONDS, affordable_steps, step_seconds
from workloads.tasks import TaskBatches
from workloads.training import TrainingSettings
from workloads.workload import Workload

OnProgress = Callable[[float], None]
"""Gets the share of all steps that is done, 0 to 1."""


@dataclass(frozen=True)
class ReferenceLosses:
    """Losses of the first steps, flattened [2 * q] a step; `shortfall` says why they are fewer than asked for."""

    losses: tuple[tuple[float, ...], ...]
    shortfall: str | None = None


class _OutOfTimeError(Exception):
    """The clock said so, not the estimate."""


def kept_losses(
    artifact: Artifact, data: TaskBatches, training: TrainingSettings, steps: int
) -> ReferenceLosses | None:
    """The reference losses if they were computed before; a damaged file counts as none."""
    asked = _asked(data, training, steps)
    try:
        kept = json.loads(_path(artifact, asked).read_bytes())
        losses = tuple(tuple(float(loss) for loss in row) for row in kept["losses"])
        shortfall = kept.get("shortfall")
        if kept["of"] == asked and (len(losses) == steps) == (shortfall is None):
            return ReferenceLosses(losses, shortfall)
    except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError):
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
) -> ReferenceLosses:
    """Losses of the first `steps` steps, or of fewer where time does not allow them all; kept with the artifact.

    Computing them costs two eager forward passes of the batch for each query of a step. Raises UserError when the disk
    is full or can't be written.
    """
    kept = kept_losses(artifact, data, training, steps)
    if kept is not None:
        return kept
    found = _computed(workload, weights, data, training, steps, on_progress)
    asked = _asked(data, training, steps)
    path = _path(artifact, asked)
    partial = path.with_suffix(".partial")
    with told_if_unwritable(workload, artifact.folder.parent):
        partial.write_text(json.dumps({"of": asked, **asdict(found)}))
        partial.replace(path)
    return found


def _computed(
    workload: Workload,
    weights: ModelWeights,
    data: TaskBatches,
    training: TrainingSettings,
    steps: int,
    on_progress: OnProgress,
) -> ReferenceLosses:
    affordable = affordable_steps(workload, weights.config, steps)
    if not affordable:
        return ReferenceLosses((), _too_long(workload, weights, 0, steps))
    from workloads.reference import Batch, Reference  # takes seconds to import: only where it is used

    begin = time.monotonic()
    batches = [Batch(*arrays) for arrays in zip(data.tokens, data.first, data.labels, strict=True)]
    losses: list[tuple[float, ...]] = []

    def within_all(share: float) -> None:
        if time.monotonic() - begin > 2 * ALLOWED_SECONDS:
            raise _OutOfTimeError
        on_progress((len(losses) + share) / affordable)

    reference = Reference(workload, weights.config, weights.state)
    trajectory = reference.losses(batches, seed=training.seed, lr=training.lr, eps=training.eps, on_progress=within_all)
    try:
        for row in islice(trajectory, affordable):
            losses.append(tuple(float(loss) for loss in row.reshape(-1)))
    except _OutOfTimeError:
        spent = time.monotonic() - begin
        return ReferenceLosses(
            tuple(losses), f"the eager reference did {len(losses)} of {steps} steps in {spent:.0f} s, its limit"
        )
    return ReferenceLosses(
        tuple(losses), None if affordable == steps else _too_long(workload, weights, affordable, steps)
    )


def _too_long(workload: Workload, weights: ModelWeights, affordable: int, steps: int) -> str:
    each = step_seconds(workload, weights.config)
    return (
        f"the eager reference would take about {each:.0f} s for each of {steps} steps and {ALLOWED_SECONDS:.0f} s are "
        f"allowed for all, so it did {affordable}"
    )


def _asked(data: TaskBatches, training: TrainingSettings, steps: int) -> dict[str, Any]:
    return {"data": data.sha256, "steps": steps, **asdict(training)}


def _path(artifact: Artifact, asked: Mapping[str, Any]) -> Path:
    return artifact.folder / f"reference-{document_sha256(asked)[:16]}.json"
