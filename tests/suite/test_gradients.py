"""What the comparison of projected gradients with exact derivatives says of gradients that are known."""

from __future__ import annotations

import numpy as np
import pytest

from suite.checks import Array, GradientQuality, compare_gradients, derivatives_along
from workloads.methods.noise import normal

STEPS, QUERIES, EPS = 6, 4, 0.02
GRADIENT: Array = np.random.default_rng(1).normal(size=1000)


def quality(losses: Array, own: Array = GRADIENT) -> GradientQuality:
    of_model, of_weights = derivatives_along([GRADIENT, own], 7, STEPS + 2, QUERIES)
    return compare_gradients("int8", EPS, losses, of_model, of_weights)


def losses_along(gradient: Array, noise: float = 0.0) -> Array:
    """Losses of a linear function around 5, with an error of each."""
    generator = np.random.default_rng(2)
    slopes = np.array(
        [[gradient @ normal(7, step, query, 0, 1000) for query in range(QUERIES)] for step in range(STEPS)]
    )
    exact = 5.0 + EPS * slopes[:, None] * np.array([1.0, -1.0])[:, None]
    found: Array = exact + noise * generator.normal(size=exact.shape)
    return found


def test_a_linear_function_has_its_derivative_as_projected_gradient() -> None:
    found = quality(losses_along(GRADIENT))
    assert (found.quant, found.eps, found.perturbations) == ("int8", EPS, STEPS * QUERIES)
    assert found.correlation == pytest.approx(1.0)
    assert found.own_correlation == pytest.approx(1.0)
    assert found.noise == pytest.approx(0.0, abs=1e-9)


def test_swapped_signs_correlate_by_minus_one() -> None:
    assert quality(losses_along(GRADIENT)[:, ::-1]).correlation == pytest.approx(-1.0)


def test_noise_of_losses_is_noise_of_the_gradient_by_its_size_over_eps() -> None:
    """Two losses of 1e-1 noise each, over 2 eps, beside a derivative of about the gradient's length."""
    found = quality(losses_along(GRADIENT, noise=0.1))
    assert found.noise == pytest.approx(0.1 * 2**0.5 / (2 * EPS) / np.linalg.norm(GRADIENT), rel=0.4)
    assert found.correlation == pytest.approx(1 / (1 + found.noise**2) ** 0.5, abs=0.05)


def test_the_setting_s_own_weights_have_a_gradient_of_their_own() -> None:
    own = GRADIENT + np.random.default_rng(3).normal(size=1000)
    found = quality(losses_along(own), own)
    assert found.own_correlation == pytest.approx(1.0)
    assert found.noise == pytest.approx(0.0, abs=1e-9)
    assert 0.4 < found.correlation < 0.95


def test_the_size_of_a_difference_is_in_units_of_the_loss() -> None:
    found = quality(losses_along(GRADIENT))
    assert found.difference == pytest.approx(2 * EPS * np.linalg.norm(GRADIENT), rel=0.3)
