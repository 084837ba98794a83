"""The perturbation noise: standard normals or random signs, a pure function of (seed, step, query, position).

Counter-based generation (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011) with Philox4x32-10, then
Box and Muller's transform (1958). docs/contracts.md states the exact mapping of bits; this module is its reference in
float64, the runner's kernel computes the same in float32.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
WEYL_INCREMENTS = (0x9E3779B9, 0xBB67AE85)
ROUNDS = 10
WORD = 0xFFFFFFFF

SIGNS_PER_BLOCK = 128

Words = NDArray[np.uint64]


def philox4x32(counter: tuple[Words, Words, Words, Words], key: tuple[int, int]) -> tuple[Words, Words, Words, Words]:
    """Runs ten rounds of Philox4x32: four words of 32 bits (in uint64 arrays of one shape) for each counter."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(ROUNDS):
        p0, p1 = c0 * np.uint64(MULTIPLIERS[0]), c2 * np.uint64(MULTIPLIERS[1])
        c0, c1, c2, c3 = (
            (p1 >> np.uint64(32)) ^ c1 ^ np.uint64(k0),
            p1 & np.uint64(WORD),
            (p0 >> np.uint64(32)) ^ c3 ^ np.uint64(k1),
            p0 & np.uint64(WORD),
        )
        k0, k1 = (k0 + WEYL_INCREMENTS[0]) & WORD, (k1 + WEYL_INCREMENTS[1]) & WORD
    return c0, c1, c2, c3


def normal(seed: int, step: int, query: int, start: int, count: int) -> NDArray[np.float32]:
    """Returns noise for the positions start .. start + count - 1 of the flat adapter: float32 [count], mean 0, variance
    1.
    """
    words, skipped = _words(seed, step, query, start, count, 4)
    lanes = np.empty((words[0].size, 4), dtype=np.float32)
    for pair in range(2):
        u = ((words[2 * pair] >> np.uint64(9)) * np.uint64(2) + np.uint64(1)) * 2.0**-24
        t = (words[2 * pair + 1] >> np.uint64(9)) * 2.0**-23
        radius, angle = np.sqrt(-2.0 * np.log(u)), 2.0 * np.pi * t
        lanes[:, 2 * pair] = radius * np.cos(angle)
        lanes[:, 2 * pair + 1] = radius * np.sin(angle)
    return lanes.reshape(-1)[skipped : skipped + count]


def rademacher(seed: int, step: int, query: int, start: int, count: int) -> NDArray[np.float32]:
    """Returns signs, +1 or -1, for the same positions: float32 [count]; a block of words has 128 of them."""
    words, skipped = _words(seed, step, query, start, count, SIGNS_PER_BLOCK)
    bits = np.stack(words, axis=-1)[:, :, None] >> np.arange(32, dtype=np.uint64) & np.uint64(1)
    return (1.0 - 2.0 * bits.reshape(-1)[skipped : skipped + count]).astype(np.float32)


ROUNDING_STREAM = 1 << 31
"""Added to a weight's slot, this gives the stream whose numbers decide how its updates are rounded."""


def uniform(seed: int, step: int, query: int, start: int, count: int) -> NDArray[np.float32]:
    """Returns numbers between 0 and 1 for the same positions: float32 [count], the u of a normal from each word."""
    words, skipped = _words(seed, step, query, start, count, 4)
    units = ((np.stack(words, axis=-1) >> np.uint64(9)) * np.uint64(2) + np.uint64(1)) * 2.0**-24
    return units.reshape(-1)[skipped : skipped + count].astype(np.float32)


def _words(
    seed: int, step: int, query: int, start: int, count: int, per_block: int
) -> tuple[tuple[Words, Words, Words, Words], int]:
    """Returns the words of all blocks that have one of these positions, and the positions before `start` in them."""
    first_block, last_block = start // per_block, -(-(start + count) // per_block)
    block = np.arange(first_block, last_block, dtype=np.uint64)
    counter = (
        block,
        np.full_like(block, query),
        np.full_like(block, step & WORD),
        np.full_like(block, (step >> 32) & WORD),
    )
    return philox4x32(counter, (seed & WORD, (seed >> 32) & WORD)), start - per_block * first_block


Distribution = Callable[[int, int, int, int, int], NDArray[np.float32]]
"""(seed, step, query, start, count) -> float32 [count], of mean 0 and variance 1."""

DISTRIBUTIONS: dict[str, Distribution] = {"normal": normal, "rademacher": rademacher}
"""By the name in the table of methods."""
