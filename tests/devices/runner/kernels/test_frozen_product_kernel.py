"""The product with packed weights against bitsandbytes' definition of NF4."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest
import torch
from bitsandbytes.functional import dequantize_4bit, quantize_4bit

from tests.support.runner.kernel_calls import pointer, variants


def packed_weight(out_features, in_features, seed=0):
    """A random weight as bitsandbytes packs it, and as it unpacks it."""
    weight = torch.randn(out_features, in_features, generator=torch.Generator().manual_seed(seed))
    packed, state = quantize_4bit(weight, blocksize=64, quant_type="nf4", compress_statistics=False)
    unpacked = dequantize_4bit(packed, state).reshape(out_features, in_features)
    return packed.numpy().reshape(-1), state.absmax.float().numpy(), unpacked.double().numpy()


def product(kernels, x, packed, absmax, out_features, variant=0):
    rows, in_features = x.shape
    y = np.full((rows, out_features), np.nan, dtype=np.float32)
    sizes = (ctypes.c_int64(out_features), ctypes.c_int64(in_features))
    assert kernels.prge_linear_nf4(
        ctypes.c_uint64(variant), pointer(x), ctypes.c_int64(rows), pointer(packed), pointer(absmax), *sizes, pointer(y)
    )
    return y


def bound(x, weight):
    """Returns the bound for float32 rounding over a row: in_features half units in the last place of the magnitudes."""
    return 2.0**-23 * x.shape[1] * (np.abs(x).astype(np.float64) @ np.abs(weight).T).max()


@pytest.mark.parametrize(("rows", "out_features", "in_features"), [
    (1, 1, 2),
    (1, 3, 64),
    (13, 33, 192),
    (14, 65, 576),
    (5, 100, 72),  # rows are not a multiple of a block: blocks straddle them
    (7, 50, 30),  # nor of eight
    (300, 70, 1030),  # several passes over a row, the last one odd
    (600, 129, 2048),  # several tiles each way
])  # fmt: skip
def test_product_equals_that_of_the_unpacked_weight(kernels, rows, out_features, in_features):
    packed, absmax, weight = packed_weight(out_features, in_features)
    x = np.random.default_rng(1).normal(size=(rows, in_features)).astype(np.float32)
    for variant in variants(kernels):
        found = product(kernels, x, packed, absmax, out_features, variant)
        assert np.abs(found - x @ weight.T).max() < bound(x, weight)


def test_unpacked_values_are_exact(kernels):
    packed, absmax, weight = packed_weight(64, 128)
    for variant in variants(kernels):
        found = product(kernels, np.eye(128, dtype=np.float32), packed, absmax, 64, variant)
        assert np.array_equal(found.T, weight)


def test_threads_do_not_change_a_bit(kernels):
    packed, absmax, _ = packed_weight(200, 576)
    x = np.random.default_rng(2).normal(size=(512, 576)).astype(np.float32)
    found = set()
    for threads in (1, 2, 3):
        kernels.prge_set_threads(threads)
        found.add(product(kernels, x, packed, absmax, 200).tobytes())
    assert len(found) == 1


def test_no_rows_give_no_result(kernels):
    packed, absmax, _ = packed_weight(8, 64)
    assert product(kernels, np.zeros((0, 64), dtype=np.float32), packed, absmax, 8).shape == (0, 8)
