"""Compares two sets of sessions that were not measured in pairs: two runs, two dates, two tags.

Everything that changed in between, including the device, is part of the difference. So this finds whether the numbers
differ, not why. The confirmation by pairs finds why.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from foundation.unavailable import Unavailable
from reports.model.reading import Interval
from suite import stats
from suite.regression.log_ratios import Direction, effect_floor, percent, worse_sign

MIN_SESSIONS = 5
ALPHA = 0.05

Outcome = Literal["worse", "better", "same", "insufficient"]


@dataclass(frozen=True)
class Comparison:
    """The comparison of two sets of sessions.

    `ratio` is median(after) / median(before), with a 95 % interval by Welch's t on logarithms. `p` is two-sided
    (Mann-Whitney, exact unless values are equal). The outcomes `worse` and `better` need p <= 0.05, an interval that
    excludes 1, and a change beyond max(2.5 %, floor). It is `insufficient` with fewer than 5 sessions on a side: four
    against four cannot get below p = 0.029, which leaves nothing for a second comparison.
    """

    outcome: Outcome
    ratio: float
    interval: Interval | Unavailable
    p: float | Unavailable
    sessions: tuple[int, int]
    sentence: str


def compare(before: Sequence[float], after: Sequence[float], direction: Direction, floor: float = 0.0) -> Comparison:
    """Compares two sets of session medians. Raises ValueError for an empty one, or values not positive and finite."""
    if not before or not after:
        raise ValueError("a comparison needs sessions on both sides")
    if not all(math.isfinite(value) and value > 0 for value in (*before, *after)):
        raise ValueError("a comparison needs positive numbers")
    shift = math.log(stats.median(after) / stats.median(before))
    least, worse = effect_floor(floor), worse_sign(direction)
    counts = (len(before), len(after))
    interval = stats.ratio_interval(after, before)
    if min(counts) < MIN_SESSIONS:
        lacking = f"{min(counts)} sessions on one side, but a test needs {MIN_SESSIONS}"
        sentence = f"{percent(shift)}, {lacking}: measure with --sessions {MIN_SESSIONS}."
        return Comparison("insufficient", math.exp(shift), interval, Unavailable(lacking), counts, sentence)
    p = _mann_whitney(before, after)
    apart = p <= ALPHA and isinstance(interval, Interval) and not interval.low <= 1 <= interval.high
    differs = apart and abs(shift) > least
    outcome: Outcome = "same" if not differs else "worse" if shift * worse > 0 else "better"
    why = f"p = {p:.2g}" if not apart or differs else f"p = {p:.2g}, less than the {math.expm1(least):.1%} that count"
    found = outcome if apart or _within(interval, least) else "they can't be told apart"
    sentence = f"{percent(shift)} over {counts[0]} and {counts[1]} sessions ({why}): {found}."
    return Comparison(outcome, math.exp(shift), interval, p, counts, sentence)


def _within(interval: Interval | Unavailable, least: float) -> bool:
    """Returns whether the whole interval is below a change that counts, so that the sides are certainly alike."""
    return isinstance(interval, Interval) and max(abs(math.log(interval.low)), abs(math.log(interval.high))) <= least


def _mann_whitney(before: Sequence[float], after: Sequence[float]) -> float:
    from scipy import stats as scipy_stats  # takes most of a second

    tied = len({*before, *after}) < len(before) + len(after)
    method = "asymptotic" if tied or max(len(before), len(after)) > 50 else "exact"
    return float(scipy_stats.mannwhitneyu(before, after, alternative="two-sided", method=method).pvalue)
