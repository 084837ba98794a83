"""Idle power before and after each session, measured once where two sessions follow each other."""

from __future__ import annotations

from collections.abc import Callable

from foundation.unavailable import Unavailable
from suite.gate import Clock
from suite.session_energy import IdlePower

KEEPS_NS = 5 * 10**9
"""Idle power measured after a session is also that before the next one, if it begins so soon."""

Power = float | Unavailable
"""Mean idle power in mW, or why there is none."""


class IdleBracket:
    """The idle power of one device over one connection. `measure` is how it is measured, in mW; it takes seconds."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._latest: tuple[int, Power] | None = None

    def forget(self) -> None:
        """What was measured over a connection that is lost says nothing about the next."""
        self._latest = None

    def before(self, measure: Callable[[], Power]) -> Power:
        """Idle power before a session: that after the one before it, if it is fresh."""
        if self._latest is not None:
            measured_ns, power = self._latest
            if self._clock.monotonic_ns() - measured_ns <= KEEPS_NS:
                return power
        return self.after(measure)

    def after(self, measure: Callable[[], Power]) -> Power:
        """Idle power after a session."""
        power = measure()
        self._latest = (self._clock.monotonic_ns(), power)
        return power


def bracketed(before: Power, after: Power) -> IdlePower | Unavailable:
    """Both, or why there aren't both."""
    if isinstance(before, Unavailable):
        return before
    return after if isinstance(after, Unavailable) else IdlePower(before, after)
