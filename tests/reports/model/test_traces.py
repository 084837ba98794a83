"""Lines of a session: where they begin, in which unit they are drawn, and what thinning keeps of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from reports.figures.run_figures import memory, power
from reports.model.measurement import measurements
from reports.model.quantities import metric_unit, metric_value
from reports.model.source import Samples, SessionTrace, Step
from reports.model.traces import gather, kept

BOOT_NS = 9_000_000_000_000_000


class _NoRows:
    def add(self, *_: object) -> None:
        """Rows are not looked at here."""


class _Source:
    def __init__(self, trace: SessionTrace) -> None:
        self._trace = trace

    def trace(self, session_id: str) -> SessionTrace:
        return self._trace


def lines(trace: SessionTrace, **session: Any) -> tuple[Any, Any]:
    """The measurement and the lines of its only session."""
    record: dict[str, Any] = {
        "measurement_id": "1", "device": "board", "workload": {"quant": "int8"}, "status": "ok",
        "sessions": [{"session_id": "s", "ordinal": 0, "attempt": 0, "status": "ok", **session}],
    }  # fmt: skip
    found = measurements({"measurements": [record]})
    (line,) = gather(_Source(trace), found, _NoRows())  # type: ignore[arg-type]
    return found, line


def at(seconds: float) -> int:
    return BOOT_NS + int(seconds * 1e9)


def sampled(quantity: str, values: list[float], first_s: float = 2.0) -> Samples:
    return Samples(quantity, [at(first_s + place) for place in range(len(values))], values)


@pytest.mark.parametrize(
    ("recorded", "first_x"),
    [
        ({"t_begin_ns": at(1.5)}, 0.5),  # launched before the first sample
        ({"t_begin_ns": at(2.0)}, 0.0),
        ({"t_begin_ns": at(7.0)}, 0.0),  # after what was seen in it: it can't be right
        ({}, 0.0),
        ({"t_begin_ns": {"unavailable": "lost"}}, 0.0),
    ],
)
def test_a_session_begins_when_it_was_launched_or_else_with_the_first_thing_seen(
    recorded: dict[str, Any], first_x: float
) -> None:
    step = Step(0, "measured", at(3.0), at(4.0), [1.0])
    trace = SessionTrace([step], {"rss": sampled("memory_kib", [1.0, 2.0])})
    _, line = lines(trace, **recorded)
    assert line.sensors["memory_kib"][0].x == pytest.approx([first_x, first_x + 1.0])


def test_steps_are_counted_from_the_first_measured_one_with_their_duration() -> None:
    steps = [Step(n, "warm_up" if n < 2 else "measured", at(n), at(n) + 250_000_000, [3.0 - n]) for n in range(5)]
    _, line = lines(SessionTrace(steps, {}))
    assert (line.steps.x, line.steps.y) == ([-2, -1, 0, 1, 2], [250.0] * 5)
    assert (line.losses.x, line.losses.y) == ([0, 1, 2, 3, 4], [3.0, 2.0, 1.0, 0.0, -1.0])
    _, only_warm_up = lines(SessionTrace(steps[:2], {}))
    assert only_warm_up.steps.x == [-2, -1]


@pytest.mark.parametrize(
    ("values", "unit", "drawn"),
    [([800.0, 900.0], "mW", [800.0, 900.0]), ([500.0, 6500.0], "W", [0.5, 6.5])],
)
def test_power_is_drawn_in_the_unit_of_its_axis_which_fits_the_largest(
    values: list[float], unit: str, drawn: list[float]
) -> None:
    found, line = lines(SessionTrace([], {"VDD": sampled("power_mw", values)}))
    figure = power(found, [line])
    assert figure.layout is not None and figure.layout["yaxis"]["title"]["text"] == f"power, {unit}"
    (trace,) = (trace for trace in figure.traces if trace["x"] != [None])
    assert trace["y"] == drawn and unit in trace["hovertemplate"]


def test_a_thinned_line_says_how_many_were_recorded_without_those_that_are_no_numbers() -> None:
    values = [*np.random.default_rng(1).normal(5e5, 1e4, 4000).tolist(), float("nan")]
    _, line = lines(SessionTrace([], {"memory.rss": sampled("memory_kib", values)}))
    (trace,) = line.sensors["memory_kib"]
    assert trace.recorded == 4000 and len(trace.y) <= 800
    assert {min(values[:-1]), max(values[:-1])} <= set(trace.y)
    (note,) = (note for note in memory([line]).notes if "Thinned" in note)
    assert note.startswith(f"Thinned: {len(trace.y)} of 4,000 values are drawn.")


def test_every_stretch_keeps_its_lowest_and_its_highest_value() -> None:
    values = np.random.default_rng(2).normal(size=1000)
    chosen = set(kept(values, 102).tolist())
    assert len(chosen) == 102
    for begin in range(0, 1000, 20):
        stretch = values[begin : begin + 20]
        assert {begin + int(stretch.argmin()), begin + int(stretch.argmax())} <= chosen


@pytest.mark.parametrize(
    ("metric", "largest", "name", "value"),
    [
        ("program_bytes", 136e6, "MiB", 129.7), ("program_bytes", 500.0, "KiB", 0.488), ("power_mw", 6500.0, "W", 6.5),
        ("latency_ms", 1200.0, "s", 1.2), ("peak_memory_kib", 190_000.0, "MiB", 185.5), ("accuracy", 0.75, "", 0.75),
    ],
)  # fmt: skip
def test_an_axis_has_the_unit_of_its_values_and_shows_them_as_text_does(
    metric: str, largest: float, name: str, value: float
) -> None:
    unit = metric_unit(metric, largest)
    assert unit.name == name and largest * unit.factor == pytest.approx(value, rel=1e-3)
    assert metric_value(metric, largest).replace("\u00a0", " ").endswith(name)
