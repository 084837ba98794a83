"""The simulated scenarios, and the bounds that the rule must keep."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from benchmarks.regression.noise import Scenario

STEPPED = 0.05
"""Share of the series that get a step, which the correction for many series must find among the others."""

SCENARIOS = (
    Scenario("plain", "noise alone"),
    Scenario("outliers", "3 % of nights and of sessions are 5 to 30 % slow", outliers=0.03),
    Scenario("correlated", "nights resemble one another, AR(1) 0.6", autocorrelation=0.6),
    Scenario("noisy sessions", "all of the noise comes from the sessions, 2.2 % each", within=1.0),
    Scenario("modes", "one load of a program in twenty is 5 % slow for as long as it lies there", modes=0.05),
    Scenario("device drift", "the device slows down by 6 % over the 45 nights", device_drift=0.06),
    Scenario("device step", "the device slows down by 5 % on one night", device_step=0.05),
    Scenario("code +5 %", "a step of 5 % in the code", step=0.05, stepped=STEPPED),
    Scenario("code +5 %, outliers", "the same, with outliers", step=0.05, stepped=STEPPED, outliers=0.03),
    Scenario("code +5 %, correlated", "the same, AR(1) 0.6", step=0.05, stepped=STEPPED, autocorrelation=0.6),
    Scenario("code +5 %, noisy", "the same, noise from the sessions", step=0.05, stepped=STEPPED, within=1.0),
    Scenario("code +4 %", "a step of 4 % in the code", step=0.04, stepped=STEPPED),
    Scenario("code +3 %", "a step of 3 % in the code", step=0.03, stepped=STEPPED),
    Scenario("code creep", "the code slows down by 6 % over the 45 nights", code_drift=0.06),
)


@dataclass(frozen=True)
class Bound:
    """A scenario's bound: the most false alerts per 1000 series-nights, the least share of steps caught within 5
    nights, or of series with an alert at some time.
    """

    scenario: str
    measure: Literal["false alerts", "caught", "alerted"]
    limit: float


BOUNDS = (
    Bound("plain", "false alerts", 0.05),
    Bound("outliers", "false alerts", 1.0),
    Bound("correlated", "false alerts", 0.05),
    Bound("noisy sessions", "false alerts", 0.05),
    Bound("modes", "false alerts", 0.05),
    Bound("device drift", "false alerts", 0.05),
    Bound("device step", "false alerts", 0.05),
    Bound("code +5 %", "caught", 0.95),
    Bound("code creep", "alerted", 0.95),
)

#: The scenarios on which the public tools' rules are run as well.
COMPARED = ("plain", "outliers", "correlated", "device drift", "code +5 %")
