"""Checks whether a session's losses are those of correct steps, by comparing its first steps with the eager reference.

The reference has the arithmetic of setting and device, and estimates the noise s of one loss: the difference between
two correct implementations. A step trains with its own projected gradients, which are off as well, by dg = found -
expected. After that, losses are off by about

    a = lr / q * rms(g) * sqrt(sum of dg^2 over the steps before)     (dg times the method's step scale)

(to first order, a query moves its loss by lr/q g dg), which is not an error of the losses. With e = found - expected
and v = s^2 + a^2, all of these must hold:

    every loss           |e| <= 6 sqrt(v)
    a step's mean        |mean e| <= 5 sqrt(s^2 (1 / 2q + 1/10) + a^2); a tenth of the variance may be shared
    differences          slope of L+ - L- on the reference's, weighted by 1 / 2v, within 5 standard errors of 1
                         (of a one-sided method: of the perturbed losses around their mean, weighted by 1 / v)
    updates              slope of (loss - untrained) on the reference's, likewise, within 5 standard errors of 1

Swapped signs make the slope of differences -1, wrong noise makes it 0. A missing update makes the slope of updates 0,
one with the wrong sign -1. If 5 standard errors of a slope reach from 1 to there, the check is inconclusive and
reports that.

Where s is as large as the effect of a few updates, that slope would be one of noise on noise. There the updates are
checked on late steps. What they should do follows from the session's own projected gradients g: to first order they
move the loss of a late step by

    m = -lr / q * sum of g (dL / dz)     (dL / dz: the loss's derivative along a query's noise, at a zero adapter)

so the slope is that of (mean loss - mean untrained) on m, with the variance 2 s^2 / 2q. The error of the first order is
taken to be the largest that the reference found at such a distance in any late step, and at least m^2 / L.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from foundation.unavailable import Unavailable
from workloads.method import METHOD_TABLE, METHODS, Method
from workloads.reference.expected_losses import LateStep, Losses

LEAST_NOISE = 2e-6
"""Allowed error as a share of the largest loss, in any case: the accuracy of float32."""

_OF_ONE_LOSS = 6.0
_OF_A_FIGURE = 5.0
_COMMON_SHARE = 0.1


@dataclass(frozen=True)
class ExpectedLosses:
    """The reference's losses of the first steps, flattened in the order of the method's program.

    `untrained`: losses of the last of these steps without any update. `noise`: one standard deviation of a loss.
    `shortfall`: why there are fewer losses than asked for, or none. `late`: steps on which updates are checked instead,
    if one update does less than the noise.
    """

    losses: tuple[Losses, ...] = ()
    untrained: tuple[Losses, ...] = ()
    noise: float = 0.0
    lr: float = 0.0
    eps: float = 0.0
    shortfall: str | None = None
    method: str = METHODS[0]
    late: tuple[LateStep, ...] = ()

    @property
    def training_method(self) -> Method:
        """The training method, which determines how losses are read."""
        return METHOD_TABLE[self.method]


NOTHING_EXPECTED = ExpectedLosses()


@dataclass(frozen=True)
class Slope:
    """A session's response where the reference's response is 1, with its standard error."""

    value: float
    error: float

    def tells(self, other: float) -> bool:
        """Returns whether a response of `other` would have been detected."""
        return _OF_A_FIGURE * self.error < 1.0 - other

    @property
    def agrees(self) -> bool:
        """Whether the response is 1 within its error."""
        return abs(self.value - 1.0) <= _OF_A_FIGURE * self.error


@dataclass(frozen=True)
class LossComparison:
    """The comparison of a session's first `steps` steps with the reference.

    `max_relative_error`: the largest max |e| / max |expected| of a step. `noise` is s, and `difference` the rms of the
    reference's contrasts, of which projected gradients are made; both in units of the loss. `fault` is a sentence.
    """

    steps: int
    max_relative_error: float
    noise: float
    difference: float
    differences: Slope | None
    updates: Slope | None
    fault: str | None


def compare_losses(found: Sequence[Sequence[float]], expected: ExpectedLosses) -> LossComparison | Unavailable:
    """Compares the first steps, as many as both have. Losses are finite and flattened."""
    if not expected.losses:
        return Unavailable(expected.shortfall or "there is no reference trajectory for this workload")
    for index, step in enumerate(found):
        if len(step) != len(expected.losses[0]):
            return Unavailable(f"step {index} has {len(step)} losses, the reference {len(expected.losses[0])}")
    pairs = list(zip(found, expected.losses, strict=False))
    largest = max(abs(loss) for wanted in expected.losses for loss in wanted)
    noise = max(expected.noise, LEAST_NOISE * largest)
    drifts = _drifts(pairs, expected)
    method = expected.training_method
    differences = _differences(pairs, method, noise, drifts)
    updates = _late_updates(found, expected, noise) if expected.late else _updates(pairs, expected, noise, drifts)
    return LossComparison(
        steps=len(pairs),
        max_relative_error=max((_relative_error(*pair) for pair in pairs), default=0.0),
        noise=noise,
        difference=_rms([value for _, wanted in pairs for value in method.sides.contrasts(wanted)[0]]),
        differences=differences,
        updates=updates,
        fault=_trajectory_fault(pairs, noise, drifts) or _slope_fault(differences, updates, method),
    )


def unchecked(comparison: LossComparison, expected: ExpectedLosses) -> str | None:
    """Returns what the comparison could not check, or None if it checked everything."""
    if comparison.updates is None or expected.lr == 0:
        return f"no update was compared with the reference: {_why_no_update(expected)}"
    what = expected.training_method.sides.contrast_name
    size, noise = f"{what} is {comparison.difference:.2g}", f"the noise of a loss, {comparison.noise:.2g}"
    perturbs = expected.training_method.noise is not None
    if perturbs and (comparison.differences is None or not comparison.differences.tells(-1.0)):
        return f"the sign of a perturbation can't be told: {size} beside {noise}; raise eps or q"
    if not comparison.updates.tells(0.0):
        return f"an update can't be told from none beside {noise}; raise lr or q"
    return None


def _why_no_update(expected: ExpectedLosses) -> str:
    if expected.shortfall is not None:
        return expected.shortfall
    if expected.lr == 0:
        return "lr is 0"
    if expected.late:
        return (
            "the first few do less than the noise of a loss, and the session ended before step "
            f"{expected.late[0].step}, where they can be checked: raise --steps"
        )
    return "only one step was compared"


def _relative_error(found: Sequence[float], wanted: Sequence[float]) -> float:
    """Returns the relative error, with one scale per step so that one small entry among large ones does not decide."""
    scale = max((abs(value) for value in wanted), default=0.0)
    distance = max((abs(a - b) for a, b in zip(found, wanted, strict=True)), default=0.0)
    if scale > 0:
        return distance / scale
    return 0.0 if distance == 0 else math.inf


def _drifts(pairs: Sequence[tuple[Sequence[float], Sequence[float]]], expected: ExpectedLosses) -> list[float]:
    """Returns a for each step: how far losses may be off because earlier projected gradients were."""
    method = expected.training_method
    if not expected.eps or method.noise is None:
        return [0.0] * len(pairs)
    eps = expected.eps
    both = [(_projected(method, step, eps), _projected(method, wanted, eps)) for step, wanted in pairs]
    size = _rms([slope for _, wanted in pairs for slope in method.sides.slopes(wanted, eps)])
    drifts, squares = [], 0.0
    for step, wanted in both:
        drifts.append(expected.lr / max(1, len(wanted)) * size * math.sqrt(squares))
        squares += sum((a - b) ** 2 for a, b in zip(step, wanted, strict=True))
    return drifts


def _projected(method: Method, losses: Sequence[float], eps: float) -> list[float]:
    """Returns the projected gradients from a step's losses, times the scale of the step."""
    scale = method.step_scale(losses)
    return [slope * scale for slope in method.sides.slopes(losses, eps)]


def _differences(
    pairs: Sequence[tuple[Sequence[float], Sequence[float]]], method: Method, noise: float, drifts: Sequence[float]
) -> Slope | None:
    products = squares = 0.0
    for (step, wanted), drift in zip(pairs, drifts, strict=True):
        (found, variance), (right, _) = method.sides.contrasts(step), method.sides.contrasts(wanted)
        weight = 1.0 / (variance * (noise**2 + drift**2)) if noise or drift else 0.0
        for a, b in zip(found, right, strict=True):
            products += weight * a * b
            squares += weight * b * b
    return Slope(products / squares, 1.0 / math.sqrt(squares)) if squares else None


def _updates(
    pairs: Sequence[tuple[Sequence[float], Sequence[float]]],
    expected: ExpectedLosses,
    noise: float,
    drifts: Sequence[float],
) -> Slope | None:
    products = squares = 0.0
    shared = 0.0
    first = len(expected.losses) - len(expected.untrained)
    for (step, wanted), still, drift in zip(pairs[first:], expected.untrained, drifts[first:], strict=False):
        moved = [b - c for b, c in zip(wanted, still, strict=True)]
        weight = 1.0 / (noise**2 + drift**2) if noise else 0.0
        products += weight * sum((a - c) * value for a, c, value in zip(step, still, moved, strict=True))
        squares += weight * sum(value * value for value in moved)
        # A drift moves all losses of a step together.
        shared += (weight * drift * sum(moved)) ** 2 - weight**2 * drift**2 * sum(value * value for value in moved)
    if not squares:
        return None
    return Slope(products / squares, math.sqrt(max(squares + shared, 0.0)) / squares)


def _late_updates(found: Sequence[Sequence[float]], expected: ExpectedLosses, noise: float) -> Slope | None:
    method = expected.training_method
    products = squares = curved = 0.0
    for late in expected.late:
        if late.step >= len(found) or not expected.eps:
            continue
        projected = [slope for step in found[: late.step] for slope in _projected(method, step, expected.eps)]
        move = sum(a * b for a, b in zip(projected, late.slopes, strict=True))
        move *= -expected.lr / (len(projected) // late.step)
        untrained = _mean(late.untrained)
        left_out = max(move**2 / abs(untrained), *(each.left_out for each in expected.late))
        weight = 1.0 / (2.0 * noise**2 / len(late.untrained) + left_out**2)
        products += weight * move * (_mean(found[late.step]) - untrained)
        squares += weight * move**2
        curved += weight * abs(move) * left_out
    return Slope(products / squares, math.hypot(1.0 / math.sqrt(squares), curved / squares)) if squares else None


def _trajectory_fault(
    pairs: Sequence[tuple[Sequence[float], Sequence[float]]], noise: float, drifts: Sequence[float]
) -> str | None:
    for index, ((step, wanted), drift) in enumerate(zip(pairs, drifts, strict=True)):
        errors = [a - b for a, b in zip(step, wanted, strict=True)]
        worst = max((abs(error) for error in errors), default=0.0)
        allowed = _OF_ONE_LOSS * math.hypot(noise, drift)
        if worst > allowed:
            return f"a loss of step {index} is off the reference by {worst:.2g}, but only {allowed:.2g} is allowed"
        mean = abs(sum(errors)) / max(1, len(errors))
        share = 1.0 / max(1, len(errors)) + _COMMON_SHARE
        allowed = _OF_A_FIGURE * math.hypot(noise * math.sqrt(share), drift)
        if mean > allowed:
            return (
                f"the mean loss of step {index} is off the reference by {mean:.2g}, but only {allowed:.2g} is allowed"
            )
    return None


def _slope_fault(differences: Slope | None, updates: Slope | None, method: Method) -> str | None:
    for slope, what, cause in (
        (differences, method.sides.contrast_name, "signs or noise"),
        (updates, "the effect of the updates", "the updates"),
    ):
        if slope is not None and not slope.agrees:
            return (
                f"{what} is {slope.value:.2f} times the reference's instead of 1 within "
                f"{_OF_A_FIGURE * slope.error:.2g}: {cause} of the program are wrong"
            )
    return None


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _rms(values: Sequence[float]) -> float:
    return math.sqrt(sum(value * value for value in values) / len(values)) if values else 0.0
