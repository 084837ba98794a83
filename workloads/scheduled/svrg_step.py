"""MeZO-SVRG's step (Gautam et al., arXiv 2404.08080) over P-RGE's: a control variate from an anchor.

With B' the anchor, the same noise z_i and batch at both points, and g the gradient at B' from several batches,

    d = 1/q sum of z_i ([L(B + eps z_i) - L(B - eps z_i)] - [L(B' + eps z_i) - L(B' - eps z_i)]) / (2 eps)
    B = B - lr (d + g)

A period (Anchors) starts with B' = B; its first steps estimate g, each on its batch, and then B = B - lr g. In these
steps both points are the same, and the losses around the anchor add no information.
"""

from __future__ import annotations

import torch
from torch import Tensor

from workloads.methods.ends import Ends
from workloads.methods.operators import ONE, SEVERAL, register
from workloads.methods.parts import Parts, Shape
from workloads.methods.passes import Loops
from workloads.methods.perturbation import Noise
from workloads.methods.prge_step import PrgeStep
from workloads.methods.prge_step import make_program as make_prge_program
from workloads.scheduled import adazeta_step  # registers the operators  # noqa: F401
from workloads.scheduled.schedules import ANCHORS, NOTHING, Anchors
from workloads.workload import Workload


def anchor_terms(pending: Tensor, key: Tensor, lr: Tensor, period: int, batches: int) -> list[Tensor]:
    """Returns factors, float32 [] each: with which the pending estimate is subtracted from the anchor's gradient and
    from the adapter, the rate of the anchor's gradient, and whether the step of `key` starts with a new anchor.
    """
    anchors, step = Anchors(period, batches), int(pending[1])
    gathers = step != NOTHING and anchors.gathers(step)
    corrected = step != NOTHING and not anchors.gathers(step)
    moves = step != NOTHING and anchors.moves(step)
    none, begins = torch.zeros(()), torch.tensor(float(anchors.begins(int(key[1]))))
    return [torch.tensor(-1.0 / batches) if gathers else none, lr * corrected, lr * moves, begins]


def anchored_gradient(slopes: Tensor, key: Tensor, period: int, batches: int) -> Tensor:
    """slopes float32 [2 q], around the adapter and around the anchor -> their differences [q], or the former if the
    step of `key` estimates the anchor's gradient.
    """
    here, there = slopes.chunk(2)
    return here.clone() if Anchors(period, batches).gathers(int(key[1])) else here - there


def _terms_shape(pending: Tensor, key: Tensor, lr: Tensor, period: int, batches: int) -> list[Tensor]:
    del pending, key, period, batches
    return [torch.empty_like(lr) for _ in range(4)]


def _half_shape(slopes: Tensor, key: Tensor, period: int, batches: int) -> Tensor:
    del key, period, batches
    return slopes.new_empty(slopes.numel() // 2)


_TERMS = "Tensor pending, Tensor key, Tensor lr, int period, int batches"
register("anchor_terms", _TERMS, SEVERAL, anchor_terms, _terms_shape)
register("anchored_gradient", "Tensor slopes, Tensor key, int period, int batches", ONE, anchored_gradient, _half_shape)


class SvrgStep(PrgeStep):
    """The step; its losses are float32 [2, 2 q], with those around the anchor after the others.

    Additional state: anchor float32 [n] and anchor_gradient float32 [n].
    """

    anchor: Tensor
    anchor_gradient: Tensor

    def __init__(self, parts: Parts, loops: Loops, shape: Shape, noise: Noise, ends: Ends) -> None:
        super().__init__(parts, loops, shape, noise, ends)
        self.register_buffer("anchor", torch.zeros_like(self.adapter))
        self.register_buffer("anchor_gradient", torch.zeros_like(self.adapter))

    def points(self, key: Tensor, lr: Tensor) -> tuple[Tensor, ...]:
        """Returns the adapter after the update, if one is due, and the anchor."""
        ops, pending = torch.ops.prge, (self.projected_gradient, self.pending_key)
        terms = ops.anchor_terms(self.pending_key, key, lr, ANCHORS.period, ANCHORS.batches)
        gathered, corrected, moved, begins = terms
        gradient = self.noise.update(self.anchor_gradient, *pending, gathered)
        adapter = ops.descend(self.noise.update(self.adapter, *pending, corrected), [gradient], moved, 0)
        anchor = ops.replaced(self.anchor, [adapter], begins)
        self.anchor.copy_(anchor)
        self.anchor_gradient.copy_(ops.replaced(gradient, [], begins))
        return adapter, anchor

    def gradient(self, losses: Tensor, eps: Tensor, key: Tensor) -> Tensor:
        """losses float32 [2, 2 q] -> float32 [q]."""
        slopes = self.ends.gradient(losses, eps)
        result: Tensor = torch.ops.prge.anchored_gradient(slopes, key, ANCHORS.period, ANCHORS.batches)
        return result

    def pending(self, key: Tensor, eps: Tensor) -> Tensor:
        """Returns the key of the update left pending."""
        left: Tensor = torch.ops.prge.pending_key(key, eps)
        return left


def make_program(workload: Workload, parts: Parts) -> PrgeStep:
    """Returns the step over `parts`, with a zero adapter and no pending update."""
    return make_prge_program(workload, parts, SvrgStep)
