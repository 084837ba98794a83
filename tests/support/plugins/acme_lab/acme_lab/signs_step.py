"""The step of `acme-signs`."""

from __future__ import annotations

from workloads.methods.parts import Parts
from workloads.methods.prge_step import PrgeStep
from workloads.methods.prge_step import make_program as prge
from workloads.workload import Workload


class SignsStep(PrgeStep):
    """A step of P-RGE; the noise follows from the method."""


def make_program(workload: Workload, parts: Parts) -> SignsStep:
    program = prge(workload, parts, SignsStep)
    assert isinstance(program, SignsStep)
    return program
