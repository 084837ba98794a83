"""The product of rounded operands by the processor's instructions for pairs of bfloat16, where it has them."""

from __future__ import annotations

import ctypes
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.support.runner.kernel_calls import frozen, pointer, variants

SMALLEST_NORMAL = 2.0**-126


@pytest.fixture
def pair_variants(kernels):
    """The variants of this processor that multiply pairs, if it does."""
    x, y = np.zeros((1, 2), np.float32), np.zeros((1, 1), np.float32)
    return [each for each in variants(kernels) if try_product(kernels, x, torch.zeros(1, 2).bfloat16(), y, each)]


def test_a_processor_that_multiplies_bfloat16_has_the_variant(kernels, pair_variants):
    has_it = bool({"avx512_bf16", "bf16"} & set(Path("/proc/cpuinfo").read_text().split()))
    assert pair_variants == ([0] if has_it else [])
    assert kernels.prge_variant_name(ctypes.c_uint64(0)).endswith(b"_bf16") == has_it


def try_product(kernels, x, weight, y, variant):
    sizes = (ctypes.c_int64(weight.shape[0]), ctypes.c_int64(weight.shape[1]))
    matrix = frozen(weight, [])
    return kernels.prge_linear_pairs(
        ctypes.c_uint64(variant), pointer(x), ctypes.c_int64(x.shape[0]), ctypes.byref(matrix), *sizes, pointer(y)
    )


def product(kernels, x, weight, variant):
    y = np.full((x.shape[0], weight.shape[0]), np.nan, dtype=np.float32)
    assert try_product(kernels, x, weight, y, variant)
    return y


def random_operands(rows, out_features, in_features):
    generator = torch.Generator().manual_seed(rows)
    x = torch.randn(rows, in_features, generator=generator)
    return x.numpy(), torch.randn(out_features, in_features, generator=generator).bfloat16()


@pytest.mark.parametrize(("rows", "out_features", "in_features"), [
    (1, 1, 1),
    (1, 3, 2),
    (11, 16, 7),
    (12, 17, 64),
    (13, 33, 191),
    (25, 100, 38),
    (300, 70, 1031),  # several passes over a row, the last one odd
    (600, 129, 2048),  # several tiles each way
])  # fmt: skip
def test_product_is_that_of_rounded_operands(kernels, pair_variants, rows, out_features, in_features):
    x, weight = random_operands(rows, out_features, in_features)
    rounded, values = torch.from_numpy(x).bfloat16().double().numpy(), weight.double().numpy()
    bound = 2.0**-23 * in_features * (np.abs(rounded) @ np.abs(values).T).max()
    for variant in pair_variants:
        assert np.abs(product(kernels, x, weight, variant) - rounded @ values.T).max() < bound


def test_operands_are_rounded_to_the_nearest_ties_to_even(kernels, pair_variants):
    """Every midpoint between two bfloat16, and the float32 on both sides of it, in rows of an odd length."""
    halves = np.arange(0x0080, 0x7F7F, dtype=np.uint32) << 16
    bits = np.concatenate([halves + 0x7FFF, halves + 0x8000, halves + 0x8001])
    bits = np.concatenate([bits, bits | 0x8000_0000])
    x = bits[: bits.size // 37 * 37].view(np.float32).reshape(-1, 37)
    expected = torch.from_numpy(x).bfloat16().float().numpy()
    for variant in pair_variants:
        assert np.array_equal(product(kernels, x, torch.eye(37).bfloat16(), variant), expected)


def test_every_normal_weight_is_multiplied_as_it_is(kernels, pair_variants):
    bits = torch.from_numpy(np.arange(1 << 16, dtype=np.uint16).view(np.int16)).view(torch.bfloat16)
    normal = bits.isfinite() & (bits.abs() >= SMALLEST_NORMAL)
    weight = torch.where(normal, bits, 0).reshape(-1, 128)
    for variant in pair_variants:
        found = product(kernels, np.eye(128, dtype=np.float32), weight, variant)
        assert np.array_equal(found.T, weight.float().numpy())


def test_subnormal_operands_are_at_worst_lost(kernels, pair_variants):
    x = np.full((3, 5), SMALLEST_NORMAL / 4, dtype=np.float32)
    weight = torch.full((4, 5), SMALLEST_NORMAL / 2).bfloat16()
    ones = np.ones((3, 5), dtype=np.float32)
    for variant in pair_variants:
        for found in (
            product(kernels, x, torch.ones(4, 5).bfloat16(), variant),
            product(kernels, ones, weight, variant),
        ):
            assert (found >= 0).all()
            assert (found <= 5 * SMALLEST_NORMAL / 2).all()


@pytest.mark.parametrize("in_features", [8, 9])
@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
def test_nan_and_infinity_stay_in_their_row(kernels, pair_variants, value, in_features):
    x, weight = random_operands(14, 20, in_features)
    x[3, in_features - 1] = value
    x[7, 0] = np.array(0x7F80_0001, dtype=np.uint32).view(np.float32)  # NaN, in bits that rounding drops
    expected = torch.from_numpy(x).bfloat16().float().numpy() @ weight.float().numpy().T
    for variant in pair_variants:
        found = product(kernels, x, weight, variant)
        assert np.isnan(found[7]).all()
        assert np.array_equal(np.isnan(found), np.isnan(expected))
        infinite = np.isinf(expected)
        assert np.array_equal(found[infinite], expected[infinite])
        assert np.isfinite(np.delete(found, (3, 7), axis=0)).all()


def test_threads_do_not_change_a_bit(kernels, pair_variants):
    x, weight = random_operands(512, 200, 577)
    for variant in pair_variants:
        found = set()
        for threads in (1, 2, 3):
            kernels.prge_set_threads(threads)
            found.add(product(kernels, x, weight, variant).tobytes())
        assert len(found) == 1


def test_rows_beside_a_row_do_not_change_a_bit_of_it(kernels, pair_variants):
    x, weight = random_operands(30, 70, 129)
    for variant in pair_variants:
        whole = product(kernels, x, weight, variant)
        assert all(np.array_equal(product(kernels, x[i:], weight, variant), whole[i:]) for i in (1, 13, 29))
