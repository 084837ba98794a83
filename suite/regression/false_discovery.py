"""Many series are tested in a night: Benjamini and Hochberg's correction, which bounds the share of false findings."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

Q_LIMIT = 0.05


def q_values(p_values: Sequence[float]) -> tuple[float, ...]:
    """For each p the smallest false discovery rate at which it would be a finding, in the order given.

    q_(i) = min over j >= i of m p_(j) / j, at most 1 [Benjamini & Hochberg 1995]. ValueError for a p outside [0, 1].
    """
    p = np.asarray(p_values, dtype=np.float64)
    if not ((p >= 0) & (p <= 1)).all():
        raise ValueError("p values lie between 0 and 1")
    order = np.argsort(p, kind="stable")
    scaled = p[order] * len(p) / np.arange(1, len(p) + 1)
    q = np.empty_like(p)
    q[order] = np.minimum(np.minimum.accumulate(scaled[::-1])[::-1], 1.0)
    return tuple(float(value) for value in q)
