"""The reference losses of the first steps: stored with the artifact, bounded in time.

If the reference would take too long for some or all steps, there are fewer losses and a reason, which belongs in
every comparison with them.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from foundation.atomic import write_atomic
from workloads.estimates.reference_cost import ALLOWED_SECONDS, UNTRAINED_STEPS, affordable_steps, step_seconds
from workloads.export.artifact import Artifact, reporting_unwritable
from workloads.lowering.arithmetic_probe import Accumulation
from workloads.models.weights import ModelWeights, document_sha256
from workloads.tasks.batches import TaskBatches
from workloads.workload import TrainingSettings, Workload

OnProgress = Callable[[float], None]
"""Gets the finished share of all steps, 0 to 1."""


@dataclass(frozen=True)
class ReferenceLosses:
    """Losses of the first steps, flattened [2 * q] a step; `shortfall` says why they are fewer than requested.

    `untrained`: the losses of the last two steps (but never the first) if no update had been made. `noise`: the
    difference between two correct implementations (Reference.loss_noise); None without any loss.
    """

    losses: tuple[tuple[float, ...], ...]
    shortfall: str | None = None
    untrained: tuple[tuple[float, ...], ...] = ()
    noise: float | None = None


class _OutOfTimeError(Exception):
    """Raised by the clock, as the estimate was too low."""


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
    except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError):
        pass
    return None


def from_document(document: Mapping[str, Any]) -> ReferenceLosses:
    """Reverses `dataclasses.asdict`. Raises LookupError, TypeError or ValueError for anything else."""
    losses, untrained = (
        tuple(tuple(float(loss) for loss in row) for row in document[name]) for name in ("losses", "untrained")
    )
    noise = document["noise"]
    if (noise is None) != (not losses):
        raise ValueError("losses come with their noise")
    return ReferenceLosses(losses, document["shortfall"], untrained, None if noise is None else float(noise))


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
    from workloads.reference.backprop import reference_of
    from workloads.reference.eager import Batch  # takes seconds to import: only where it is used

    begin = time.monotonic()
    batches = [Batch(*arrays) for arrays in zip(data.tokens, data.first, data.labels, strict=True)]
    losses: list[tuple[float, ...]] = []
    again = range(max(1, affordable - UNTRAINED_STEPS), affordable)
    parts = 1 + affordable + len(again)  # the noise, each step, and the last steps without updates

    def within(part: int) -> OnProgress:
        def watch(share: float) -> None:
            if time.monotonic() - begin > 2 * ALLOWED_SECONDS:
                raise _OutOfTimeError
            on_progress((part + share) / parts)

        return watch

    reference = reference_of(workload, weights, accumulation)
    trajectory = reference.losses(
        batches,
        seed=training.seed,
        lr=training.lr,
        eps=training.eps,
        on_progress=lambda share: within(len(losses) + 1)(share),
    )
    untrained: list[tuple[float, ...]] = []
    noise, shortfall = None, None
    try:
        noise = reference.loss_noise(batches[0], seed=training.seed, eps=training.eps, on_progress=within(0))
        for row in islice(trajectory, affordable):
            losses.append(tuple(float(loss) for loss in row.reshape(-1)))
        for place, step in enumerate(again, affordable + 1):
            still = reference.untrained_losses(
                batches[step % len(batches)],
                step,
                seed=training.seed,
                eps=training.eps,
                on_progress=within(place),
            )
            untrained.append(tuple(float(loss) for loss in still.reshape(-1)))
    except _OutOfTimeError:
        seconds = time.monotonic() - begin
        shortfall = f"the eager reference did {len(losses)} of {steps} steps in {seconds:.0f} s, its limit"
        return ReferenceLosses(tuple(losses), shortfall, tuple(untrained), noise if losses else None)
    shortfall = None if affordable == steps else _too_long(workload, weights, affordable, steps, accumulation)
    return ReferenceLosses(tuple(losses), shortfall, tuple(untrained), noise)


def _too_long(
    workload: Workload, weights: ModelWeights, affordable: int, steps: int, accumulation: Accumulation
) -> str:
    each = step_seconds(workload, weights.config, accumulation)
    return (
        f"the eager reference would take about {each:.0f} s for each of {steps} steps and {ALLOWED_SECONDS:.0f} s are "
        f"allowed for all, so it did {affordable}"
    )


def _question(data: TaskBatches, training: TrainingSettings, steps: int, accumulation: Accumulation) -> dict[str, Any]:
    return {"data": data.sha256, "steps": steps, **asdict(training), "accumulation": str(accumulation)}


def _path(artifact: Artifact, question: Mapping[str, Any]) -> Path:
    return artifact.folder / f"reference-{document_sha256(question)[:16]}.json"
