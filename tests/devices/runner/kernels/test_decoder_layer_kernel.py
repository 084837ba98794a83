"""The kernel of a whole decoder layer against the eager operator, for shapes that fit its blocks and others."""

from __future__ import annotations

import ctypes
from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.support.runner.kernel_calls import PACK, pointer, variants
from tests.support.runner.layer_cases import CASES, CASES_OF_WHOLE_VALUES, Layer
from workloads.methods.passes import scratch_values


@pytest.mark.parametrize("form", [form for form in PACK if form != "bf16"])
@pytest.mark.parametrize("name", CASES)
def test_layer_equals_the_eager_operator(kernels, name, form):
    """Hidden states are of the order of one; sums over some 1000 features round to 1e-5 in float32.

    Positions before the first real token attend to nothing: their scores are lost in the mask's rounding, and unused.
    """
    layer = Layer(CASES[name], form)
    expected = layer.expected()
    for variant in variants(kernels):
        for in_place in (True, False):
            found = layer.found(kernels, variant, in_place)
            assert np.isfinite(found).all()
            assert np.abs(found - expected)[layer.real].max() < 1e-5 * np.abs(expected).max()


@pytest.mark.parametrize("name", CASES_OF_WHOLE_VALUES)
def test_layer_of_bfloat16_rounds_operands_where_the_eager_operator_does(kernels, name):
    """An operand near the middle of two bfloat16 may be rounded the other way, by 2^-8 of itself.

    Most values are unaffected by that, and equal up to float32 rounding. With one kind of operand left unrounded, the
    median is 2e-4 or more.
    """
    layer = Layer(CASES_OF_WHOLE_VALUES[name], "bf16")
    expected = layer.expected()
    for variant in variants(kernels):
        for in_place in (True, False):
            found = layer.found(kernels, variant, in_place)
            assert np.isfinite(found).all()
            errors = np.abs(found - expected)[layer.real] / np.abs(expected).max()
            print(f"{name}: {np.median(errors):.1e} in the median, {errors.max():.1e} at most")
            assert np.median(errors) < 1e-5
            assert errors.max() < 5e-3


@pytest.mark.parametrize("name", CASES)
def test_program_reserves_the_scratch_memory_that_the_kernel_needs(kernels, name):
    case = CASES[name]
    sizes = case.sizes()
    results = case.slices * case.sequences * case.rows
    reserved = scratch_values(case.config, int(sizes[0] * sizes[1]), int(sizes[8]), results)
    assert reserved == kernels.prge_scratch_values(pointer(sizes))


@pytest.mark.parametrize("form", ["nf4", "bf16"])
def test_threads_do_not_change_a_bit_of_a_layer(kernels, form):
    layer = Layer(CASES["several tiles of rows"], form)
    found = set()
    for threads in (1, 2, 3):
        kernels.prge_set_threads(threads)
        found.add(layer.found(kernels).tobytes())
    assert len(found) == 1


def test_slices_see_their_own_adapters(kernels):
    """Each slice gives the same result alone as beside the others."""
    layer = Layer(CASES["all heads at once"])
    whole = layer.found(kernels)
    alone = Layer(CASES["all heads at once"])
    alone.case = replace(layer.case, slices=1)
    for index in range(layer.case.slices):
        alone.x = layer.x[index : index + 1].clone()
        alone.lora_b = [b[index : index + 1].clone() for b in layer.lora_b]
        alone.bias = layer.bias[index * layer.case.sequences :][: layer.case.sequences].clone()
        assert np.abs(alone.found(kernels)[0] - whole[index]).max() < 1e-5


def test_answer_losses_are_the_cross_entropy(kernels):
    logits = torch.randn(12, 5001, generator=torch.Generator().manual_seed(0)) * 8.0
    labels = torch.tensor([[3, 5000], [-1, 7], [-1, -1]])
    every = labels.repeat(2, 1).reshape(-1)
    expected = torch.nn.functional.cross_entropy(logits.double(), every, ignore_index=-1, reduction="none")
    for variant in variants(kernels):
        found = np.full(6, np.nan, dtype=np.float32)
        kernels.prge_answer_losses(
            ctypes.c_uint64(variant), pointer(logits.numpy()), ctypes.c_int64(12), ctypes.c_int64(5001),
            pointer(labels.numpy()), ctypes.c_int64(6), ctypes.c_int64(2), pointer(found),
        )  # fmt: skip
        assert np.allclose(found, expected.reshape(6, 2).sum(dim=-1).numpy(), rtol=1e-6, atol=0.0)
