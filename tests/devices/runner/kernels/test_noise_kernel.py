"""The noise kernels against their definition in docs/contracts.md."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.support.runner.kernel_calls import pointer, variants
from workloads.methods import noise as reference

Floats = NDArray[np.float32]


NORMAL, RADEMACHER = 0, 1


def noise(kernels, distribution, seed, step, query, first, count, variant=0):
    key, out = np.array([seed, step], dtype=np.int64), np.full(count, np.nan, dtype=np.float32)
    args = (ctypes.c_int64(query), ctypes.c_int64(first), ctypes.c_int64(count))
    kernels.prge_noise(ctypes.c_uint64(variant), ctypes.c_int64(distribution), pointer(key), *args, pointer(out))
    return out


def normals(kernels, *where):
    return noise(kernels, NORMAL, *where)


def signs_of(kernels, *where):
    return noise(kernels, RADEMACHER, *where)


def philox(counter, key):
    """Philox4x32-10, written for one counter at a time with Python's integers."""
    c, k = list(counter), list(key)
    for _ in range(10):
        p, q = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [(q >> 32) ^ c[1] ^ k[0], q & 0xFFFFFFFF, (p >> 32) ^ c[3] ^ k[1], p & 0xFFFFFFFF]
        k = [(k[0] + 0x9E3779B9) & 0xFFFFFFFF, (k[1] + 0xBB67AE85) & 0xFFFFFFFF]
    return c


def box_muller(words):
    """The four normals of a block, in float64."""
    z = []
    for a, c in (words[:2], words[2:]):
        u, t = ((a >> 9) * 2 + 1) * 2.0**-24, (c >> 9) * 2.0**-23
        radius = np.sqrt(-2.0 * np.log(u))
        z += [radius * np.cos(2 * np.pi * t), radius * np.sin(2 * np.pi * t)]
    return np.array(z)


# Known answers that Random123 publishes (kat_vectors: philox4x32 10): counter, key, output.
KNOWN = [
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]


@pytest.mark.parametrize(("counter", "key", "output"), KNOWN)
def test_philox_gives_the_known_answers(kernels, counter, key, output):
    assert philox(counter, key) == list(output)
    block, query, low, high = counter
    step, seed = low | high << 32, key[0] | key[1] << 32
    signed = [int(np.uint64(word).astype(np.int64)) for word in (seed, step)]
    for variant in variants(kernels):
        found = normals(kernels, *signed, query, 4 * block, 4, variant)
        assert np.abs(found - box_muller(output)).max() < 1e-6


def test_normals_are_within_a_millionth_of_float64(kernels):
    words = np.array([philox((block, 3, 11, 0), (7, 0)) for block in range(20_000)], dtype=np.int64)
    expected = np.array([box_muller(row) for row in words]).reshape(-1)
    assert np.abs(normals(kernels, 7, 11, 3, 0, 80_000) - expected).max() < 1e-6


def test_the_extreme_uniforms_are_finite_and_exact(kernels):
    # Among 2^26 normals some come from the smallest and the largest u.
    found = normals(kernels, 1, 2, 0, 0, 1 << 24)
    assert np.isfinite(found).all()
    assert np.abs(found).max() < 5.78  # sqrt(-2 ln 2^-24) = 5.768


def test_signs_are_the_bits_of_the_words(kernels):
    words = [philox((block, 3, 9, 2), (11, 3)) for block in range(70)]
    bits = [word >> bit & 1 for block in words for word in block for bit in range(32)]
    expected = np.where(np.array(bits) == 1, np.float32(-1.0), np.float32(1.0))
    for variant in variants(kernels):
        found = signs_of(kernels, (3 << 32) + 11, (2 << 32) + 9, 3, 0, 70 * 128, variant)
        assert np.array_equal(found, expected)


@pytest.mark.parametrize("distribution", [NORMAL, RADEMACHER])
def test_all_instruction_sets_give_the_same_bits(kernels, distribution):
    found = [noise(kernels, distribution, 5, 9, 1, 3, 100_001, variant).tobytes() for variant in variants(kernels)]
    assert len(set(found)) == 1


@pytest.mark.parametrize("distribution", [NORMAL, RADEMACHER])
@pytest.mark.parametrize(
    ("first", "count"), [(0, 1), (1, 1), (3, 2), (5, 3), (2, 300), (7, 257), (256, 4), (6, 0), (120, 9), (127, 258)]
)
def test_a_slice_is_a_slice_of_the_whole(kernels, distribution, first, count):
    whole = noise(kernels, distribution, 4, 4, 2, 0, 1024)
    assert np.array_equal(noise(kernels, distribution, 4, 4, 2, first, count), whole[first : first + count])


@pytest.mark.parametrize("distribution", [NORMAL, RADEMACHER])
def test_seed_step_and_query_each_change_the_noise(kernels, distribution):
    base = noise(kernels, distribution, 1, 1, 1, 0, 64)
    for seed, step, query in ((2, 1, 1), (1, 2, 1), (1, 1, 2), (1 + 2**32, 1, 1), (1, 1 + 2**32, 1)):
        assert not np.array_equal(noise(kernels, distribution, seed, step, query, 0, 64), base)


def test_moments_are_those_of_a_standard_normal(kernels):
    z = normals(kernels, 3, 1, 4, 0, 1 << 20).astype(np.float64)
    # Six standard errors each.
    assert abs(z.mean()) < 6 / 2**10
    assert abs(z.var() - 1) < 6 * np.sqrt(2) / 2**10
    assert abs((z**4).mean() - 3) < 6 * np.sqrt(96) / 2**10


def perturb(kernels, adapter, key, eps, first, count, first_query, queries, signs, distribution=NORMAL):
    out = np.full(((2 if signs == 0 else 1) * queries, count), np.nan, dtype=np.float32)
    key = np.array(key, dtype=np.int64)
    sizes = (ctypes.c_int64(first), ctypes.c_int64(count), pointer(key), ctypes.c_float(eps))
    passes = (ctypes.c_int64(first_query), ctypes.c_int64(queries), ctypes.c_int64(signs))
    kernels.prge_perturb(ctypes.c_int64(distribution), pointer(adapter), *sizes, *passes, pointer(out))
    return out


def update(kernels, adapter, gradient, key, rate, distribution=NORMAL):
    out = np.full_like(adapter, np.nan)
    key = np.array(key, dtype=np.int64)
    args = (pointer(gradient), ctypes.c_int64(gradient.size), pointer(key), ctypes.c_float(rate))
    size = ctypes.c_int64(adapter.size)
    kernels.prge_update(ctypes.c_int64(distribution), pointer(adapter), *args, size, pointer(out))
    return out


@pytest.fixture
def adapter() -> Floats:
    return np.random.default_rng(0).normal(size=30_011).astype(np.float32)


@pytest.mark.parametrize("distribution", [NORMAL, RADEMACHER])
@pytest.mark.parametrize(("signs", "directions"), [(0, (1, -1)), (1, (1,)), (-1, (-1,))])
def test_perturb_adds_scaled_noise_with_each_sign(kernels, adapter, signs, directions, distribution):
    found = perturb(kernels, adapter, (7, 3), 0.01, 101, 9_000, 2, 3, signs, distribution)
    drawn = np.stack([noise(kernels, distribution, 7, 3, query, 101, 9_000) for query in (2, 3, 4)])
    eps, base = np.float32(0.01), adapter[101:9_101]
    assert np.array_equal(found, np.concatenate([base + np.float32(sign) * (eps * drawn) for sign in directions]))


@pytest.mark.parametrize("distribution", [NORMAL, RADEMACHER])
def test_the_query_before_the_first_is_the_adapter_itself(kernels, adapter, distribution):
    found = perturb(kernels, adapter, (7, 3), 0.01, 101, 9_000, -1, 3, 1, distribution)
    assert np.array_equal(found[0], adapter[101:9_101])
    assert np.array_equal(found[1:], perturb(kernels, adapter, (7, 3), 0.01, 101, 9_000, 0, 2, 1, distribution))


def test_perturb_and_update_do_not_depend_on_the_number_of_threads(kernels, adapter):
    gradient = np.array([0.5, -1.5, 2.0], dtype=np.float32)
    found = set()
    for threads in (1, 2, 3):
        assert kernels.prge_set_threads(threads) == threads
        both = (
            perturb(kernels, adapter, (1, 2), 0.1, 5, 30_000, 0, 3, 0),
            update(kernels, adapter, gradient, (1, 2), 0.1),
        )
        found.add(tuple(array.tobytes() for array in both))
    assert len(found) == 1


@pytest.mark.parametrize("distribution", [NORMAL, RADEMACHER])
def test_update_is_the_mean_over_the_queries(kernels, adapter, distribution):
    gradient = np.array([0.5, -1.5, 2.0], dtype=np.float32)
    drawn = np.stack([noise(kernels, distribution, 7, 3, query, 0, adapter.size) for query in range(3)])
    expected = adapter - 0.1 * (gradient.astype(np.float64) @ drawn) / 3
    assert np.abs(update(kernels, adapter, gradient, (7, 3), 0.1, distribution) - expected).max() < 1e-6


def test_update_in_place_gives_the_same_bits(kernels, adapter):
    gradient, key = np.array([1.0, 3.0], dtype=np.float32), np.array([7, 3], dtype=np.int64)
    expected = update(kernels, adapter, gradient, (7, 3), 0.1)
    args = (pointer(gradient), ctypes.c_int64(2), pointer(key), ctypes.c_float(0.1), ctypes.c_int64(adapter.size))
    kernels.prge_update(ctypes.c_int64(NORMAL), pointer(adapter), *args, pointer(adapter))
    assert np.array_equal(adapter, expected)


def test_the_reference_of_the_exporter_agrees(kernels):
    where = (7, 2**33 + 5, 2, 1001, 5_000)
    assert np.abs(normals(kernels, *where) - reference.normal(*where)).max() < 1e-6
    assert np.array_equal(signs_of(kernels, *where), reference.rademacher(*where))
