"""Verdicts on claims: which intervals agree, which do not, and which can't tell."""

from __future__ import annotations

import math

import pytest

from foundation.unavailable import Unavailable
from reports.model.reading import Interval
from suite.experiments.answers.claims import (
    Claim,
    Factor,
    agreement,
    decide,
    factor_of,
    factor_of_pairs,
    factor_over,
    judge,
)
from suite.stats import ratio_interval

TWICE = Claim("up to twice as fast", "somebody", 2.0, best=True)
LESS = Claim("less memory", "somebody", 1.0)


def factor(low: float, high: float) -> Factor:
    return Factor((low + high) / 2, Interval(low, high))


@pytest.mark.parametrize(
    ("low", "high", "word"),
    [
        (1.8, 2.2, "agrees"),  # holds it
        (2.1, 2.4, "agrees"),  # lies on its side
        (2.0, 2.0, "agrees"),
        (1.2, 1.99, "does not"),
        (0.7, 0.9, "does not"),
        (0.9, 2.5, "can't be told"),  # holds it, and that there is nothing in it
    ],
)
def test_an_interval_agrees_if_it_reaches_the_figure_and_excludes_that_there_is_nothing(
    low: float, high: float, word: str
) -> None:
    assert judge(TWICE, factor(low, high)).word == word


@pytest.mark.parametrize(("low", "high", "word"), [(1.1, 1.3, "agrees"), (0.8, 0.9, "does not"), (0.9, 1.1, None)])
def test_a_side_is_decided_only_if_the_interval_lies_on_it(low: float, high: float, word: str | None) -> None:
    verdict = judge(LESS, factor(low, high))
    assert verdict.word == (word or "can't be told")
    assert ("0.9 to 1.1, contains 1" in verdict.reason) == (word is None)


def test_without_an_interval_a_claim_is_undecided_and_the_reason_is_kept() -> None:
    verdict = judge(TWICE, factor_of([20.0, 20.1], [10.0, 10.1]))
    assert verdict.word == "can't be told"
    assert "2 sessions, but an interval needs at least 3" in verdict.reason


BELOW, ABOVE, OPEN, GONE = factor(1.2, 1.5), factor(2.1, 2.3), factor(0.5, 2.6), Factor.missing("no kernel for it")


@pytest.mark.parametrize(
    ("factors", "place", "word"),
    [
        ([BELOW, ABOVE, OPEN], 1, "agrees"),
        ([BELOW, OPEN], 1, "can't be told"),
        ([BELOW, factor(1.6, 1.8)], 1, "does not"),
        ([GONE, BELOW], 1, "does not"),
        ([GONE], 0, "can't be told"),
    ],
)
def test_a_claim_of_the_best_case_needs_one_case_that_agrees(factors: list[Factor], place: int, word: str) -> None:
    decided = decide(TWICE, factors)
    assert decided is not None
    assert (decided[0], decided[1].word) == (place, word)


@pytest.mark.parametrize(
    ("factors", "place", "word"),
    [
        ([factor(1.5, 1.6), factor(1.1, 1.2)], 1, "agrees"),
        ([factor(1.5, 1.6), factor(0.9, 1.1)], 1, "can't be told"),
        ([factor(0.5, 1.1), factor(0.8, 0.9)], 1, "does not"),
    ],
)
def test_a_claim_of_all_cases_falls_with_one_that_does_not(factors: list[Factor], place: int, word: str) -> None:
    decided = decide(LESS, factors)
    assert decided is not None
    assert (decided[0], decided[1].word) == (place, word)


def test_a_claim_without_cases_is_decided_by_none() -> None:
    assert decide(TWICE, []) is None


def test_a_factor_of_two_measurements_has_the_interval_of_ratios() -> None:
    above, below = [20.0, 21.0, 19.5], [10.0, 10.2, 9.9]
    found = factor_of(above, below)
    assert (found.value, found.interval) == (2.0, ratio_interval(above, below))


@pytest.mark.parametrize(("above", "below"), [([], [1.0]), ([1.0], []), ([0.0, 1.0, 1.0], [1.0, 1.0, 1.0])])
def test_a_side_without_sessions_or_with_zeros_has_no_factor(above: list[float], below: list[float]) -> None:
    assert isinstance(factor_of(above, below).value, Unavailable)


def test_an_amount_over_equal_sessions_is_exact() -> None:
    assert factor_over(1000.0, [500.0] * 3) == Factor(2.0, Interval(pytest.approx(2.0), pytest.approx(2.0)))  # type: ignore[arg-type]
    assert isinstance(factor_over(1000.0, []).value, Unavailable)


def test_paired_seeds_give_the_geometric_mean_of_their_ratios() -> None:
    found = factor_of_pairs([(0.8, 0.4), (0.9, 0.3), (0.6, 0.1)])
    assert found.value == pytest.approx(math.cbrt(2 * 3 * 6))
    assert isinstance(found.interval, Interval)
    assert isinstance(factor_of_pairs([(0.8, 0.4)]).interval, Unavailable)
    assert isinstance(factor_of_pairs([]).value, Unavailable)


def test_an_error_within_the_noise_of_the_arithmetic_speaks_for_neither() -> None:
    claim = Claim("the same losses", "somebody", 0.99, without=0.99)
    assert judge(claim, agreement(1e-5, 1e-6)).word == "agrees"
    assert judge(claim, agreement(0.012, 0.005)).word == "can't be told"
    assert judge(claim, agreement(0.3, 0.005)).word == "does not"
    assert judge(claim, agreement(math.inf, 0.0)).word == "can't be told"
