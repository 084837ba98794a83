"""When and how methods whose steps build on each other make an update; without torch, as the host needs it too.

AdaZeta (Yang et al., arXiv 2406.18060) uses more queries per update as training proceeds: min(alpha e^beta, most) in
epoch e = 1, 2, ... A program has a fixed number of queries, so here an update has those of a *group* of steps, each on
the next batch, all around the same adapter.

MeZO-SVRG (Gautam et al., arXiv 2404.08080) periodically estimates the gradient at the current adapter, the *anchor*,
from many rows, and corrects each estimate in between by the estimate with the same noise and batch at the anchor.

Momentum (Polyak 1964) moves along a moving mean of all estimates.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workloads.method import Method
from workloads.methods.noise import DISTRIBUTIONS

Float32Array = NDArray[np.float32]
State = Mapping[str, NDArray[Any]]

NOTHING = -1
"""The step of a pending key that leaves nothing pending."""


@dataclass(frozen=True)
class QueryGroups:
    """Groups of steps: `sizes` has the steps per update in each epoch of `period` steps; the last size stays."""

    period: int
    sizes: tuple[int, ...]

    def ended(self, step: int) -> int:
        """Returns how many steps make up the update that is due after `step`, 0 if none is.

        An epoch's last group has the remaining steps.
        """
        if step == NOTHING:
            return 0
        epoch, place = divmod(step, self.period)
        wanted = self.sizes[min(epoch, len(self.sizes) - 1)]
        begin = place - place % wanted
        size = min(wanted, self.period - begin)
        return size if place + 1 == begin + size else 0


@dataclass(frozen=True)
class Anchors:
    """Periods of steps: each starts with a new anchor, whose gradient its first `batches` steps gather."""

    period: int
    batches: int

    def begins(self, step: int) -> bool:
        """Returns whether the adapter becomes the anchor before `step`."""
        return step % self.period == 0

    def gathers(self, step: int) -> bool:
        """Returns whether `step` estimates the anchor's gradient, and moves nothing."""
        return step % self.period < self.batches

    def moves(self, step: int) -> bool:
        """Returns whether an update is due after `step`."""
        return step % self.period >= self.batches - 1


GROUPS = QueryGroups(100, tuple(int(epoch**0.5) for epoch in range(1, 17)))
"""alpha is a step's number of queries, beta 1/2, an epoch 100 steps; an update has at most 4 steps' queries."""

ANCHORS = Anchors(period=16, batches=4)

BETA = 0.9
"""The share of a moving mean of estimates that is kept at each step."""


def updated(state: State, method: Method, lr: float) -> Float32Array:
    """Returns the adapter float32 [n] of a program's state, including the pending update at rate `lr`.

    The update is lr times the mean over the queries of projected gradient times noise (docs/contracts.md), or what the
    method derives from that mean. A method without noise leaves nothing pending, and neither does the start of a
    training. Raises KeyError if the state is not that of a training.
    """
    adapter: Float32Array = state["adapter"]
    gradients, key = state.get("projected_gradient"), state.get("pending_key")
    if method.noise is None or gradients is None or key is None:
        return adapter
    seed, step = (int(word) for word in key)
    mean = np.zeros_like(adapter)
    if step != NOTHING:
        for query, gradient in enumerate(gradients):
            mean += gradient * DISTRIBUTIONS[method.noise](seed, step, query, 0, adapter.size)
        mean /= np.float32(len(gradients))
    direction = _DIRECTIONS.get(method.step, _mean_alone)(state, step, mean)
    moved: Float32Array = adapter - np.float32(lr) * direction
    return moved


def _mean_alone(state: State, step: int, mean: Float32Array) -> Float32Array:
    del state, step
    return mean


def _of_group(state: State, step: int, mean: Float32Array) -> Float32Array:
    size = GROUPS.ended(step)
    direction: Float32Array = (state["direction"] + mean) / np.float32(size) if size else np.zeros_like(mean)
    return direction


def _around_anchor(state: State, step: int, mean: Float32Array) -> Float32Array:
    if step == NOTHING or not ANCHORS.moves(step):
        return np.zeros_like(mean)
    share = np.float32(1 / ANCHORS.batches if ANCHORS.gathers(step) else 1.0)
    direction: Float32Array = state["anchor_gradient"] + share * mean
    return direction


def _moving_mean(state: State, step: int, mean: Float32Array) -> Float32Array:
    if step == NOTHING:
        return np.zeros_like(mean)
    direction: Float32Array = np.float32(BETA) * state["direction"] + np.float32(1 - BETA) * mean
    return direction


_DIRECTIONS: dict[str, Callable[[State, int, Float32Array], Float32Array]] = {
    "workloads.scheduled.adazeta_step": _of_group,
    "workloads.scheduled.momentum_step": _moving_mean,
    "workloads.scheduled.svrg_step": _around_anchor,
}
