"""Turns evidence into verdicts, for all series of a night together.

    history too short                               insufficient
    like its history                                unchanged
    device in another state                         inconclusive
    suspect that could not be measured again        inconclusive
    cleared by the first look or the confirmation   unchanged   (cause: the device, if a baseline
                                                    whose own point was at the old level moved as well)
    p <= 0.005, beyond the floor, and q <= 0.05,
    with other loads of both programs as well       regressed or improved
    p or q too large, yet the whole interval of the
    ratio is beyond the floor                       inconclusive

A failed session never gets here: it is an error, not a verdict.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from foundation.unavailable import Json
from suite import stats
from suite.regression.confirmation import ALPHA, Confirmation, FirstLook, Pair, Repeat, is_beyond_floor
from suite.regression.drift import Drift
from suite.regression.log_ratios import Side
from suite.regression.screen import Clear, Insufficient, Screening, Suspect
from suite.regression.segments import StateDifference, list_differences

RULE = "nightly"
VERSION = 3

#: Above this q nothing is a finding, after the correction for the many series of a night.
Q_LIMIT = 0.05

Word = Literal["regressed", "improved", "unchanged", "inconclusive", "insufficient"]
Cause = Literal["code", "device", "noise", "unknown"]


@dataclass(frozen=True)
class Evidence:
    """The evidence on one series tonight.

    `screening` is that of tonight's point; `drift` is given if it was checked, `first_look` and `confirmation` if
    sessions were measured again, `repeat` if they were measured with other loads. `baseline_measurement` is the
    measurement whose program and runner the baseline has. `baseline_at_level`: whether that measurement's point was
    like the history; otherwise the baseline's sessions tonight are no evidence about the device. `state_differences`
    are those of the device between then and now. `obstacle` is why a suspect was not measured again ("the budget of 60
    min was used up").
    """

    series: str
    screening: Screening
    drift: Drift | None = None
    first_look: FirstLook | None = None
    confirmation: Confirmation | None = None
    repeat: Repeat | None = None
    baseline_at_level: bool = True
    baseline_measurement: int | None = None
    state_differences: tuple[StateDifference, ...] = ()
    obstacle: str | None = None

    @property
    def is_suspect(self) -> bool:
        """Whether sessions have to be measured again, as the series is unlike its history or drifts."""
        return self.side is not None

    @property
    def side(self) -> Side | None:
        """The suspected side: the screen's, or else that of the drift; None if the series is not a suspect."""
        if isinstance(self.screening, Suspect):
            return self.screening.side
        return self.drift.side if self.drift is not None and self.drift.found else None


@dataclass(frozen=True)
class Verdict:
    """The verdict on a series in a night. `inputs` is all the evidence, `numbers` the results; both are stored."""

    series: str
    verdict: Word
    cause: Cause | None
    sentence: str
    numbers: Mapping[str, float] = field(default_factory=dict)
    inputs: Mapping[str, Json] = field(default_factory=dict)
    rule: str = RULE
    version: int = VERSION

    def document(self) -> dict[str, Json]:
        """Returns the verdict as JSON values."""
        return dataclasses.asdict(self)


def judge_night(night: Sequence[Evidence]) -> tuple[Verdict, ...]:
    """Returns the verdicts in the given order, with a correction for the number of series that were confirmed.

    Takes all series of the night at once, since one by one nothing would be corrected.
    """
    tested = [item for item in night if item.confirmation is not None]
    q = dict(zip(map(id, tested), q_values([_p(item) for item in tested]), strict=True))
    return tuple(_verdict_on(item, q.get(id(item)), len(tested)) for item in night)


def q_values(p_values: Sequence[float]) -> tuple[float, ...]:
    """Returns for each p the smallest false discovery rate at which it is a finding [Benjamini & Hochberg 1995].

    Raises ValueError for a p outside [0, 1].
    """
    if not p_values:
        return ()
    from scipy import stats as scipy_stats  # takes most of a second

    return tuple(float(q) for q in scipy_stats.false_discovery_control(np.asarray(p_values, dtype=np.float64)))


def _p(item: Evidence) -> float:
    found = item.repeat or item.confirmation
    return 1.0 if found is None else found.p


def _verdict_on(item: Evidence, q: float | None, tested: int) -> Verdict:
    if isinstance(item.screening, Insufficient) and not item.is_suspect:
        return _verdict(item, "insufficient", None, item.screening.sentence)
    if not item.is_suspect:
        return _verdict(item, "unchanged", None, item.screening.sentence)
    if item.state_differences:
        differences = list_differences(item.state_differences)
        why = f"The device was not in the same state: {differences}. Measure again in the same state."
        return _verdict(item, "inconclusive", "unknown", why, q)
    if item.confirmation is not None and q is not None:
        return _confirmed(item, item.confirmation, q, tested)
    if item.first_look is None or item.first_look.go_on:
        why = item.obstacle or "its sessions were not measured again"
        seen = _suspicion(item)
        return _verdict(item, "inconclusive", "unknown", f"{seen} Not confirmed: {why}.")
    return _cleared(item, item.first_look.sentence, item.first_look.pairs, None)


def _confirmed(item: Evidence, found: Confirmation, q: float, tested: int) -> Verdict:
    again = item.repeat
    best = again or found
    change, count = 100 * (best.ratio - 1), len(found.pairs) + (len(again.pairs) if again else 0)
    interval = f"95 %: {100 * (best.interval.low - 1):+.1f} to {100 * (best.interval.high - 1):+.1f} %"
    loads = f", {len(again.pairs)} of them from fresh copies of both," if again else ""
    seen = (
        f"Measured in turn with the baseline {count} times{loads} the candidate differs by {change:+.1f} % "
        f"({interval}), p = {best.p:.2g}, q = {q:.2g} over {tested} series tested"
    )
    if found.go_on and again is None:
        why = item.obstacle or "it was not measured again with other loads of both programs"
        return _verdict(item, "inconclusive", "unknown", f"{seen}. Not confirmed: {why}.", q)
    if again is not None and again.found and q <= Q_LIMIT:
        word: Word = "regressed" if found.side == "worse" else "improved"
        return _verdict(item, word, "code", f"{seen}: the code changed this.", q)
    lacking = _lacking(found, again)
    far = found.beyond_floor if again is None else is_beyond_floor(again.interval_again, found.floor, again.p)
    if far:  # too much to be called nothing, too little to raise an alarm
        return _verdict(item, "inconclusive", "unknown", f"{seen}: {lacking}, but too large to ignore.", q)
    return _cleared(item, f"{seen}: {lacking}.", found.pairs, q)


def _lacking(found: Confirmation, again: Repeat | None) -> str:
    """Returns what is missing for a finding, as part of a sentence."""
    best = again or found
    if best.p > ALPHA:
        return f"p is above {ALPHA}"
    if again is not None and not again.found:
        return (
            f"with fresh copies it is {100 * (again.ratio_again - 1):+.1f} %, but only {found.floor:.1%} or more count"
        )
    return f"less than the {found.floor:.1%} that count" if not found.found else f"q is above {Q_LIMIT}"


def _cleared(item: Evidence, sentence: str, pairs: Sequence[Pair], q: float | None) -> Verdict:
    if not isinstance(item.screening, Suspect):
        sentence += " The drift comes from the device, not the code."
        return _with_numbers(_verdict(item, "unchanged", "device", sentence, q), drift_traced=1.0)
    level = stats.median([pair.baseline for pair in pairs])
    if not (item.baseline_at_level and _baseline_moved(item.screening, level)):
        return _verdict(item, "unchanged", "noise", sentence, q)
    sentence += f" The baseline moved too, to {level:g}: the device changed, not the code."
    return _with_numbers(_verdict(item, "unchanged", "device", sentence, q), device_level=level)


def _with_numbers(verdict: Verdict, **more: float) -> Verdict:
    return dataclasses.replace(verdict, numbers={**verdict.numbers, **more})


def _baseline_moved(suspect: Suspect, level: float) -> bool:
    """Returns whether tonight's baseline sessions differ from the history like the point does, to the same side."""
    numbers = suspect.numbers
    shift = level - numbers.centre
    beyond = abs(shift) > max(numbers.margin, numbers.floor * numbers.centre)
    return beyond and (shift > 0) == (numbers.value > numbers.centre)


def _suspicion(item: Evidence) -> str:
    if isinstance(item.screening, Suspect) or item.drift is None:
        return item.screening.sentence
    return item.drift.sentence


def _verdict(item: Evidence, word: Word, cause: Cause | None, sentence: str, q: float | None = None) -> Verdict:
    numbers: dict[str, float] = {}
    inputs: dict[str, Json] = {}
    if isinstance(item.screening, Suspect | Clear):
        numbers |= item.screening.numbers.numbers()
        inputs["value"] = item.screening.numbers.value
    else:
        numbers["points"] = item.screening.points
    if item.drift is not None:
        numbers |= {f"drift_{name}": value for name, value in item.drift.numbers().items()}
    for pairs_result in (item.first_look, item.confirmation, item.repeat):
        if pairs_result is not None:
            numbers |= pairs_result.numbers()
    for name, pairs in (
        ("first_pairs", item.first_look.pairs if item.first_look else ()),
        ("pairs", item.confirmation.pairs if item.confirmation else ()),
        ("pairs_again", item.repeat.pairs if item.repeat else ()),
    ):
        if pairs:
            inputs[name] = [[pair.baseline, pair.candidate] for pair in pairs]
    if item.baseline_measurement is not None:
        inputs["baseline_measurement"] = item.baseline_measurement
    if item.state_differences:
        inputs["state_differences"] = [str(difference) for difference in item.state_differences]
    if q is not None:
        numbers["q"] = q
    return Verdict(item.series, word, cause, sentence, numbers, inputs)
