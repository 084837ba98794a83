"""The eager reference's losses, with which a session's are compared, as stored in files and passed to processes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Losses = tuple[float, ...]
"""The losses of one step, flattened in the order of the method's program."""


@dataclass(frozen=True)
class LateStep:
    """A step that shows the effect of the updates before it, if that of one or two is smaller than the noise of a loss.

    `untrained`: its losses without any update. `slopes`: the derivative of its loss along the noise of each query of
    each step before it, at a zero adapter, flattened [step, q]. `left_out`: the part of the loss's change that this
    misses, for an adapter as far away as the first updates suggest.
    """

    step: int
    untrained: Losses
    slopes: tuple[float, ...]
    left_out: float


@dataclass(frozen=True)
class ReferenceLosses:
    """Losses of the first steps; `shortfall` says why they, or the late steps, are fewer than requested.

    `untrained`: the losses that the last two of these steps (but never the first) would have without any update.
    `noise`: the difference between two correct implementations (Reference.loss_noise); None without any loss. If that
    noise hides the effect of these updates, there is `late` instead of `untrained`.
    """

    losses: tuple[Losses, ...]
    shortfall: str | None = None
    untrained: tuple[Losses, ...] = ()
    noise: float | None = None
    late: tuple[LateStep, ...] = ()


def from_document(document: Mapping[str, Any]) -> ReferenceLosses:
    """Reverses `dataclasses.asdict`. Raises LookupError, TypeError or ValueError for anything else."""
    noise = document["noise"]
    if (noise is None) != (not document["losses"]):
        raise ValueError("losses without their noise")
    return ReferenceLosses(
        tuple(map(_numbers, document["losses"])),
        document["shortfall"],
        tuple(map(_numbers, document["untrained"])),
        None if noise is None else float(noise),
        tuple(
            LateStep(int(late["step"]), _numbers(late["untrained"]), _numbers(late["slopes"]), float(late["left_out"]))
            for late in document.get("late", ())
        ),
    )


def _numbers(row: Any) -> tuple[float, ...]:
    return tuple(float(number) for number in row)
