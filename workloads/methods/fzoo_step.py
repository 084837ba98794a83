"""FZOO's step (Dang et al., arXiv 2506.09034): a batched one-sided estimate with random signs, and a normalised step.

With L_0 = L(B), L_i = L(B + eps u_i), u_i of +1 and -1, and q of them:

    g = 1 / (eps q) sum of (L_i - L_0) u_i,    s^2 = 1 / (q - 1) sum of (L_i - mean of L_i)^2,    B = B - lr g / s

s is about eps times the gradient's norm, so a step's length hardly depends on the gradient's norm, but it depends on
eps: lr is smaller than P-RGE's, by a factor of about eps. All 1 + q forward passes run side by side.
"""

from __future__ import annotations

import torch
from torch import Tensor

from workloads.methods.operators import ONE, register
from workloads.methods.parts import Parts
from workloads.methods.prge_step import PrgeStep
from workloads.methods.prge_step import make_program as make_prge_program
from workloads.workload import Workload


def normalised_gradient(losses: Tensor, eps: Tensor) -> Tensor:
    """losses float32 [1, 1 + q], L_0 first -> (L_i - L_0) / (eps s) float32 [q], 0 where eps or s is 0."""
    distances = losses[0, 1:] - losses[0, :1]
    deviation = ((distances - distances.mean()).square().sum() / (distances.shape[0] - 1)).sqrt()
    divisor = eps * deviation
    active = (divisor > 0).to(torch.float32)
    return distances * active / (divisor + (1.0 - active))


def _shape(losses: Tensor, eps: Tensor) -> Tensor:
    del eps
    return losses.new_empty(losses.shape[1] - 1)


register("normalised_gradient", "Tensor losses, Tensor eps", ONE, normalised_gradient, _shape)


class FzooStep(PrgeStep):
    """The step; its losses are float32 [1, 1 + q], its row losses [1, 1 + q, b]."""

    def gradient(self, losses: Tensor, eps: Tensor, key: Tensor) -> Tensor:
        """losses float32 [1, 1 + q] -> the factors of the noise, of whose products a step is the mean: float32 [q]."""
        del key
        result: Tensor = torch.ops.prge.normalised_gradient(losses, eps)
        return result


class StockFzooStep(FzooStep):
    """The same step with operators that every ExecuTorch runtime has."""

    def gradient(self, losses: Tensor, eps: Tensor, key: Tensor) -> Tensor:
        """losses float32 [1, 1 + q] -> float32 [q]."""
        del key
        return normalised_gradient(losses, eps)


def make_program(workload: Workload, parts: Parts) -> PrgeStep:
    """Returns the step over `parts`, with a zero adapter and no pending update."""
    return make_prge_program(workload, parts, StockFzooStep if workload.noise == "stock" else FzooStep)
