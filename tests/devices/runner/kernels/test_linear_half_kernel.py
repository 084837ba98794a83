"""The product with a float16 matrix, summed in float32, against float64."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest

from tests.support.runner.kernel_calls import pointer, variants


def half_weight(out_features, in_features, seed=0):
    return np.random.default_rng(seed).normal(size=(out_features, in_features)).astype(np.float16)


def product(kernels, x, weight, variant=0):
    rows, in_features = x.shape
    y = np.full((rows, weight.shape[0]), np.nan, dtype=np.float32)
    sizes = (ctypes.c_int64(weight.shape[0]), ctypes.c_int64(in_features))
    assert kernels.prge_linear_half(
        ctypes.c_uint64(variant), pointer(x), ctypes.c_int64(rows), pointer(weight), *sizes, pointer(y)
    )
    return y


@pytest.mark.parametrize(("rows", "out_features", "in_features"), [
    (1, 1, 1),
    (1, 3, 64),
    (13, 33, 190),  # no multiple of eight
    (8, 5000, 576),
    (300, 70, 1030),  # several passes over a row, the last one odd
    (600, 129, 2048),  # several tiles each way
])  # fmt: skip
def test_product_is_that_of_float64_to_float32_rounding(kernels, rows, out_features, in_features):
    weight = half_weight(out_features, in_features)
    x = np.random.default_rng(1).normal(size=(rows, in_features)).astype(np.float32)
    exact = x.astype(np.float64) @ weight.astype(np.float64).T
    allowed = 2.0**-23 * in_features * (np.abs(x).astype(np.float64) @ np.abs(weight).astype(np.float64).T).max()
    for variant in variants(kernels):
        assert np.abs(product(kernels, x, weight, variant) - exact).max() < allowed


def test_every_float16_is_widened_to_its_value(kernels):
    """Includes subnormals, negative zero and the largest; weights are always finite."""
    values = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    weight = np.where(np.isfinite(values), values, 0).astype(np.float16).reshape(-1, 128)
    for variant in variants(kernels):
        found = product(kernels, np.eye(128, dtype=np.float32), weight, variant)
        assert np.array_equal(found.T, weight.astype(np.float32))


def test_threads_do_not_change_a_bit(kernels):
    weight, x = half_weight(200, 576), np.random.default_rng(2).normal(size=(512, 576)).astype(np.float32)
    found = set()
    for threads in (1, 2, 3):
        kernels.prge_set_threads(threads)
        found.add(product(kernels, x, weight).tobytes())
    assert len(found) == 1
