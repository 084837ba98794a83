"""How long a session measures where power is read."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from suite.energy.session_energy import MIN_PERIODS, MIN_WINDOW_S
from suite.measuring.sensor_plan import SensorPlan
from suite.measuring.session import SessionOrder, least_seconds
from suite.planning.plan import Plan


def order_of(plan: Plan) -> SessionOrder:
    return SessionOrder("s", cast(Any, SimpleNamespace(plan=plan)), cast(Any, None), Path("log"))


def sensors(*energy: str) -> SensorPlan:
    return SensorPlan((), {}, energy, {}, {})


@pytest.mark.parametrize("window_s", [10.0, 60.0])
def test_the_window_of_energy_is_measured_where_power_is_read(window_s: float) -> None:
    plan = Plan(("board",), energy_window_s=window_s)
    assert window_s < least_seconds(order_of(plan), sensors("VDD_IN")) < 1.1 * window_s
    assert least_seconds(order_of(plan), sensors()) == 0


def test_the_usual_window_is_not_short_though_the_sampler_is_a_little_slow() -> None:
    usual = least_seconds(order_of(Plan(("board",))), sensors("VDD_IN"))
    assert usual > max(MIN_WINDOW_S, MIN_PERIODS * 0.1015)


def test_a_quick_session_is_not_drawn_out() -> None:
    assert least_seconds(order_of(Plan(("board",)).quick()), sensors("VDD_IN")) == 0
