"""The backward kernel of a decoder layer, against autograd through the eager operator."""

from __future__ import annotations

import ctypes
from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.support.runner.kernel_calls import PACK, Frozen, frozen, pointer, variants
from tests.support.runner.layer_cases import ALL, CASES, EPSILON, Layer, addresses
from workloads.methods import operators
from workloads.methods.passes import backward_scratch_values

ONE_SLICE = {name: replace(case, slices=1) for name, case in CASES.items() if case.results is None}


def expected_gradients(layer, gradient):
    """By autograd in float64, with weights as they are stored."""
    case = layer.case
    inputs = [value.double().requires_grad_() for value in (layer.x, *layer.lora_b)]
    weights = [weight for weight, _ in layer.weights]
    scales = [scale for _, of_weight in layer.weights for scale in of_weight]
    lists = [
        [value.double() if value.dtype == torch.float32 else value for value in each]
        for each in (layer.norms, layer.rotary, weights, scales, layer.lora_a)
    ]
    result = operators.decoder_layer(
        inputs[0], layer.bias, layer.x, *lists, inputs[1:], case.adapted, case.heads, case.kv_heads, EPSILON,
        *layer.form(),
    )  # fmt: skip
    return [found.numpy() for found in torch.autograd.grad(result, inputs, gradient.double())]


def found_gradients(kernels, layer, gradient, variant=0, in_place=True):
    case, sizes = layer.case, layer.case.sizes()
    given = gradient.numpy().copy()
    out = given if in_place else np.full_like(given, np.nan)
    of_b = [np.full(b.shape, np.nan, dtype=np.float32) for b in layer.lora_b]
    places = dict(zip(case.adapted, of_b, strict=True))
    scratch = np.full(kernels.prge_backward_scratch_values(pointer(sizes)) + 16, np.nan, dtype=np.float32)
    scratch[-16:] = 7.0
    assert kernels.prge_layer_backward(
        ctypes.c_uint64(variant), pointer(sizes), (Frozen * 7)(*(frozen(*weight) for weight in layer.weights)),
        layer.of_all(layer.lora_a), layer.of_all(layer.lora_b), addresses(layer.norms), addresses(layer.rotary),
        *layer.form_of_kernel(), ctypes.c_float(EPSILON), pointer(layer.x.numpy()), pointer(layer.bias.numpy()),
        pointer(given), pointer(scratch),
        (ctypes.c_void_p * 7)(*(places[at].ctypes.data if at in places else None for at in ALL)), pointer(out),
    )  # fmt: skip
    assert (scratch[-16:] == 7.0).all()
    assert in_place or np.array_equal(given, gradient.numpy())
    return [out, *of_b]


def some_gradient(layer):
    """Zero where a position before the first real token attends to nothing, as a training's is."""
    gradient = torch.randn(layer.x.shape, generator=torch.Generator().manual_seed(9))
    return gradient * torch.from_numpy(layer.real)[..., None]


@pytest.mark.parametrize("form", [form for form in PACK if form != "bf16"])
@pytest.mark.parametrize("name", ONE_SLICE)
def test_gradients_are_those_of_autograd(kernels, name, form):
    layer = Layer(ONE_SLICE[name], form)
    gradient = some_gradient(layer)
    expected = expected_gradients(layer, gradient)
    for variant in variants(kernels):
        for in_place in (True, False):
            found = found_gradients(kernels, layer, gradient, variant, in_place)
            assert len(found) == len(expected)
            for one, other in zip(found, expected, strict=True):
                assert np.abs(one - other).max() <= 2e-5 * np.abs(other).max()  # of one token, some are zero


@pytest.mark.parametrize("name", ONE_SLICE)
def test_gradients_of_bfloat16_pass_its_roundings(kernels, name):
    """Operands are only rounded in the forward pass; some near the middle of two numbers go either way."""
    layer = Layer(ONE_SLICE[name], "bf16")
    gradient = some_gradient(layer)
    for one, other in zip(found_gradients(kernels, layer, gradient), expected_gradients(layer, gradient), strict=True):
        assert np.linalg.norm(one - other) <= 1e-3 * np.linalg.norm(other)


@pytest.mark.parametrize("name", ONE_SLICE)
def test_program_reserves_the_scratch_memory_that_the_kernel_needs(kernels, name):
    sizes = ONE_SLICE[name].sizes()
    reserved = backward_scratch_values(ONE_SLICE[name].config, int(sizes[1]), int(sizes[8]))
    assert reserved == kernels.prge_backward_scratch_values(pointer(sizes))


def test_threads_do_not_change_a_bit(kernels):
    layer = Layer(ONE_SLICE["several tiles of rows"])
    found = set()
    for threads in (1, 2, 3):
        kernels.prge_set_threads(threads)
        found.add(b"".join(each.tobytes() for each in found_gradients(kernels, layer, some_gradient(layer))))
    assert len(found) == 1


@pytest.mark.parametrize("form", [*PACK, "fp32"])
@pytest.mark.parametrize(("rows", "width_in", "width_out"), [(1, 64, 3), (5, 128, 1100), (70, 192, 65)])
def test_product_with_an_untransposed_matrix(kernels, form, rows, width_in, width_out):
    generator = torch.Generator().manual_seed(5)
    pack = PACK.get(form, lambda weight: (weight,))
    weight, *scales = pack(torch.randn(width_out, width_in, generator=generator))
    x = torch.randn(rows, width_out, generator=generator)
    expected = x.double() @ operators.dequantize(weight, scales).double()
    for variant in variants(kernels):
        found = np.full((rows, width_in), np.nan, dtype=np.float32)
        assert kernels.prge_linear_frozen_back(
            ctypes.c_uint64(variant), pointer(x.numpy()), ctypes.c_int64(rows), ctypes.byref(frozen(weight, scales)),
            ctypes.c_int64(width_out), ctypes.c_int64(width_in), pointer(found),
        )  # fmt: skip
        assert np.abs(found - expected.numpy()).max() < 1e-5 * float(expected.abs().max())
