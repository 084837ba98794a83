"""Labels of lines in a figure over time cover neither one another nor the edge."""

from typing import Any

import pytest

from reports.figures.trends import place_labels, trend
from reports.model.histories import MetricHistory
from tests.support.reports.lab_fixtures import LabSource, key

ENDS = ("2026-01-01T00:00:00", "2026-04-11T00:00:00")  # 100 days


def _at(day: int) -> str:
    return f"2026-{1 + day // 28:02}-{1 + day % 28:02}T00:00:00"


def _rows(labels: list[dict[str, Any]]) -> list[int]:
    return [abs(one["yshift"]) for one in labels]


def test_labels_far_apart_share_a_row() -> None:
    assert _rows(place_labels([(_at(1), "accepted"), (_at(40), "accepted")], ENDS, "top")) == [0, 0]


def test_labels_of_neighbouring_lines_go_a_row_further_in() -> None:
    top = place_labels([(_at(5), "worse +5.0 %"), (_at(6), "better"), (_at(7), "accepted")], ENDS, "top")
    assert [one["yshift"] for one in top] == [0, -14, -28]
    bottom = place_labels([(_at(5), "device changed"), (_at(6), "accepted")], ENDS, "bottom")
    assert [one["yshift"] for one in bottom] == [0, 14]


def test_label_near_the_end_stands_left_of_its_line() -> None:
    early, late = place_labels([(_at(5), "accepted"), (_at(97), "accepted")], ENDS, "top")
    assert (early["xanchor"], late["xanchor"]) == ("left", "right")


def test_more_labels_than_there_are_rows_are_left_to_the_tables() -> None:
    assert len(place_labels([(_at(5), f"a label of the same night, {n}") for n in range(9)], ENDS, "top")) == 4


def test_hostile_words_are_escaped() -> None:
    (label,) = place_labels([(_at(5), "<b>new</b>")], ENDS, "top")
    assert label["text"] == "&lt;b&gt;new&lt;/b&gt;"


@pytest.fixture
def latency() -> MetricHistory:
    return LabSource().history("jetson", key("fp16"))[0]


def test_axis_has_room_for_labels_beyond_all_values_and_intervals(latency: MetricHistory) -> None:
    figure = trend(latency, "fp16", "latency_ms")
    assert figure.layout is not None
    low, high = figure.layout["yaxis"]["range"]
    trace = figure.traces[0]
    tops = [y + reach for y, reach in zip(trace["y"], trace["error_y"]["array"], strict=True)]
    bottoms = [y - reach for y, reach in zip(trace["y"], trace["error_y"]["arrayminus"], strict=True)]
    assert high - max(tops) > 0.1 * (max(tops) - min(bottoms)) and low < min(bottoms)


def test_series_of_one_and_of_equal_values_have_an_axis(latency: MetricHistory) -> None:
    for count in (1, 5):
        points = [latency.points[0]] * count
        figure = trend(MetricHistory("peak_memory_kib", "lower", points), "fp16", "m")
        assert figure.layout is not None
        low, high = figure.layout["yaxis"]["range"]
        assert low < high


def test_remark_is_marked_by_form_besides_colour(latency: MetricHistory) -> None:
    layout = trend(latency, "fp16", "latency_ms").layout
    assert layout is not None
    assert "✎" in [label["text"] for label in layout["annotations"]]
    dashes = {shape["line"].get("dash") for shape in layout["shapes"]}
    assert dashes >= {"dot", "dash", "longdashdot"}
