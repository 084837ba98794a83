"""The whole self-test: every scenario under the suite's rule, the public tools' rules beside it, and the bounds."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.regression.noise import NIGHTS, Histories, Scenario, histories
from benchmarks.regression.public_rules import RULES, Rule
from benchmarks.regression.results import (
    WITHIN_NIGHTS,
    BoundCheck,
    ScenarioResult,
    Share,
    check_bound,
    share,
    summarised,
)
from benchmarks.regression.scenarios import BOUNDS, COMPARED, SCENARIOS
from benchmarks.regression.trial import watch
from suite.regression.log_ratios import MIN_EFFECT
from suite.regression.screen import HISTORY_POINTS, MIN_POINTS, NEWEST_LEFT_OUT, screen_arrays

OWN_RULE = "this suite"
SCREEN_ALONE = "the screen alone"

#: Public tools' rules are run on fewer series, as their rates are larger and some of them are slow.
COMPARED_SERIES = 2000

OnPart = Callable[[str], None]


@dataclass(frozen=True)
class RuleRow:
    """One rule in the comparison: false alerts by scenario, and the share of 5 % steps caught within 5 nights."""

    rule: str
    false_alerts: dict[str, Share]
    caught: Share


@dataclass(frozen=True)
class SelfTest:
    """Everything the self-test found."""

    seed: int
    series: int
    results: tuple[ScenarioResult, ...]
    rules: tuple[RuleRow, ...]
    checks: tuple[BoundCheck, ...]

    @property
    def passed(self) -> bool:
        """Whether every bound is proved to be kept."""
        return all(check.word == "kept" for check in self.checks)

    @property
    def broken(self) -> bool:
        """Whether a bound is proved to be broken; neither passed nor broken means that more series are needed."""
        return any(check.word == "broken" for check in self.checks)


def parts() -> int:
    """Returns the number of parts that `run` reports."""
    return len(SCENARIOS) + (len(RULES) + 1) * len(COMPARED)


def run(seed: int, series: int, on_part: OnPart = lambda _name: None) -> SelfTest:
    """Simulates `series` series for each scenario; the same seed gives the same figures."""
    results = []
    for index, scenario in enumerate(SCENARIOS):
        results.append(simulated(scenario, series, np.random.default_rng([seed, index])))
        on_part(scenario.name)
    by_name = {result.scenario.name: result for result in results}
    rules = [_own_row(by_name), *_other_rows(seed, min(series, COMPARED_SERIES), on_part)]
    checks = tuple(check_bound(bound, by_name[bound.scenario]) for bound in BOUNDS)
    return SelfTest(seed, series, tuple(results), tuple(rules), checks)


def simulated(scenario: Scenario, series: int, random: np.random.Generator) -> ScenarioResult:
    """Runs one scenario under the suite's own rule."""
    drawn = histories(scenario, series, random)
    return summarised(drawn, watch(drawn, random))


def screen_alone(points: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Returns [series, nights]: the screen's alerts if nothing were measured again."""
    alerts = np.zeros(points.shape, dtype=bool)
    for night in range(MIN_POINTS, points.shape[1]):
        past = points[:, max(0, night - HISTORY_POINTS - NEWEST_LEFT_OUT) : night]
        alerts[:, night] = screen_arrays(past, points[:, night], 1, np.log1p(MIN_EFFECT)).worse
    return alerts


def _own_row(results: dict[str, ScenarioResult]) -> RuleRow:
    false = {name: results[name].false_alerts for name in COMPARED if results[name].caught is None}
    caught = results[COMPARED[-1]].caught
    return RuleRow(OWN_RULE, false, caught if caught is not None else share(0, 0))


def _other_rows(seed: int, series: int, on_part: OnPart) -> list[RuleRow]:
    rules = {SCREEN_ALONE: screen_alone, **RULES}
    false: dict[str, dict[str, Share]] = {name: {} for name in rules}
    caught: dict[str, Share] = {}
    scenarios = {scenario.name: scenario for scenario in SCENARIOS}
    for index, scenario_name in enumerate(COMPARED):
        # These rules judge each series alone, so all of them may have a step.
        scenario = dataclasses.replace(scenarios[scenario_name], stepped=1.0)
        drawn = histories(scenario, series, np.random.default_rng([seed, 1000 + index]))
        points = np.exp(drawn.points)
        for name, rule in rules.items():
            if drawn.scenario.step > 0:
                caught[name] = _caught(rule, drawn)
            else:
                false[name][scenario_name] = _false(rule(points))
            on_part(f"{name}, {scenario_name}")
    return [RuleRow(name, false[name], caught[name]) for name in rules]


def _false(alerts: NDArray[np.bool_]) -> Share:
    counted = alerts[:, MIN_POINTS:]
    return share(int(counted.sum()), counted.size)


def _caught(rule: Rule, drawn: Histories) -> Share:
    nights = np.arange(NIGHTS)[None, :]
    step = drawn.step_night[:, None]
    inside = (nights >= step) & (nights < step + WITHIN_NIGHTS)
    hit: NDArray[np.bool_] = np.any(rule(np.exp(drawn.points)) & inside, axis=1)
    return share(int(hit.sum()), len(step))
