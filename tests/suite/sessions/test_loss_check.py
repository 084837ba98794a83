"""Which sessions follow the reference: by the noise of a loss, the size of L+ - L-, and the effect of updates."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from foundation.unavailable import Unavailable
from suite.sessions.loss_check import LEAST_NOISE, ExpectedLosses, LossComparison, compare_losses, unchecked
from workloads.reference.expected_losses import LateStep

Q, STEPS, LR, EPS = 4, 4, 1e-3, 1e-2
GRADIENTS = [[8.0, -3.0, 5.0, -6.0], [2.0, 7.0, -4.0, -5.0], [6.0, 1.0, -7.0, 3.0], [-5.0, 4.0, 2.0, 8.0]]
UPDATE = 0.2
"""What each update takes off the losses of the next step."""

Losses = list[list[float]]


def trajectory(updates: float = 1.0, sign: float = 1.0, steps: int = STEPS) -> Losses:
    """Losses [steps][2 q] of a training whose updates act by `updates` and whose perturbations have `sign`."""
    losses = []
    for step in range(steps):
        level = 8.0 - 0.3 * (step % 2) - updates * UPDATE * step
        halves = [[level + half * sign * EPS * g for g in GRADIENTS[step]] for half in (1.0, -1.0)]
        losses.append([*halves[0], *halves[1]])
    return losses


def rows(losses: Losses) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(step) for step in losses)


def expected(noise: float, **more: object) -> ExpectedLosses:
    whole = ExpectedLosses(rows(trajectory()), rows(trajectory(updates=0.0)[-2:]), noise, LR, EPS)
    return replace(whole, **more)  # type: ignore[arg-type]


def noisy(losses: Losses, noise: float, seed: int = 0) -> Losses:
    generator = random.Random(seed)
    return [[loss + generator.gauss(0.0, noise) for loss in step] for step in losses]


def compared(found: Sequence[Sequence[float]], wanted: ExpectedLosses) -> LossComparison:
    result = compare_losses(found, wanted)
    assert isinstance(result, LossComparison)
    return result


@pytest.mark.parametrize("noise", [0.0, 1e-5, 1e-3, 0.01, 0.03])
def test_sessions_with_the_noise_of_their_arithmetic_are_right(noise: float) -> None:
    """Of a thousand, fewer than five are refused: five standard errors, and a drift that is known to first order."""
    wanted = expected(noise)
    faults = [compared(noisy(trajectory(), noise, seed), wanted).fault for seed in range(1000)]
    assert sum(fault is not None for fault in faults) < 5


MUTATIONS: dict[str, Callable[[], Losses]] = {
    "a missing update": lambda: trajectory(updates=0.0),
    "an update with the wrong sign": lambda: trajectory(updates=-1.0),
    "an update of half the size": lambda: trajectory(updates=0.5),
    "swapped signs": lambda: trajectory(sign=-1.0),
    "no perturbation": lambda: trajectory(sign=0.0),
}


@pytest.mark.parametrize("noise", [1e-6, 1e-3, 0.02])
@pytest.mark.parametrize("mutation", MUTATIONS)
def test_wrong_trainings_are_found(mutation: str, noise: float) -> None:
    wanted = expected(noise)
    found = [compared(noisy(MUTATIONS[mutation](), noise, seed), wanted).fault for seed in range(50)]
    assert all(fault is not None for fault in found)


def test_noise_as_large_as_the_differences_is_reported() -> None:
    wanted = expected(0.3)
    result = compared(noisy(trajectory(), 0.3), wanted)
    assert result.fault is None
    assert "the sign of a perturbation can't be told" in str(unchecked(result, wanted))
    assert "raise eps or q" in str(unchecked(result, wanted))


def test_updates_smaller_than_the_noise_are_reported() -> None:
    still = rows([[loss + 1e-4 for loss in step] for step in trajectory()[-2:]])
    wanted = expected(0.01, untrained=still)
    result = compared(trajectory(), wanted)
    assert result.fault is None
    assert "an update can't be told from none" in str(unchecked(result, wanted))


def test_what_was_checked_whole_says_nothing() -> None:
    assert unchecked(compared(trajectory(), expected(1e-4)), expected(1e-4)) is None


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"untrained": (), "losses": rows(trajectory(steps=1)), "shortfall": "it did 1 of 3 steps"}, "it did 1 of 3"),
        ({"lr": 0.0}, "lr is 0"),
        ({"untrained": ()}, "only one step was compared"),
    ],
)
def test_an_update_that_was_not_compared_has_a_reason(more: dict[str, object], reason: str) -> None:
    wanted = expected(1e-3, **more)
    assert reason in str(unchecked(compared(trajectory(), wanted), wanted))


def test_an_error_of_g_is_not_counted_again_as_one_of_the_losses() -> None:
    """Step 0 has a g that is off by 5 sigma of its noise; the step after it has trained with that."""
    noise, found = 0.01, trajectory()
    for query in range(Q):
        found[0][query] += 0.03
        found[0][Q + query] -= 0.03
    moved = LR / Q * sum(abs(g) * 0.06 / (2 * EPS) for g in GRADIENTS[0])
    for step in found[1:]:
        step[:] = [loss - moved for loss in step]
    assert moved > 0.015
    result = compared(found, expected(noise))
    assert result.fault is None


def test_the_largest_error_is_relative_to_the_step() -> None:
    wanted = ExpectedLosses(((10.0, 0.02), (10.0, 0.02)), noise=1.0)
    result = compared([(10.0, 0.01), (10.0, 0.02), (1.0, 1.0)], wanted)
    assert result.max_relative_error == pytest.approx(0.001)
    assert result.steps == 2


def test_losses_of_zero_are_equal_or_infinitely_off() -> None:
    assert compared([(0.0, 0.0)], ExpectedLosses(((0.0, 0.0),))).max_relative_error == 0.0
    assert compared([(1.0, 0.0)], ExpectedLosses(((0.0, 0.0),))).max_relative_error == float("inf")


def test_noise_is_never_below_that_of_float32() -> None:
    assert compared(trajectory(), expected(0.0)).noise == pytest.approx(LEAST_NOISE * max(map(max, trajectory())))


def test_size_of_the_differences_is_theirs_in_the_reference() -> None:
    squares = [(2 * EPS * g) ** 2 for step in GRADIENTS for g in step]
    assert compared(trajectory(), expected(1e-3)).difference == pytest.approx((sum(squares) / len(squares)) ** 0.5)


@pytest.mark.parametrize(
    ("wanted", "reason"),
    [
        (ExpectedLosses(), "no reference trajectory"),
        (ExpectedLosses(shortfall="it takes an hour"), "it takes an hour"),
        (ExpectedLosses(((1.0, 2.0, 3.0),)), "step 0 has 8 losses, the reference 3"),
    ],
)
def test_what_can_not_be_compared_has_a_reason(wanted: ExpectedLosses, reason: str) -> None:
    result = compare_losses(trajectory(), wanted)
    assert isinstance(result, Unavailable) and reason in result.reason


SLOPE = 0.5
"""Of the loss along the noise of each query in the tests of late steps."""
LATE, LATE_LR, LATE_EPS = (8, 9, 10, 11), 0.2, 0.1


def noisy_training(noise: float, updates: float = 1.0, steps: int = 12, seed: int = 0) -> Losses:
    """Losses [steps][2 q] of a training whose projected gradients are near SLOPE, and which moves by its own ones."""
    generator = random.Random(seed)
    losses, level = [], 8.0
    for _ in range(steps):
        step = [level + sign * LATE_EPS * SLOPE + generator.gauss(0.0, noise) for sign in (1, -1) for _ in range(Q)]
        losses.append(step)
        level -= (
            updates
            * SLOPE
            * sum((a - b) / (2 * LATE_EPS) for a, b in zip(step[:Q], step[Q:], strict=True))
            / Q
            * LATE_LR
        )
    return losses


def expected_late(noise: float, seed: int = 0) -> ExpectedLosses:
    """The reference's noise is its own."""
    generator = random.Random(1000 + seed)

    def step() -> tuple[float, ...]:
        return tuple(8.0 + sign * LATE_EPS * SLOPE + generator.gauss(0.0, noise) for sign in (1, -1) for _ in range(Q))

    late = tuple(LateStep(index, step(), (SLOPE,) * Q * index, 0.0) for index in LATE)
    return ExpectedLosses((step(),), noise=noise, lr=LATE_LR, eps=LATE_EPS, late=late)


@pytest.mark.parametrize("noise", [0.0, 1e-3, 0.05, 0.2])
def test_late_steps_are_where_a_sessions_own_gradients_move_them(noise: float) -> None:
    found = [compared(noisy_training(noise, seed=seed), expected_late(noise, seed)).updates for seed in range(300)]
    slopes = [slope for slope in found if slope is not None]
    assert len(slopes) == 300
    assert sum(not slope.agrees for slope in slopes) == 0
    assert sum(abs(slope.value - 1.0) > 2.0 * slope.error for slope in slopes) < 30


@pytest.mark.parametrize("noise", [1e-3, 0.02, 0.05])
@pytest.mark.parametrize("updates", [0.0, -1.0])
def test_late_steps_find_updates_that_are_missing_or_wrong(updates: float, noise: float) -> None:
    for seed in range(50):
        result = compared(noisy_training(noise, updates, seed=seed), expected_late(noise, seed))
        assert result.updates is not None and result.updates.tells(0.0)
        assert "the effect of the updates is" in str(result.fault)


def test_a_session_that_ends_before_its_late_steps_says_how_it_would_show_updates() -> None:
    wanted = expected_late(1e-3)
    result = compared(noisy_training(1e-3, steps=8), wanted)
    assert result.updates is None
    assert "the session ended before step 8, where they can be checked: raise --steps" in str(unchecked(result, wanted))


def test_an_update_too_large_to_be_predicted_is_not_judged() -> None:
    """A hundredfold learning rate predicts that the loss falls below 0."""
    wanted = replace(expected_late(1e-3), lr=100 * LATE_LR)
    result = compared(noisy_training(1e-3), wanted)
    assert result.fault is None
    assert "an update can't be told from none" in str(unchecked(result, wanted))


def test_updates_that_the_first_order_can_not_predict_are_not_judged() -> None:
    """It misses half of what the updates do."""
    wanted = expected_late(1e-3)
    wanted = replace(wanted, late=tuple(replace(late, left_out=0.5 * 8 * LATE_LR * SLOPE**2) for late in wanted.late))
    result = compared(noisy_training(1e-3, updates=0.5), wanted)
    assert result.fault is None
    assert "an update can't be told from none" in str(unchecked(result, wanted))


def test_losses_of_a_later_step_that_are_fewer_are_named() -> None:
    found = noisy_training(1e-3)
    found[9].pop()
    result = compare_losses(found, expected_late(1e-3))
    assert isinstance(result, Unavailable) and result.reason == "step 9 has 7 losses, the reference 8"


def one_sided(updates: float = 1.0, sign: float = 1.0, shared: float = 0.0) -> Losses:
    """The same training by a one-sided method: [STEPS][1 + q], L(B) first and off by `shared`."""
    losses = []
    for step in range(STEPS):
        level = 8.0 - 0.3 * (step % 2) - updates * UPDATE * step
        losses.append([level + shared, *(level + sign * EPS * g for g in GRADIENTS[step])])
    return losses


def expected_of_fzoo(noise: float) -> ExpectedLosses:
    still = rows(one_sided(updates=0.0)[-2:])
    return ExpectedLosses(rows(one_sided()), still, noise, LR * EPS, EPS, method="fzoo")


@pytest.mark.parametrize("noise", [0.0, 1e-5, 1e-3, 0.01])
def test_one_sided_sessions_with_the_noise_of_their_arithmetic_are_right(noise: float) -> None:
    wanted = expected_of_fzoo(noise)
    faults = [compared(noisy(one_sided(), noise, seed), wanted).fault for seed in range(500)]
    assert sum(fault is not None for fault in faults) < 5


ONE_SIDED_MUTATIONS: dict[str, Callable[[], Losses]] = {
    "a missing update": lambda: one_sided(updates=0.0),
    "an update with the wrong sign": lambda: one_sided(updates=-1.0),
    "swapped signs": lambda: one_sided(sign=-1.0),
    "no perturbation": lambda: one_sided(sign=0.0),
    "another adapter's loss": lambda: one_sided(shared=0.5),
}


@pytest.mark.parametrize("mutation", ONE_SIDED_MUTATIONS)
def test_wrong_one_sided_trainings_are_found(mutation: str) -> None:
    wanted = expected_of_fzoo(1e-3)
    found = [compared(noisy(ONE_SIDED_MUTATIONS[mutation](), 1e-3, seed), wanted).fault for seed in range(50)]
    assert all(fault is not None for fault in found)
