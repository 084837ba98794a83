"""The product with a frozen matrix in each format, against the values that the matrix has by definition."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest
import torch

from tests.support.runner.kernel_calls import PACK, frozen, pointer, variants
from workloads.quantize.frozen import dequantize

FORMS = tuple(PACK)


def random_weight(out_features, in_features, seed=0):
    return torch.randn(out_features, in_features, generator=torch.Generator().manual_seed(seed))


def product(kernels, x, stored, out_features, variant=0):
    weight, *scales = stored
    rows, in_features = x.shape
    y = np.full((rows, out_features), np.nan, dtype=np.float32)
    sizes = (ctypes.c_int64(out_features), ctypes.c_int64(in_features))
    matrix = frozen(weight, scales)
    assert kernels.prge_linear_frozen(
        ctypes.c_uint64(variant), pointer(x), ctypes.c_int64(rows), ctypes.byref(matrix), *sizes, pointer(y)
    )
    return y


def bound(x, weight):
    """Returns the bound for float32 rounding over a row: in_features half units in the last place of the magnitudes."""
    return 2.0**-23 * x.shape[1] * (np.abs(x).astype(np.float64) @ np.abs(weight).T).max()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("rows", "out_features", "in_features"), [
    (1, 1, 2),
    (1, 3, 64),
    (13, 33, 192),
    (14, 65, 576),
    (13, 33, 190),  # no multiple of eight
    (5, 100, 72),  # rows are not a multiple of a block: blocks straddle them
    (7, 50, 30),  # not even of four
    (300, 70, 1030),  # several passes over a row, the last one odd
    (600, 129, 2048),  # several tiles each way
])  # fmt: skip
def test_product_is_that_of_float64_to_float32_rounding(kernels, form, rows, out_features, in_features):
    weight, *scales = PACK[form](random_weight(out_features, in_features))
    values = dequantize(weight, scales).double().numpy()
    x = np.random.default_rng(1).normal(size=(rows, in_features)).astype(np.float32)
    for variant in variants(kernels):
        found = product(kernels, x, (weight, *scales), out_features, variant)
        assert np.abs(found - x @ values.T).max() < bound(x, values)


@pytest.mark.parametrize("form", ["fp16", "bf16", "int8"])
def test_rows_of_an_odd_width_are_multiplied(kernels, form):
    weight, *scales = PACK[form](random_weight(33, 191))
    values = dequantize(weight, scales).double().numpy()
    x = np.random.default_rng(1).normal(size=(13, 191)).astype(np.float32)
    for variant in variants(kernels):
        found = product(kernels, x, (weight, *scales), 33, variant)
        assert np.abs(found - x @ values.T).max() < bound(x, values)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("in_features", [128, 66])
def test_values_are_exact(kernels, form, in_features):
    weight, *scales = PACK[form](random_weight(700, in_features))
    for variant in variants(kernels):
        found = product(kernels, np.eye(in_features, dtype=np.float32), (weight, *scales), 700, variant)
        assert np.array_equal(found.T, dequantize(weight, scales).numpy())


@pytest.mark.parametrize("in_features", [256, 251])  # 251: the last value of a row is widened by itself
def test_every_finite_value_of_float16_is_exact(kernels, in_features):
    every = torch.arange(-(2**15), 2**15).short().view(torch.float16)
    weight = every.where(every.isfinite(), torch.zeros(())).half()[: in_features * 256].view(256, in_features)
    for variant in variants(kernels):
        found = product(kernels, np.eye(in_features, dtype=np.float32), (weight,), 256, variant)
        assert np.array_equal(found.T, weight.float().numpy())


@pytest.mark.parametrize("twice", [False, True])
def test_values_of_nf4_are_those_of_bitsandbytes(kernels, twice):
    from bitsandbytes.functional import dequantize_4bit, quantize_4bit  # takes seconds

    packed, state = quantize_4bit(random_weight(300, 128), blocksize=64, quant_type="nf4", compress_statistics=twice)
    expected = dequantize_4bit(packed, state).reshape(300, 128).numpy()
    scales = (state.absmax, state.state2.absmax, state.offset.reshape(1)) if twice else (state.absmax,)
    for variant in variants(kernels):
        found = product(kernels, np.eye(128, dtype=np.float32), (packed, *scales), 300, variant)
        assert np.array_equal(found.T, expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_every_16_bit_number_is_widened_to_its_value(kernels, dtype):
    """Includes subnormals, negative zero and the largest; weights are always finite."""
    values = torch.from_numpy(np.arange(1 << 16, dtype=np.uint16).view(np.int16)).view(dtype)
    weight = torch.where(values.isfinite(), values, 0).reshape(-1, 128)
    for variant in variants(kernels):
        found = product(kernels, np.eye(128, dtype=np.float32), (weight,), 512, variant)
        assert np.array_equal(found.T, weight.float().numpy())


@pytest.mark.parametrize("form", FORMS)
def test_threads_do_not_change_a_bit(kernels, form):
    stored = PACK[form](random_weight(200, 576))
    x = np.random.default_rng(2).normal(size=(512, 576)).astype(np.float32)
    found = set()
    for threads in (1, 2, 3):
        kernels.prge_set_threads(threads)
        found.add(product(kernels, x, stored, 200).tobytes())
    assert len(found) == 1


def test_no_rows_give_no_result(kernels):
    stored = PACK["nf4"](random_weight(8, 64))
    assert product(kernels, np.zeros((0, 64), dtype=np.float32), stored, 8).shape == (0, 8)
