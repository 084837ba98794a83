"""Kernels that train all weights: products with perturbed ones, and updates that are rounded at random."""

from __future__ import annotations

import ctypes
from functools import cache

import numpy as np
import pytest
import torch

from tests.support.runner.kernel_calls import frozen, pointer, variants
from workloads.methods import noise as reference

SEED, STEP, SLOT = 7, 5, 11
FORMS = {"fp32": (0, np.float32, np.uint32), "fp16": (1, np.float16, np.uint16)}


def key(step=STEP):
    return np.array([SEED, step], dtype=np.int64)


def perturbed_product(kernels, x, weight, scale, variant=0):
    (rows, width), out_features = x.shape, weight.shape[0]
    y = np.full((rows, out_features), np.nan, dtype=np.float32)
    stored = torch.from_numpy(weight)
    assert kernels.prge_linear_perturbed(
        ctypes.c_uint64(variant),
        pointer(x),
        ctypes.c_int64(rows),
        ctypes.byref(frozen(stored, ())),
        *(ctypes.c_int64(size) for size in (out_features, width)),
        pointer(key()),
        ctypes.c_int64(SLOT),
        ctypes.c_float(scale),
        pointer(y),
    )
    return y


def move(kernels, weight, rates, variant=0, step=STEP):
    """Returns the weight after one in-place update by the kernel for each of the rates."""
    moved, each = weight.copy(), np.atleast_1d(np.asarray(rates, dtype=np.float32))
    form = FORMS["fp16" if weight.dtype == np.float16 else "fp32"][0]
    kernels.prge_move_weight(
        ctypes.c_uint64(variant),
        ctypes.c_int64(form),
        pointer(moved),
        ctypes.c_int64(moved.size),
        pointer(key(step)),
        ctypes.c_int64(SLOT),
        pointer(each),
        ctypes.c_int64(each.size),
    )
    return moved


def float32_normals(kernels, count):
    """Returns the kernel's own noise, as float64's differs by some units in the last place of a float32 weight."""
    z = np.empty(count, dtype=np.float32)
    place = (ctypes.c_int64(SLOT), ctypes.c_int64(0), ctypes.c_int64(count))
    kernels.prge_noise(ctypes.c_uint64(0), ctypes.c_int64(0), pointer(key()), *place, pointer(z))
    return z.astype(np.float64)


def some_weights(form, *shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(FORMS[form][1])


def neighbours(exact, dtype):
    """Returns the values of a type at or below, and at or above, numbers of float64."""
    near = exact.astype(dtype)
    below = np.where(near.astype(np.float64) > exact, np.nextafter(near, dtype(-np.inf)), near)
    above = np.where(near.astype(np.float64) < exact, np.nextafter(near, dtype(np.inf)), near)
    return below, above


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("rows", "out_features", "in_features"), [
    (3, 2, 8),
    (13, 33, 192),
    (5, 33, 190),  # blocks of noise do not begin with rows
    (5, 40, 7),
    (7, 70, 1030),  # several passes over a row, the last one odd
    (600, 70, 2052),  # tiles of rows, each of which draws the noise anew
])  # fmt: skip
def test_product_is_that_with_the_weights_plus_their_noise(kernels, form, rows, out_features, in_features):
    weight, scale = some_weights(form, out_features, in_features), -0.3
    z = reference.normal(SEED, STEP, SLOT, 0, weight.size).reshape(weight.shape).astype(np.float64)
    x = np.random.default_rng(1).normal(size=(rows, in_features)).astype(np.float32)
    exact = x.astype(np.float64) @ (weight.astype(np.float64) + scale * z).T
    bound = (
        2.0**-23 * (in_features + 8) * (np.abs(x).astype(np.float64) @ np.abs(weight.astype(np.float64)).T + 9).max()
    )
    for variant in variants(kernels):
        assert np.abs(perturbed_product(kernels, x, weight, scale, variant) - exact).max() < bound


@pytest.mark.parametrize("form", FORMS)
def test_perturbed_values_have_the_same_bits_in_every_variant(kernels, form):
    weight = some_weights(form, 70, 132)
    found = [
        perturbed_product(kernels, np.eye(132, dtype=np.float32), weight, 0.01, each) for each in variants(kernels)
    ]
    z = reference.normal(SEED, STEP, SLOT, 0, weight.size).reshape(weight.shape)
    assert np.abs(found[0].T - (weight.astype(np.float64) + np.float32(0.01) * z.astype(np.float64))).max() < 1e-6
    for other in found[1:]:
        assert np.array_equal(found[0].view(np.uint32), other.view(np.uint32))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("rate", [0.3, 1e-4, 3e-9])
def test_update_is_the_neighbour_of_the_exact_result_that_its_draw_selects(kernels, form, rate):
    weight = some_weights(form, 20_001)
    weight[:8] = [0.0, -0.0, 1.0, -1.0, 2.0**-14, 6e-8, -0.5, 2.0]
    exact = weight.astype(np.float64) - float(np.float32(rate)) * float32_normals(kernels, weight.size)
    below, above = neighbours(exact, FORMS[form][1])
    gap = above.astype(np.float64) - below.astype(np.float64)
    share = np.divide(exact - below, gap, out=np.zeros_like(gap), where=gap > 0)
    outward = np.where(exact < 0, 1.0 - share, share)  # the part of the way to the neighbour of larger magnitude
    draws = reference.uniform(SEED, STEP, SLOT + reference.ROUNDING_STREAM, 0, weight.size)
    expected = np.where((draws < outward) == (exact >= 0), above, below)
    assert (gap > 0).mean() > 0.99
    for variant in variants(kernels):
        assert np.array_equal(move(kernels, weight, rate, variant), expected)


@pytest.mark.parametrize("form", FORMS)
def test_update_has_the_same_bits_in_every_variant(kernels, form):
    weight = some_weights(form, 9_001)
    found = [move(kernels, weight, 1e-5, variant) for variant in variants(kernels)]
    for other in found[1:]:
        assert np.array_equal(found[0].view(FORMS[form][2]), other.view(FORMS[form][2]))


@pytest.mark.parametrize("form", FORMS)
def test_a_rate_of_zero_leaves_every_bit(kernels, form):
    weight = some_weights(form, 501)
    assert np.array_equal(move(kernels, weight, 0.0).view(FORMS[form][2]), weight.view(FORMS[form][2]))


@pytest.mark.parametrize("form", FORMS)
def test_weights_that_overflow_or_get_a_nan_update_are_not_finite(kernels, form):
    weight = np.array([np.finfo(FORMS[form][1]).max], dtype=FORMS[form][1])
    z = float(reference.normal(SEED, STEP, SLOT, 0, 1)[0])
    assert np.isinf(move(kernels, weight, -np.sign(z) * 3e38))[0]
    assert not np.isfinite(move(kernels, weight, float("nan")))[0]


STEPS = 1_000_000
RATES = {"fp32": 2e-10, "fp16": 2e-7}
"""An update is about a twentieth of the distance between two values of float32 near 0.05, 3.7e-9, and a hundredth of
that between two of float16, 3e-5: rounded to the nearest value, all of them would be lost.
"""


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS)
def test_a_million_tiny_updates_arrive(kernels, form):
    """Compares with float64 arithmetic on the reference's noise, without any rounding of weights.

    With d between two values, an update that is the share s of d leaves an error of mean zero and variance
    s (1 - s) d^2 < rate |z| d: after n of them the deviation is below sqrt(n rate d), as the mean of |z| is below 1.
    The projected gradient follows the sign of the first weight's noise, so that this weight has a way to go.
    """
    dtype, rate = FORMS[form][1], RATES[form]
    start = np.array([0.05, -0.05, 0.04, -0.06, 0.045, 0.055, -0.047, 0.033], dtype=dtype)
    z = normals_of_steps(start.size)
    rates = (rate * np.where(z[:, 0] > 0, 1.0, 0.25)).astype(np.float32)
    exact = start.astype(np.float64) - rates.astype(np.float64) @ z
    moved = move(kernels, start, rates, step=0).astype(np.float64)
    spacing = float(np.spacing(np.abs(exact).max().astype(dtype)))
    deviation = np.sqrt(STEPS * rate * spacing)
    assert np.abs(moved - exact).max() < 4 * deviation
    assert np.abs(exact[0] - float(start[0])) > 20 * deviation  # what would be missing if updates were lost
    assert np.std(moved - exact) > 0.1 * deviation  # random, as it should be


@cache
def normals_of_steps(count):
    """The noise of the first `count` positions in each step, float64 [steps, count]."""
    block, step = np.meshgrid(np.arange(-(-count // 4), dtype=np.uint64), np.arange(STEPS, dtype=np.uint64))
    words = reference.philox4x32((block, np.full_like(block, SLOT), step, np.zeros_like(block)), (SEED, 0))
    z = np.empty((*block.shape, 4))
    for pair in range(2):
        u = ((words[2 * pair] >> np.uint64(9)) * np.uint64(2) + np.uint64(1)) * 2.0**-24
        turn = 2.0 * np.pi * (words[2 * pair + 1] >> np.uint64(9)) * 2.0**-23
        radius = np.sqrt(-2.0 * np.log(u))
        z[..., 2 * pair], z[..., 2 * pair + 1] = radius * np.cos(turn), radius * np.sin(turn)
    return z.reshape(STEPS, -1)[:, :count]
