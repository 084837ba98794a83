"""What pages of series, devices, workloads and comparisons say and leave out, before any template."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from reports.figures.trends import drawn_places, trend
from reports.model.histories import (
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
from reports.model.measurement import measurements
from reports.pages.comparison import comparison_page
from reports.pages.device import device_page
from reports.pages.run import summarize
from reports.pages.series import series_page
from reports.pages.workload import workload_page
from reports.tables.sections import Page
from tests.support.reports.page_models import WORKLOAD, at, device, night, notes_of, only_grid


def points(values: list[float], **more: Any) -> list[HistoryPoint]:
    return [
        HistoryPoint(at(place), f"r{place:03}", f"m{place}", value, "ok", **more) for place, value in enumerate(values)
    ]


def series(values: list[float], *starts: int, **more: Any) -> MetricHistory:
    edges = [0, *starts, len(values)]
    parts = [HistorySegment(a, b, "device changed") for a, b in itertools.pairwise(edges)]
    return MetricHistory("latency_ms", "lower", points(values), parts, **more)


def page_of(*histories: MetricHistory) -> Page:
    return series_page(HistorySummary("board", "k", "g", WORKLOAD, False, 5), list(histories))


def since(history: MetricHistory) -> str:
    return only_grid(page_of(history), "metrics").rows[0].cells[2].main.replace("\u00a0", " ")


def test_the_change_since_a_segment_began_is_that_of_the_medians_of_its_ends() -> None:
    within = [*[50.0] * 30, *[100.0] * 9, 900.0, *[107.0] * 5, *[110.0] * 10]
    assert since(series(within, 30)) == "+10.0 %"
    assert since(series(within[:30])) == "+0.0 %"


def test_a_segment_of_fewer_than_twenty_points_has_no_change_since_it_began() -> None:
    assert since(series([100.0] * 19)) == "\u2013"
    assert since(series([50.0] * 40 + [100.0] * 19, 40)) == "\u2013"


def test_the_newest_120_runs_of_a_series_are_in_its_table() -> None:
    grid = only_grid(page_of(series([100.0] * 130)), "points")
    assert [row.cells[0].main for row in grid.rows] == [f"r{place:03}" for place in range(129, 9, -1)]
    assert "10 earlier runs" in notes_of(grid)


def test_a_long_trend_keeps_both_points_of_every_edge_and_every_verdict() -> None:
    values = [100.0 + (place % 7) for place in range(5000)]
    history_points = points(values)
    history_points[1234] = HistoryPoint(at(1234), "r", "m", values[1234], "ok", verdict="improved")
    edges = [HistorySegment(0, 2222, "first point"), HistorySegment(2222, 5000, "accepted")]
    drawn = drawn_places(MetricHistory("latency_ms", "lower", history_points, edges))
    assert {1234, 2221, 2222} <= set(drawn) and len(drawn) < 1000


def test_the_bars_of_a_trend_reach_from_the_value_to_the_ends_of_its_interval() -> None:
    found = MetricHistory("latency_ms", "lower", points([100.0, 110.0], low=98.0, high=115.0))
    drawn = trend(found, "int8", "latency").traces[0]
    assert drawn["error_y"]["array"] == [15.0, 5.0] and drawn["error_y"]["arrayminus"] == [2.0, 12.0]


@pytest.mark.parametrize(("count", "sentence"), [(5, None), (6, "1 earlier remark "), (8, "3 earlier remarks ")])
def test_a_trend_names_five_remarks_and_counts_the_earlier_ones(count: int, sentence: str | None) -> None:
    remarks = [Remark("annotation", at(place), "lena", f"remark {place}") for place in range(count)]
    notes = trend(series([100.0] * 9, remarks=remarks), "int8", "latency").notes
    assert sum("remark " in note and "lena" in note for note in notes) == 5
    last = notes[-1].replace("\u00a0", " ")
    assert last.startswith(sentence) if sentence else "earlier" not in last


def health(count: int, *throttled: int) -> list[HealthPoint]:
    return [
        HealthPoint(f"r{place:03}", at(place), "Debian", 40.0, 50.0, int(place in throttled), None, 2048.0, {"ok": 1})
        for place in range(count)
    ]


def test_throttling_is_counted_over_the_last_ten_runs() -> None:
    banner = device_page(device("d", 19), health(20, 0, 1, 2, 9, 10, 19), []).banner
    assert banner is not None and "Throttled in 2 of the last 10\u00a0runs." in banner.headline
    calm = device_page(device("d", 19), health(20, 0, 1), []).banner
    assert calm is not None and "Throttled" not in calm.headline


def test_a_device_shows_its_newest_hundred_runs_with_free_space_in_gib() -> None:
    grid = only_grid(device_page(device("d", 19), health(103), []), "runs")
    assert [row.cells[0].main for row in grid.rows] == [f"r{place:03}" for place in range(102, 2, -1)]
    assert grid.rows[0].cells[6].main == "2.0\u00a0GiB"
    assert "3 earlier runs" in notes_of(grid)


def record(setting: str, ms: float, device_name: str = "board", **more: Any) -> dict[str, Any]:
    plain = {
        "measurement_id": f"{device_name}-{setting}", "device": device_name, "kind": "jetson", "emulated": False,
        "workload": WORKLOAD | {"quant": setting}, "status": "ok",
        "latency_ms": {"median": ms, "ci95": [0.98 * ms, 1.02 * ms], "sessions": [0.99 * ms, ms, 1.01 * ms]},
        "peak_memory_kib": int(1e6 / ms),
        "sessions": [{"ordinal": n, "status": "ok", "hwm_kib": int(1e6 / ms) - n} for n in range(3)],
    }  # fmt: skip
    return plain | more


def best(*records: dict[str, Any]) -> tuple[list[str], list[str]]:
    """What the page of the workload and the summary of a run call the best."""
    found = measurements({"measurements": list(records)})
    banner = workload_page(WorkloadSummary("k", WORKLOAD, [], []), found).banner
    assert banner is not None
    return [sentence for _, sentence in banner.items], [sentence for _, sentence in summarize(found).findings]


def test_the_least_of_what_was_measured_well_on_a_real_device_is_the_best() -> None:
    page, run = best(record("fp32", 100.0), record("int8", 50.0), record("nf4", 20.0, status="invalid"))
    assert page == run == ["lowest latency int8, 50.0\u00a0ms a step; lowest peak memory fp32, 9.77\u00a0MiB."]


def test_where_intervals_overlap_none_is_the_best() -> None:
    _, run = best(record("fp32", 100.0), record("int8", 50.0), record("nf4", 50.5))
    assert run == ["lowest latency: int8 and nf4 can't be told apart; lowest peak memory fp32, 9.77\u00a0MiB."]


def test_an_unstable_measurement_is_told_apart_from_none() -> None:
    (sentence,) = best(record("fp32", 100.0), record("int8", 50.0, status="unstable"))[1]
    assert sentence.startswith("lowest latency: int8 and fp32 can't be told apart (int8 unstable); ")


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"latency_ms": {"median": 50.0, "ci95": {"unavailable": "1 sessions"}, "sessions": [50.0]}}, "fewer than 3"),
        ({"busy": "90 % of the cores' time is in use"}, "the device was busy"),
    ],
)
def test_one_session_or_a_busy_device_is_a_first_look(more: dict[str, Any], why: str) -> None:
    page, run = best(record("fp32", 100.0), record("int8", 50.0, **more))
    assert page == run
    assert run[0].startswith(f"latency: a first look ({why}") and "int8 50.0\u00a0ms so far" in run[0]


def test_the_warning_of_the_load_stands_in_the_banner() -> None:
    found = measurements({"measurements": [record("fp32", 100.0, busy="90 % of the cores' time is in use")]})
    banner = workload_page(WorkloadSummary("k", WORKLOAD, [], []), found).banner
    for caution in (summarize(found).caution, "" if banner is None else banner.caution):
        assert "board was busy: 90 % of the cores' time is in use. Its numbers are a first look." in caution


def test_an_emulated_device_is_the_best_of_nothing() -> None:
    emulated: dict[str, Any] = {"device_name": "twin", "emulated": True}
    assert best(record("fp32", 100.0, **emulated), record("int8", 50.0, **emulated)) == ([], [])


def test_a_run_is_its_worst_outcome_but_what_cannot_run_is_none() -> None:
    def outcome(*words: str) -> str:
        found = measurements({"measurements": [record(f"s{n}", 1.0, status=word) for n, word in enumerate(words)]})
        return summarize(found).outcome.word

    assert outcome("ok", "unsupported") == "ok"
    assert outcome("ok", "unstable", "invalid") == "invalid"
    assert outcome("unsupported", "unsupported") == "unsupported"


def test_two_runs_are_as_bad_as_their_worst_difference() -> None:
    def compared(*words: str) -> str:
        metrics = [ComparedMetric("d", WORKLOAD, f"m{n}", "lower", word, 1.0, 1.0) for n, word in enumerate(words)]
        banner = comparison_page(night(0), night(1), Compared("a", "b", metrics)).banner
        assert banner is not None
        return banner.status.word

    assert compared("same", "better", "worse") == "worse"
    assert compared("same", "better", "insufficient") == "better"
    assert compared("missing", "insufficient") == "insufficient"
    assert compared("missing") == "missing"
