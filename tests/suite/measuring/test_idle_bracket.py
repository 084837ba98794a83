"""Idle power around sessions: what follows one precedes the next, while it is fresh."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from foundation.unavailable import Unavailable
from suite.measuring.idle_device import KEEPS_NS, Clock, IdleBracket, bracket
from suite.sessions.record import IdlePower


class Bench:
    """A bracket whose time the test moves, and powers that are measured in turn."""

    def __init__(self) -> None:
        self.now_ns = 0
        self.powers: Iterator[float | Unavailable] = iter((100.0, 200.0, 300.0))
        self.bracket = IdleBracket(Clock(monotonic_ns=lambda: self.now_ns))

    def measure(self) -> float | Unavailable:
        return next(self.powers)


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_the_first_session_is_preceded_by_a_measurement_of_its_own(bench: Bench) -> None:
    assert bench.bracket.before(bench.measure) == 100.0
    assert bench.bracket.after(bench.measure) == 200.0


@pytest.mark.parametrize(("pause_ns", "expected"), [(KEEPS_NS, 100.0), (KEEPS_NS + 1, 200.0)])
def test_what_follows_a_session_precedes_the_next_while_it_is_fresh(
    bench: Bench, pause_ns: int, expected: float
) -> None:
    bench.bracket.after(bench.measure)
    bench.now_ns = pause_ns
    assert bench.bracket.before(bench.measure) == expected


def test_a_new_connection_knows_nothing_of_the_last_ones_idle_power(bench: Bench) -> None:
    bench.bracket.after(bench.measure)
    bench.bracket.forget()
    assert bench.bracket.before(bench.measure) == 200.0


def test_both_sides_are_needed() -> None:
    before, after = Unavailable("no sensor"), Unavailable("lost")
    assert bracket(100.0, 300.0) == IdlePower(100.0, 300.0)
    assert bracket(before, after) == before
    assert bracket(100.0, after) == after
