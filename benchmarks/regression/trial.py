"""The suite's own rule over many simulated series, night after night: screen, first look, confirmation, correction."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from benchmarks.regression.noise import Histories, pair_log_ratios
from suite.regression import signed_rank
from suite.regression.confirmation import (
    AGAIN_PAIRS,
    CONFIRM_PAIRS,
    FIRST_PAIRS,
    is_repeated,
    is_worth_repeating,
    promising,
)
from suite.regression.drift import MIN_POINTS as DRIFT_POINTS
from suite.regression.drift import NIGHTS_BETWEEN_CHECKS, drift_arrays
from suite.regression.log_ratios import MIN_EFFECT
from suite.regression.screen import (
    HISTORY_POINTS,
    MIN_POINTS,
    NEWEST_LEFT_OUT,
    ScreenArrays,
    compared_with,
    is_like,
    screen_arrays,
)
from suite.regression.segments import NIGHTS_TOGETHER
from suite.regression.verdict import Q_LIMIT, q_values

#: Series that are judged together in a night; the correction for many series is made over these.
LAB_SERIES = 500

LEAST = math.log1p(MIN_EFFECT)
OnNight = Callable[[], None]


@dataclass
class Tally:
    """A tally of outcomes. `alerts` has the night of `regressed` by series, `improvements` likewise; `sessions` were
    measured again; `undecided` are the series-nights that were neither confirmed nor cleared; `judged_nights` are
    series-nights with enough history; `drifts` holds the series with reported drift, `blamed` those whose device was
    found to have changed.
    """

    alerts: dict[int, int] = field(default_factory=dict)
    improvements: dict[int, int] = field(default_factory=dict)
    drifts: set[int] = field(default_factory=set)
    suspects: int = 0
    sessions: int = 0
    undecided: int = 0
    judged_nights: int = 0
    blamed: set[int] = field(default_factory=set)


class _Lab:
    """The state that a night leaves to the next: the histories as they are compared, and the findings for each."""

    def __init__(self, drawn: Histories) -> None:
        self.drawn = drawn
        self.values = np.exp(drawn.points)  # earlier nights are scaled once the device has changed
        series = len(self.values)
        self.open = np.ones(series, dtype=bool)
        self.next_drift_check = np.zeros(series, dtype=np.int64)
        self.drift_since = np.zeros(series, dtype=np.int64)
        self.blamed_night = np.full(series, -NIGHTS_TOGETHER, dtype=np.int64)
        self.blamed_level = np.ones(series)

    def suspects(self, night: int) -> tuple[ScreenArrays, NDArray[np.int64], NDArray[np.bool_]]:
        """Screens a night: [series] +1 for a suspected regression, -1 for an improvement, else 0; and which drift."""
        history = self.values[:, max(0, night - HISTORY_POINTS - NEWEST_LEFT_OUT) : night]
        screened = screen_arrays(history, self.values[:, night], 1, LEAST)
        sides = (screened.worse.astype(np.int64) - screened.better.astype(np.int64)) * self.open
        drifting = self._drifting(night)
        due = (drifting != 0) & (sides == 0) & (self.next_drift_check <= night)
        sides[due] = drifting[due]
        self.next_drift_check[due] = night + NIGHTS_BETWEEN_CHECKS
        return screened, sides, drifting != 0

    def _drifting(self, night: int) -> NDArray[np.int64]:
        """Returns [series] +1 where the points since the device's last change drift upwards, -1 where downwards."""
        sides = np.zeros(len(self.values), dtype=np.int64)
        for since in np.unique(self.drift_since[self.open]):
            if night + 1 - since < DRIFT_POINTS:
                continue
            chosen = np.flatnonzero(self.open & (self.drift_since == since))
            drift = drift_arrays(self.drawn.points[chosen, since : night + 1], LEAST)
            sides[chosen] = np.sign(drift.total).astype(np.int64) * drift.found
        return sides

    def baselines(self, screened: ScreenArrays, chosen: NDArray[np.int64], night: int) -> NDArray[np.int64]:
        """Returns the night whose artifact each of `chosen` is measured beside (suite.nightly.evidence).

        The oldest compared night that is like its history; for a series that only drifts, the first since the device
        changed.
        """
        begin = max(0, night - HISTORY_POINTS - NEWEST_LEFT_OUT)
        compared = compared_with(np.broadcast_to(np.arange(begin, night), (1, night - begin)))[0]
        centre = screened.centre[chosen, None]
        at_level = is_like(self.values[chosen][:, compared], centre, screened.margin[chosen, None], LEAST)
        oldest = compared[at_level.argmax(axis=1)]
        drifts = ~(screened.worse | screened.better)[chosen]
        return np.where(drifts, self.drift_since[chosen], oldest)

    def device_blamed(self, chosen: NDArray[np.int64], night: int, levels: NDArray[np.float64]) -> None:
        """Records that a device is blamed; twice within five nights, its earlier points are scaled to the new level."""
        again = night - self.blamed_night[chosen] < NIGHTS_TOGETHER
        for index, level in zip(chosen[again], levels[again], strict=True):
            at = self.blamed_night[index]
            past = self.values[index, :at]
            past *= math.sqrt(level * self.blamed_level[index]) / np.median(past[-HISTORY_POINTS:])
            self.drift_since[index] = at
        self.blamed_night[chosen] = np.where(again, -NIGHTS_TOGETHER, night)
        self.blamed_level[chosen] = levels


def watch(drawn: Histories, random: np.random.Generator, on_night: OnNight = lambda: None) -> Tally:
    """Judges every night of `drawn` as `suite nightly` would, one lab of 500 series after the other."""
    tally = Tally()
    lab = _Lab(drawn)
    for night in range(MIN_POINTS, drawn.points.shape[1]):
        screened, sides, drifting = lab.suspects(night)
        tally.judged_nights += int(lab.open.sum())
        tally.drifts.update(int(index) for index in np.flatnonzero(drifting))
        for chosen in _labs(np.flatnonzero(sides)):
            found = _remeasured(lab, screened, chosen, sides[chosen], night, random, tally)
            for index in found:
                kept = tally.alerts if sides[index] > 0 else tally.improvements
                kept[int(index)] = night
            lab.open[found] = False  # a person accepts it or fixes it
        on_night()
    return tally


def _labs(chosen: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    labs = chosen // LAB_SERIES
    for lab in np.unique(labs):
        yield chosen[labs == lab]


def _remeasured(
    lab: _Lab,
    screened: ScreenArrays,
    chosen: NDArray[np.int64],
    sides: NDArray[np.int64],
    night: int,
    random: np.random.Generator,
    tally: Tally,
) -> NDArray[np.int64]:
    """Returns the series among `chosen` with a change confirmed that night; for others the device may be blamed."""
    beside = lab.baselines(screened, chosen, night)
    first, baseline = pair_log_ratios(lab.drawn, chosen, night, beside, FIRST_PAIRS, random)
    going_on = promising(first * sides[:, None], LEAST)
    tally.suspects += len(chosen)
    tally.sessions += 2 * FIRST_PAIRS * len(chosen) + 2 * CONFIRM_PAIRS * int(going_on.sum())
    _note_device(lab, screened, chosen[~going_on], night, baseline[~going_on], tally)
    tested, beside, side = chosen[going_on], beside[going_on], sides[going_on][:, None]
    if not len(tested):
        return tested
    pairs, baseline = pair_log_ratios(lab.drawn, tested, night, beside, CONFIRM_PAIRS, random)
    towards = pairs * side
    p = signed_rank.p_greater(towards)
    again = np.flatnonzero(is_worth_repeating(towards, LEAST))
    more, _ = pair_log_ratios(lab.drawn, tested[again], night, beside[again], AGAIN_PAIRS, random, fresh=True)
    more *= side[again]
    p[again] = signed_rank.p_greater(np.concatenate([towards[again], more], axis=1))
    tally.sessions += 2 * AGAIN_PAIRS * len(again)
    found = np.zeros(len(tested), dtype=bool)
    found[again] = is_repeated(towards[again], more, LEAST)
    found &= np.asarray(q_values(p.tolist())) <= Q_LIMIT
    undecided = ~found & (signed_rank.interval(towards)[0] > LEAST)
    undecided[again] = ~found[again] & (signed_rank.interval(more)[0] > LEAST)
    tally.undecided += int(undecided.sum())
    cleared = ~(found | undecided)
    _note_device(lab, screened, tested[cleared], night, baseline[cleared], tally)
    return tested[found]


def _note_device(
    lab: _Lab,
    screened: ScreenArrays,
    cleared: NDArray[np.int64],
    night: int,
    baseline: NDArray[np.float64],
    tally: Tally,
) -> None:
    """Records for cleared suspects whether the baseline moved tonight as the point did (verdict.py)."""
    levels = np.exp(np.median(baseline, axis=1))
    centre, margin = screened.centre[cleared], screened.margin[cleared]
    shift = levels - centre
    beyond = np.abs(shift) > np.maximum(margin, MIN_EFFECT * centre)
    same_side = np.sign(shift) == np.sign(lab.values[cleared, night] - centre)
    drifted = ~(screened.worse | screened.better)[cleared]
    moved = ~drifted & beyond & same_side
    tally.blamed.update(int(index) for index in cleared[moved | drifted])
    lab.drift_since[cleared[drifted]] = night
    lab.device_blamed(cleared[moved], night, levels[moved])
