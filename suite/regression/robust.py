"""Centre and scale of rows of numbers, not led astray by a few bad nights."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Values = Sequence[float] | Array

#: Points farther than this many MADs from the median have no say in the scale.
BIWEIGHT_REACH = 9.0

MAD_TO_SIGMA = 1.4826


def median_of_rows(data: Array) -> Array:
    """Median of each row of [rows, columns]; for rows this short a sort is faster than numpy's selection."""
    ordered = np.sort(data, axis=1)
    n = data.shape[1]
    middle: Array = (ordered[:, (n - 1) // 2] + ordered[:, n // 2]) / 2
    return middle


def mad_scale(data: Array, centre: Array) -> Array:
    """1.4826 times the median distance [rows] from `centre` [rows]: the standard deviation of normal data."""
    scale: Array = MAD_TO_SIGMA * median_of_rows(np.abs(data - centre[:, None]))
    return scale


def biweight_scale(data: Array, centre: Array) -> Array:
    """Square root of the biweight midvariance [rows] around the median `centre`, 0 where the MAD is 0.

    u = (x - m) / (9 MAD);  s^2 = n sum (x - m)^2 (1 - u^2)^4 / (sum (1 - u^2)(1 - 5 u^2))^2, over |u| < 1
    As robust as the MAD and far less noisy on normal data: efficiency 86 % against 37 % [Lax 1985], which matters since
    thirty points are few and a scale that came out too large hides a step for weeks.
    """
    distance = data - centre[:, None]
    mad = median_of_rows(np.abs(distance))
    reach = BIWEIGHT_REACH * np.where(mad > 0, mad, 1.0)
    u2 = np.minimum((distance / reach[:, None]) ** 2, 1.0)  # at 1 every term below is 0
    top = (distance**2 * (1 - u2) ** 4).sum(axis=1)
    bottom = ((1 - u2) * (1 - 5 * u2)).sum(axis=1)
    spread: Array = np.where(mad > 0, np.sqrt(data.shape[1] * top) / np.abs(np.where(mad > 0, bottom, 1.0)), 0.0)
    return spread
