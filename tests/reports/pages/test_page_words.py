"""Words of pages that are easily wrong: last verdicts, what is true of every metric, sessions of either side."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from reports.figures.trends import trend
from reports.model.histories import (
    Change,
    Compared,
    ComparedMetric,
    HealthPoint,
    HistoryPoint,
    HistorySegment,
    HistorySummary,
    MetricHistory,
    Remark,
    WorkloadSummary,
)
from reports.model.measurement import Measurement
from reports.pages.comparison import comparison_page
from reports.pages.device import device_page, device_status
from reports.pages.overview import attention
from reports.pages.series import series_page
from reports.pages.workload import workload_page
from reports.tables.sections import Page
from tests.support.reports.page_models import WORKLOAD, at, attention_rows, device, night, only_grid
from tests.support.reports.report_fixtures import summary


@pytest.mark.parametrize(
    ("ended", "tells"),
    [("interrupted", True), ("partial", True), ("failed", True), ("finished", False), ("running", False)],
)
def test_a_run_that_ended_before_its_end_needs_attention(ended: str, tells: bool) -> None:
    found = attention_rows(attention([summary("r1", status=ended)], []))
    assert found == ([("Run r1", ended)] if tells else [])


def test_runs_of_other_labs_take_no_place_among_the_last_ten() -> None:
    theirs = [summary(f"t{number}", status="failed", origin="bonn") for number in range(12)]
    own = [summary(f"o{number}", status="failed" if number in (0, 9, 10) else "finished") for number in range(11)]
    assert [what for what, _ in attention_rows(attention([*theirs, *own], []))] == ["Run o0", "Run o9"]


def history(metric: str, verdicts: list[str], **more: Any) -> MetricHistory:
    points = [
        HistoryPoint(at(place), f"r{place}", f"m{place}", 100.0 + place, "ok", verdict=word)
        for place, word in enumerate(verdicts)
    ]
    parts = [HistorySegment(0, 2, "first point"), HistorySegment(2, len(points), "accepted")]
    return MetricHistory(metric, "lower", points, parts, **more)


def page_of(*histories: MetricHistory) -> Page:
    return series_page(HistorySummary("board", "k", "g", WORKLOAD, False, 5), list(histories))


def test_the_last_verdict_of_a_series_is_its_newest_one() -> None:
    page = page_of(history("latency_ms", ["unchanged", "regressed", "improved", ""]))
    cell = only_grid(page, "metrics").rows[0].cells[6]
    assert (cell.main, list(cell.small)) == ("improved", ["2026-01-03 02:00 UTC"])


def findings(page: Page) -> list[tuple[str, str]]:
    return [(row.cells[0].main, row.cells[2].main) for row in only_grid(page, "findings").rows]


def test_findings_are_listed_for_the_metrics_that_they_apply_to() -> None:
    remarks = {"remarks": [Remark("annotation", at(9), "lena", "new fan")]}
    both = [history(metric, ["unchanged"] * 4, **remarks) for metric in ("latency_ms", "power_mw")]
    other = replace(history("load_ms", ["unchanged"] * 4), segments=[HistorySegment(0, 4, "first point")])
    assert findings(page_of(*both)) == [("every metric", "✎ annotation"), ("every metric", "│ new segment")]
    assert findings(page_of(*both, other)) == [
        ("Latency of a step, Power, mean", "✎ annotation"), ("Latency of a step, Power, mean", "│ new segment"),
    ]  # fmt: skip
    assert findings(page_of(both[0])) == [("Latency of a step", "✎ annotation"), ("Latency of a step", "│ new segment")]


def test_the_levels_of_a_change_reach_to_the_next_edge_and_lines_stand_between_two_points() -> None:
    found = history("latency_ms", ["unchanged"] * 8, changes=[Change(5, "worse", 103.0, 106.0)])
    shapes = (trend(found, "int8", "latency").layout or {})["shapes"]
    levels = [(one["x0"], one["x1"], one["y0"]) for one in shapes if one["y0"] == one["y1"]]
    assert levels == [(at(2), at(4), 103.0), (at(5), at(7), 106.0)]
    uprights = sorted(one["x0"] for one in shapes if one["x0"] == one["x1"])
    assert [upright[:16] for upright in uprights] == ["2026-01-02T14:00", "2026-01-05T14:00"]


@pytest.mark.parametrize(
    ("outcomes", "warned", "word"),
    [
        ({"ok": 4}, False, "ok"), ({"ok": 4}, True, "warning"), ({"ok": 2, "unsupported": 1}, True, "warning"),
        ({"ok": 3, "partial": 1}, True, "partial"), ({"ok": 3, "failed": 1}, True, "failed"),
        ({}, True, "not measured"), ({"ok": 1, "failed": 0}, False, "ok"),
    ],
)  # fmt: skip
def test_a_warning_counts_where_nothing_worse_happened(outcomes: dict[str, int], warned: bool, word: str) -> None:
    assert device_status(outcomes, ["disk: nearly full"] if warned else []).word == word


@pytest.mark.parametrize(("most", "step"), [(0, 1), (6, 1), (7, 2), (12, 2), (13, 3)])
def test_counts_of_throttled_measurements_have_six_whole_steps_at_most(most: int, step: int) -> None:
    health = [HealthPoint("r", at(0), "Debian", throttled=most, outcomes={"ok": 1})]
    figures = {figure.name: figure for figure in device_page(device("d"), health, []).figures}
    assert (figures["throttling"].layout or {})["yaxis"]["dtick"] == step


def test_the_size_of_a_program_is_displayed_in_units_of_1024() -> None:
    found = Measurement.from_document({"device": "d", "workload": WORKLOAD, "program_bytes": 3 * 2**20})
    page = workload_page(WorkloadSummary("k", WORKLOAD, [], []), [found])
    assert only_grid(page, "settings").rows[0].cells[7].main == "3.00\u00a0MiB"


def test_each_side_of_a_comparison_has_its_own_number_and_count_of_sessions() -> None:
    one = ComparedMetric("d", WORKLOAD, "latency_ms", "lower", "worse", 100.0, 200.0, 2.0, sessions=(5, 7))
    cells = only_grid(comparison_page(night(0), night(1), Compared("a", "b", [one])), "metrics").rows[0].cells
    assert [(cell.main, list(cell.small)) for cell in cells[4:6]] == [
        ("100\u00a0ms", ["n = 5\u00a0sessions"]), ("200\u00a0ms", ["n = 7\u00a0sessions"]),
    ]  # fmt: skip
