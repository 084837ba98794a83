"""AdaZeta's query schedule (Yang et al., arXiv 2406.18060) over P-RGE's step.

The steps of a group take their queries around the same adapter and add up their estimates; after the last one

    B = B - lr / m * sum over the m steps of mean_i(g_i z_i)

(QueryGroups). An update thus has m q queries, which is what the schedule requires, and every step costs the same.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from workloads.methods import backprop_operators  # registers the operators  # noqa: F401
from workloads.methods.ends import Ends
from workloads.methods.operators import ONE, SEVERAL, like_first, register
from workloads.methods.parts import Parts, Shape
from workloads.methods.passes import Loops
from workloads.methods.perturbation import Noise
from workloads.methods.prge_step import PrgeStep
from workloads.methods.prge_step import make_program as make_prge_program
from workloads.scheduled.schedules import GROUPS, NOTHING, QueryGroups
from workloads.workload import Workload


def pending_key(key: Tensor, eps: Tensor) -> Tensor:
    """key int64 [2] -> the key of the update that a step leaves pending; none with eps = 0."""
    return torch.stack([key[0], torch.where(eps > 0, key[1], NOTHING)])


def query_group(key: Tensor, lr: Tensor, period: int, sizes: Sequence[int]) -> list[Tensor]:
    """Returns, for the step of a pending key, the rate of its group's sum, and whether the group ends."""
    size = QueryGroups(period, tuple(sizes)).ended(int(key[1]))
    return [lr / size if size else torch.zeros(()), torch.tensor(float(size > 0))]


def replaced(x: Tensor, other: Sequence[Tensor], flag: Tensor) -> Tensor:
    """x float32 [n] or, if the flag is set, the other one, or zeros if there is none."""
    if not flag:
        return x.clone()
    return other[0].clone() if other else torch.zeros_like(x)


def _two_scalars(key: Tensor, lr: Tensor, period: int, sizes: Sequence[int]) -> list[Tensor]:
    del key, period, sizes
    return [torch.empty_like(lr) for _ in range(2)]


register("pending_key", "Tensor key, Tensor eps", ONE, pending_key, like_first)
register("query_group", "Tensor key, Tensor lr, int period, int[] sizes", SEVERAL, query_group, _two_scalars)
register("replaced", "Tensor x, Tensor[] other, Tensor flag", ONE, replaced, like_first)


class DirectedStep(PrgeStep):
    """P-RGE's step with an additional state: direction float32 [n], along which the adapter moves."""

    direction: Tensor
    added: Tensor

    def __init__(self, parts: Parts, loops: Loops, shape: Shape, noise: Noise, ends: Ends) -> None:
        super().__init__(parts, loops, shape, noise, ends)
        self.register_buffer("direction", torch.zeros_like(self.adapter))
        self.register_buffer("added", torch.tensor(-1.0), persistent=False)

    def pending(self, key: Tensor, eps: Tensor) -> Tensor:
        """Returns the key of what is left pending."""
        left: Tensor = torch.ops.prge.pending_key(key, eps)
        return left


class AdaZetaStep(DirectedStep):
    """The step; its direction is the sum of its group's estimates so far."""

    def points(self, key: Tensor, lr: Tensor) -> tuple[Tensor, ...]:
        """Returns the adapter after the update, if one is due."""
        del key
        ops = torch.ops.prge
        direction = self.noise.update(self.direction, self.projected_gradient, self.pending_key, self.added)
        rate, ends = ops.query_group(self.pending_key, lr, GROUPS.period, list(GROUPS.sizes))
        adapter = ops.descend(self.adapter, [direction], rate, 0)
        self.direction.copy_(ops.replaced(direction, [], ends))
        return (adapter,)


def make_program(workload: Workload, parts: Parts) -> PrgeStep:
    """Returns the step over `parts`, with a zero adapter and no pending update."""
    return make_prge_program(workload, parts, AdaZetaStep)
