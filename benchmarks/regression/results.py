"""Results of a simulation: rates with their intervals, and whether they provably keep their bounds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from benchmarks.regression.noise import Histories, Scenario
from benchmarks.regression.scenarios import Bound
from benchmarks.regression.trial import Tally

WITHIN_NIGHTS = 5
CONFIDENCE = 0.95

Word = Literal["kept", "undecided", "broken"]


@dataclass(frozen=True)
class Share:
    """`count` of `total`, with the exact 95 % binomial interval [Clopper & Pearson 1934]."""

    count: int
    total: int
    low: float
    high: float

    @property
    def value(self) -> float:
        """count / total; 0 if both are 0."""
        return self.count / self.total if self.total else 0.0


def share(count: int, total: int) -> Share:
    """Returns `count` of `total` with its interval; [0, 1] if the total is 0."""
    from scipy import special  # loading scipy.stats takes most of a second

    tail = (1 - CONFIDENCE) / 2
    low = float(special.betaincinv(count, total - count + 1, tail)) if count else 0.0
    high = float(special.betaincinv(count + 1, total - count, 1 - tail)) if count < total else 1.0
    return Share(count, total, low, high)


@dataclass(frozen=True)
class ScenarioResult:
    """One scenario under the suite's rule. `false_alerts` and `undecided` are of series-nights, `caught` of the steps
    (None without steps), and `caught_later` those at any night after them; `alerted`, `drifting` and `blamed` (on the
    device) of the series; rates are per 1000 series-nights."""

    scenario: Scenario
    false_alerts: Share
    false_improvements: Share
    undecided: Share
    caught: Share | None
    caught_later: Share | None
    alerted: Share
    drifting: Share
    blamed: Share
    suspects_per_1000: float
    sessions_per_1000: float


def summarised(drawn: Histories, tally: Tally) -> ScenarioResult:
    """Separates the alerts that a change of the code explains from the false ones."""
    creeping = drawn.scenario.code_drift > 0
    steps = drawn.step_night
    false = [
        index for index, night in tally.alerts.items() if not creeping and (steps[index] < 0 or night < steps[index])
    ]
    stepped = [int(index) for index in (steps >= 0).nonzero()[0]]
    last = [(index, tally.alerts.get(index, -1)) for index in stepped]
    caught = sum(steps[index] <= night < steps[index] + WITHIN_NIGHTS for index, night in last)
    series, nights = len(steps), tally.judged_nights
    return ScenarioResult(
        scenario=drawn.scenario,
        false_alerts=share(len(false), nights),
        false_improvements=share(len(tally.improvements), nights),
        undecided=share(tally.undecided, nights),
        caught=share(int(caught), len(stepped)) if stepped else None,
        caught_later=share(int(sum(night >= steps[index] for index, night in last)), len(stepped)) if stepped else None,
        alerted=share(len(tally.alerts), series),
        drifting=share(len(tally.drifts), series),
        blamed=share(len(tally.blamed), series),
        suspects_per_1000=1000 * tally.suspects / nights,
        sessions_per_1000=1000 * tally.sessions / nights,
    )


@dataclass(frozen=True)
class BoundCheck:
    """A bound and its outcome: `kept` if the whole interval is within it, `broken` if all of it is beyond, `undecided`
    if more series are needed.
    """

    bound: Bound
    value: float
    low: float
    high: float
    word: Word
    sentence: str


def check_bound(bound: Bound, result: ScenarioResult) -> BoundCheck:
    """Checks one bound. Raises ValueError if the scenario has no steps to catch."""
    if bound.measure == "false alerts":
        found, scale, unit = result.false_alerts, 1000.0, " false alerts per 1000 series-nights"
    elif bound.measure == "alerted":
        found, scale, unit = result.alerted, 1.0, " of the series found at some time"
    elif result.caught is not None:
        found, scale, unit = result.caught, 1.0, f" of the steps caught within {WITHIN_NIGHTS} nights"
    else:
        raise ValueError(f"the scenario {result.scenario.name} has no steps to catch")
    value, low, high = (scale * number for number in (found.value, found.low, found.high))
    most = bound.measure == "false alerts"
    within, beyond = (high <= bound.limit, low > bound.limit) if most else (low >= bound.limit, high < bound.limit)
    word: Word = "kept" if within else "broken" if beyond else "undecided"
    limit = f"{'at most' if most else 'at least'} {bound.limit:g}"
    sentence = f"{bound.scenario}: {value:.3g}{unit} (95 %: {low:.3g} to {high:.3g}), bound: {limit}: {word}"
    return BoundCheck(bound, value, low, high, word, sentence)
