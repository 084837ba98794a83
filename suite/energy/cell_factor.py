"""Whether a gauge shows the current of one of several cells, from the charge that its battery loses meanwhile.

A phone with two cells in parallel may report the current of one: its unit is plausible, and its power half of the true
one. The battery's counter of charge (or of energy, beside a gauge of power) is a second account of the same flow. A
gauge that takes one cell's voltage for that of two in series is not found that way: both accounts agree.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

#: Files with the charge or energy that is left, in the order they are looked for: beside a current, beside a power.
COUNTERS = {True: ("charge_counter", "charge_now"), False: ("energy_now",)}
#: Changes of the counter between which its steps are counted, so that their size does not matter.
LEAST_CHANGES = 5
MOST_CELLS = 4
#: A ratio so close to a whole number is that number of cells.
TOLERANCE = 0.15
_S_PER_HOUR = 3600.0


@dataclass(frozen=True)
class CoursePoint:
    """One moment: seconds on the host's clock; in the driver's units, the gauge's current or power, and the counter."""

    seconds: float
    rate: float
    counter: float


@dataclass(frozen=True)
class CellFactor:
    """What to multiply the gauge by, and how that is known, or why it is left at 1."""

    factor: float
    note: str


def cell_factor(course: Sequence[CoursePoint]) -> CellFactor:
    """Returns the number of cells by which counter and gauge differ, whatever power of a thousand lies between them."""
    remedy = "if it shows one of two cells, pass what a meter shows (--meter-mw), or set power.scale by hand"
    if not course:
        return CellFactor(1.0, f"no counter of its charge can be read to compare with: {remedy}")
    changes = [index for index in range(1, len(course)) if course[index].counter != course[index - 1].counter]
    if len(changes) <= LEAST_CHANGES:
        seconds = course[-1].seconds - course[0].seconds
        return CellFactor(
            1.0,
            f"the counter of its charge changed {len(changes)} times in {seconds:.0f} s, and more than {LEAST_CHANGES} "
            f"are needed to compare with: take longer (--seconds 120); {remedy}",
        )
    window = course[changes[0] : changes[-1] + 1]
    counted = abs(window[-1].counter - window[0].counter)
    integrated = sum(
        (abs(one.rate) + abs(other.rate)) / 2 * (other.seconds - one.seconds) for one, other in pairwise(window)
    )
    if not counted or not integrated:
        return CellFactor(1.0, f"its charge came and went meanwhile, and can't be compared with: {remedy}")
    ratio = counted * _S_PER_HOUR / integrated
    ratio /= 1000.0 ** round(math.log10(ratio) / 3)
    cells = max(1, min(MOST_CELLS, round(ratio)))
    if abs(ratio / cells - 1.0) > TOLERANCE:
        return CellFactor(
            1.0, f"the charge it loses is {ratio:.2f} times what it shows, which is no whole number of cells: {remedy}"
        )
    words = "confirmed by" if cells == 1 else f"times {cells}, as it shows one of {cells} cells according to"
    return CellFactor(float(cells), f"{words} the charge it loses ({ratio:.2f} times what it shows)")
