"""The training in which programs are compared, and how close to the reference each setting must be."""

from __future__ import annotations

from tests.support.workloads.training_runs import Settings
from workloads.workload import Workload

STEPS = 5
SETTINGS = Settings(lr=2e-3, eps=0.1)

ALLOWED = {
    "fp32": 1e-4,
    "fp16": 2e-2,
    "bf16": 5e-2,
    "int8": 1e-4,
    "int8-dynamic": 1e-1,
    "8da4w": 1e-1,
    "nf4": 1e-4,
    "nf4-double": 1e-4,
}
"""Relative error of the adapter, by setting.

A projected gradient is (L+ - L-) / (2 eps). It is about 3.5 here and eps = 0.1, so L+ and L- differ by about 0.7: an
error d in each of them makes an error of d sqrt(2) / 0.7 in the gradient and, over 10 gradients with errors of their
own, of that order in the adapter. Losses are about 7.

fp32, int8, nf4, nf4-double: other orders of summation, 1e-6 of a loss at most (measured: 3e-6 of the adapter). Their
products are float32 products with the values that the weights dequantize to, of nf4 those of bitsandbytes.
fp16: the reference has the same rounded weights and computes in float32; the program's activations are rounded to
11 bits, 2^-11 = 5e-4 each, with random signs. 1e-3 of a loss (measured), so 7e-3 / 0.7 = 1e-2 of a gradient (measured:
7e-3 at most over six seeds).
bf16: both round the same operands to 8 bits, but one near the middle of two numbers may go either way, and what follows
from it does: a loss by 9e-4 (measured), so 1e-2 of a gradient (measured: 4.5e-3 of the adapter).
int8-dynamic, 8da4w: the reference rounds activations to the same codes, but a value within rounding error of the border
between two codes may fall to the other side. Then one activation differs by 1/255 of its token's range, what follows
from it by as much as quantizing it would, and a loss by up to some 1e-3: 2 of 10 losses do (the others are equal to
1e-6). Since the steps build on each other, later ones differ too. 3e-3 * 7 / 0.7 = 3e-2 (measured: 1e-2 to 3.2e-2 over
six seeds).

The last test of test_program_against_reference shows what the bounds would catch.
"""


def workload_of(quant: str, noise: str = "kernel") -> Workload:
    return Workload("tiny", quant, q=2, b=2, T=32, rank=4, noise=noise)
