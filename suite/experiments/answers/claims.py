"""Decides whether a claim holds on a device, from a factor and its interval.

Each claim is that a factor reaches a figure: "up to twice as fast" means that the best case reaches 2, "no slower"
that the worst case reaches 1. With the interval [low, high] of the measured factor, and `without`, the value that the
factor would have without the claim:

    high < figure                          it does not hold
    low >= figure                          it holds
    low <= figure <= high, low > without   it holds: the interval contains the figure and excludes `without`
    else                                   it can't be told: the interval contains both

Without an interval (too few sessions or seeds, or nothing measured) it can't be told either. Every function is pure.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from foundation.unavailable import Unavailable
from reports.model.reading import Interval, Number
from suite.results.race_answers import estimate_cost
from suite.stats import median, ratio_interval, session_interval

Word = Literal["agrees", "does not", "can't be told"]


@dataclass(frozen=True)
class Claim:
    """A claim about a factor. `best`: the best of several cases decides, otherwise the worst."""

    words: str
    source: str
    figure: float
    without: float = 1.0
    best: bool = False


@dataclass(frozen=True)
class Factor:
    """A measured factor and its 95 % interval, each with the reason instead if there is none."""

    value: Number
    interval: Interval | Unavailable

    @classmethod
    def missing(cls, reason: str) -> Factor:
        """Returns a factor that was not measured."""
        return cls(Unavailable(reason), Unavailable(reason))


@dataclass(frozen=True)
class Verdict:
    """Whether a claim holds; `reason` is why that can't be told."""

    word: Word
    reason: str = ""


def judge(claim: Claim, factor: Factor) -> Verdict:
    """Returns whether the claim holds by the rules of this module."""
    found = factor.interval
    if isinstance(found, Unavailable):
        return Verdict("can't be told", found.reason)
    if found.high < claim.figure:
        return Verdict("does not")
    if found.low >= claim.figure or found.low > claim.without:
        return Verdict("agrees")
    both = f"{claim.figure:g}" if claim.figure == claim.without else f"{claim.figure:g} and {claim.without:g}"
    return Verdict("can't be told", f"its interval, {found.low:.3g} to {found.high:.3g}, contains {both}")


def decide(claim: Claim, factors: Sequence[Factor]) -> tuple[int, Verdict] | None:
    """Returns the case that decides a claim, and the verdict; None if there is no case.

    A claim about the best case needs one case that agrees; a claim about all cases fails with one that does not.
    Cases without a factor count only if no other has one.
    """
    known = [place for place, one in enumerate(factors) if not isinstance(one.value, Unavailable)]
    verdicts = {place: judge(claim, factors[place]) for place in known or range(len(factors))}
    order = ("agrees", "can't be told", "does not")
    sign = 1.0 if claim.best else -1.0

    def weight(place: int) -> tuple[float, float]:
        value = factors[place].value
        rank = -sign * order.index(verdicts[place].word)
        return rank, 0.0 if isinstance(value, Unavailable) else sign * value

    if not verdicts:
        return None
    place = max(verdicts, key=weight)
    return place, verdicts[place]


def factor_of(above: Sequence[float], below: Sequence[float]) -> Factor:
    """Returns the ratio of two levels, each given by the figures of its sessions."""
    if not above or not below:
        return Factor.missing("a side of the comparison has no session that counts")
    if min(*above, *below) <= 0:
        return Factor.missing("a session recorded 0")
    return Factor(median(above) / median(below), ratio_interval(above, below))


def factor_over(amount: float, below: Sequence[float]) -> Factor:
    """Returns the ratio of an exactly known amount to a level, given by the figures of its sessions."""
    if not below or min(below) <= 0:
        return Factor.missing("there is no session that counts")
    level = session_interval(below)
    ends = level if isinstance(level, Unavailable) else Interval(amount / level.high, amount / level.low)
    return Factor(amount / median(below), ends)


def factor_of_pairs(pairs: Sequence[tuple[float, float]]) -> Factor:
    """Returns the geometric mean of the ratios of paired figures, such as those of one seed."""
    if not pairs:
        return Factor.missing("no seed has both sides")
    if min(min(pair) for pair in pairs) <= 0:
        return Factor.missing("a figure of a seed is 0")
    found = estimate_cost([own / other for own, other in pairs])
    return Factor(found.value, found.interval)


def agreement(error: float, noise: float) -> Factor:
    """Returns 1 minus a relative error; the interval allows for three standard deviations of `noise` either way."""
    if not math.isfinite(error):
        return Factor.missing("the losses are not finite")
    reach = 3.0 * noise
    return Factor(1.0 - error, Interval(1.0 - error - reach, min(1.0, 1.0 - error + reach)))
