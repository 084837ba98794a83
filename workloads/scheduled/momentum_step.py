"""P-RGE's step with momentum: each update follows a moving mean of all estimates so far.

    m = beta m + (1 - beta) mean_i(g_i z_i),    B = B - lr m

(Polyak 1964; for MeZO see Malladi et al., arXiv 2305.17333, section 2). With the factor 1 - beta, a step is in the long
run as long as P-RGE's at the same rate, while the noise of its direction is that of about (1 + beta) / (1 - beta) times
as many queries.
"""

from __future__ import annotations

import torch
from torch import Tensor

from workloads.methods.ends import Ends
from workloads.methods.parts import Parts, Shape
from workloads.methods.passes import Loops
from workloads.methods.perturbation import Noise
from workloads.methods.prge_step import PrgeStep
from workloads.methods.prge_step import make_program as make_prge_program
from workloads.scheduled.adazeta_step import DirectedStep
from workloads.scheduled.schedules import BETA
from workloads.workload import Workload


class MomentumStep(DirectedStep):
    """The step; its direction is the moving mean m."""

    always: Tensor

    def __init__(self, parts: Parts, loops: Loops, shape: Shape, noise: Noise, ends: Ends) -> None:
        super().__init__(parts, loops, shape, noise, ends)
        self.register_buffer("always", torch.tensor(1.0), persistent=False)

    def points(self, key: Tensor, lr: Tensor) -> tuple[Tensor, ...]:
        """Returns the adapter after the pending update; if nothing is pending, m doesn't change either."""
        del key
        ops = torch.ops.prge
        rate, is_due = ops.query_group(self.pending_key, lr, 1, [1])
        zero = ops.replaced(self.direction, [], self.always)
        estimate = self.noise.update(zero, self.projected_gradient, self.pending_key, self.added)
        mean = ops.moving_mean(self.direction, [estimate], 0, BETA, False)
        adapter = ops.descend(self.adapter, [mean], rate, 0)
        self.direction.copy_(ops.replaced(self.direction, [mean], is_due))
        return (adapter,)


def make_program(workload: Workload, parts: Parts) -> PrgeStep:
    """Returns the step over `parts`, with a zero adapter and no pending update."""
    return make_prge_program(workload, parts, MomentumStep)
