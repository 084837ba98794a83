"""The noise: known answers, distribution, independence, and the same numbers from stock operators."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import stats

from workloads.methods import perturbation
from workloads.methods.noise import normal, philox4x32, rademacher

MANY = 1 << 20


def words_of(counter: tuple[int, ...], key: tuple[int, int]) -> list[int]:
    arrays = tuple(np.array([word], dtype=np.uint64) for word in counter)
    assert len(arrays) == 4
    return [int(word[0]) for word in philox4x32(arrays, key)]


@pytest.mark.parametrize(
    ("counter", "key", "answer"),
    [
        ((0, 0, 0, 0), (0, 0), [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]),
        ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]),
        (
            (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
            (0xA4093822, 0x299F31D0),
            [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1],
        ),
    ],
    ids=["zeros", "ones", "digits of pi"],
)
def test_philox_gives_the_known_answers_of_random123(
    counter: tuple[int, ...], key: tuple[int, int], answer: list[int]
) -> None:
    assert words_of(counter, key) == answer


def test_noise_is_the_stated_function_of_the_words() -> None:
    """docs/contracts.md, written out once more for one position: seed and step above 32 bits, query 5, lane 2."""
    seed, step, query, position = (3 << 32) + 11, (2 << 32) + 9, 5, 4 * 1234 + 2
    r = words_of((1234, query, 9, 2), (11, 3))
    u, t = ((r[2] >> 9) * 2 + 1) * 2.0**-24, (r[3] >> 9) * 2.0**-23
    expected = np.sqrt(-2.0 * np.log(u)) * np.cos(2.0 * np.pi * t)
    assert normal(seed, step, query, position, 1)[0] == pytest.approx(expected, rel=1e-7)


def test_noise_is_standard_normal() -> None:
    """Bounds are 5 standard errors of each moment for 2^20 values; the KS test's p may not be tiny."""
    z = normal(7, 3, 1, 0, MANY).astype(np.float64)
    assert abs(z.mean()) < 5 / np.sqrt(MANY)
    assert abs(z.var() - 1.0) < 5 * np.sqrt(2 / MANY)
    assert abs(stats.skew(z)) < 5 * np.sqrt(6 / MANY)
    assert abs(stats.kurtosis(z)) < 5 * np.sqrt(24 / MANY)
    assert stats.kstest(z, "norm").pvalue > 1e-4


def test_each_lane_of_a_block_is_standard_normal() -> None:
    z = normal(7, 3, 1, 0, 1 << 18).reshape(-1, 4)
    assert all(stats.kstest(z[:, lane], "norm").pvalue > 1e-4 for lane in range(4))


def test_noise_of_other_seeds_steps_queries_and_positions_is_unrelated() -> None:
    """The correlation of n independent pairs has the standard error 1 / sqrt(n); 6 of them are allowed."""
    count = 1 << 16
    streams = [
        normal(7, 3, 1, 0, count),
        normal(8, 3, 1, 0, count),
        normal(7 + (1 << 32), 3, 1, 0, count),
        normal(7, 4, 1, 0, count),
        normal(7, 3 + (1 << 32), 1, 0, count),
        normal(7, 3, 2, 0, count),
        normal(7, 3, 1, count, count),
    ]
    for a, b in combinations(streams, 2):
        assert abs(np.corrcoef(a, b)[0, 1]) < 6 / np.sqrt(count)
        assert abs(np.corrcoef(a**2, b**2)[0, 1]) < 6 / np.sqrt(count)


def test_neighbouring_positions_are_unrelated() -> None:
    z = normal(7, 3, 1, 0, 1 << 16)
    for distance in (1, 2, 3, 4, 8):
        assert abs(np.corrcoef(z[:-distance], z[distance:])[0, 1]) < 6 / np.sqrt(z.size)


@pytest.mark.parametrize("start", [0, 1, 2, 3, 4, 5, 1023])
@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 250])
def test_slice_of_positions_is_the_slice_of_the_whole(start: int, count: int) -> None:
    whole = normal(7, 3, 1, 0, 2048)
    assert np.array_equal(normal(7, 3, 1, start, count), whole[start : start + count])


def stock(seed: int, step: int, first_query: int, queries: int, count: int) -> NDArray[np.float32]:
    return perturbation.normal(torch.tensor([seed, step]), first_query, queries, count).numpy()


@pytest.mark.parametrize(
    ("seed", "step"),
    [(7, 3), (0, 0), (2**31 + 5, 2**31 + 1), ((3 << 32) + 11, (2 << 32) + 9), (2**63 - 1, 2**63 - 1), (-5, 3)],
)
def test_noise_of_stock_operators_equals_the_reference(seed: int, step: int) -> None:
    """float32 logarithm, root, cosine and sine against float64.

    The angle 2 pi t is rounded to float32 (below 2 pi by at most 2^-22 = 2.4e-7), times a radius of at most
    sqrt(2 ln 2^24) = 5.8: 1.4e-6. The other operations each add some 2^-24 of the value, which is at most 5.8.
    """
    found = stock(seed, step, 2, 3, 10_001)
    expected = np.stack([normal(seed, step, query, 0, 10_001) for query in (2, 3, 4)])
    assert np.abs(found - expected).max() < 3e-6


def test_noise_of_stock_operators_has_no_value_beyond_the_reference_range() -> None:
    found = stock(7, 3, 0, 1, MANY)
    assert np.isfinite(found).all()
    assert np.abs(found).max() <= np.sqrt(2 * 24 * np.log(2)) + 1e-5


def test_a_sign_is_the_stated_bit_of_the_words() -> None:
    """docs/contracts.md, written out once more: seed and step above 32 bits, query 5, bit 77 of a block."""
    seed, step, query, position = (3 << 32) + 11, (2 << 32) + 9, 5, 128 * 1234 + 77
    r = words_of((1234, query, 9, 2), (11, 3))
    assert rademacher(seed, step, query, position, 1)[0] == (-1.0 if r[2] >> 13 & 1 else 1.0)


def test_signs_are_balanced_and_unrelated() -> None:
    """Six standard errors, 1 / sqrt(n), of means and correlations: with other streams, and with a shifted self."""
    count = 1 << 16
    streams = [
        rademacher(7, 3, 1, 0, count),
        rademacher(8, 3, 1, 0, count),
        rademacher(7 + (1 << 32), 3, 1, 0, count),
        rademacher(7, 4, 1, 0, count),
        rademacher(7, 3 + (1 << 32), 1, 0, count),
        rademacher(7, 3, 2, 0, count),
        *(rademacher(7, 3, 1, start, count) for start in (1, 31, 32, 127, 128, count)),
    ]
    assert all(set(stream) == {1.0, -1.0} for stream in streams)
    assert all(abs(stream.mean()) < 6 / np.sqrt(count) for stream in streams)
    for a, b in combinations(streams, 2):
        assert abs(np.mean(a * b)) < 6 / np.sqrt(count)


@pytest.mark.parametrize(("start", "count"), [(0, 1), (127, 2), (5, 300), (128, 128), (3, 0)])
def test_signs_of_a_slice_are_those_of_the_whole(start: int, count: int) -> None:
    whole = rademacher(7, 3, 1, 0, 1000)
    assert np.array_equal(rademacher(7, 3, 1, start, count), whole[start : start + count])


@pytest.mark.parametrize(("seed", "step"), [(7, 3), ((3 << 32) + 11, (2 << 32) + 9), (-5, 3)])
def test_signs_of_stock_operators_are_those_of_the_reference(seed: int, step: int) -> None:
    found = perturbation.rademacher(torch.tensor([seed, step]), 2, 3, 1_001).numpy()
    assert np.array_equal(found, np.stack([rademacher(seed, step, query, 0, 1_001) for query in (2, 3, 4)]))
