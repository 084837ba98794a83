"""Which way is worse. Everything is judged on log ratios, so that a doubling and a halving are equally far."""

from __future__ import annotations

import math
from typing import Literal

Direction = Literal["lower", "higher"]
"""What is better: `lower` (latency, memory, energy) or `higher` (steps per second)."""

Side = Literal["worse", "better"]

#: Changes below this are not called changes, whatever the metric's own floor says.
MIN_EFFECT = 0.025


def worse_sign(direction: Direction) -> int:
    """+1 where a larger value is worse, -1 where a smaller one is. ValueError for anything else."""
    if direction not in ("lower", "higher"):
        raise ValueError(f"the direction is 'lower' or 'higher', not {direction!r}")
    return 1 if direction == "lower" else -1


def side_sign(direction: Direction, side: Side) -> int:
    """The sign of a log ratio that points to `side`."""
    return worse_sign(direction) * (1 if side == "worse" else -1)


def effect_floor(floor: float) -> float:
    """The relative change that counts, as a log ratio: log(1 + max(2.5 %, floor)). ValueError for a negative floor."""
    if not (math.isfinite(floor) and floor >= 0):
        raise ValueError(f"a floor is a relative change of 0 or more, not {floor}")
    return math.log1p(max(MIN_EFFECT, floor))


def percent(log_ratio: float) -> str:
    """`+5.1 %` for a log ratio."""
    return f"{100 * math.expm1(log_ratio):+.1f} %"
