"""Long traces made short for drawing, with their extremes kept.

The trace is cut into stretches of equal count; of each stretch the lowest and the highest value stay, in their order.
So no spike is lost, whatever the length (the min-max decimation that oscilloscopes use).
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray


def kept(values: Sequence[float] | NDArray[np.float64], limit: int) -> NDArray[np.int64]:
    """Indices, ascending, of at most ``limit`` values: first, last, and the extremes of each stretch.

    Args:
        values: finite numbers.
        limit: how many may stay; at least 6.

    Raises:
        ValueError: ``limit`` is below 6.
    """
    if limit < 6:
        raise ValueError(f"thinning needs room for 6 points, not {limit}")
    array = np.asarray(values, dtype=np.float64)
    if array.size <= limit:
        return np.arange(array.size, dtype=np.int64)
    edges = np.linspace(0, array.size, (limit - 2) // 2 + 1).astype(np.int64)
    chosen = {0, array.size - 1}
    for begin, end in pairwise(edges.tolist()):
        stretch = array[begin:end]
        chosen.add(begin + int(stretch.argmin()))
        chosen.add(begin + int(stretch.argmax()))
    return np.array(sorted(chosen), dtype=np.int64)
