"""What pages of series, devices, workloads and comparisons say and leave out, before any template."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import pytest

from reports.figures.trends import drawn_places, trend, version_changes
from reports.model.histories import (
    Change,
    Compared,
    ComparedMetric,
    Confirmed,
    HealthPoint,
    HistoryPoint,
    HistorySegment,
    HistorySummary,
    MetricHistory,
    Remark,
    WorkloadSummary,
)
from reports.model.measurement import measurements
from reports.model.quantities import LEAST_EFFECT
from reports.pages.comparison import comparison_page, forest
from reports.pages.device import device_page
from reports.pages.run import summarize
from reports.pages.series import series_page
from reports.pages.workload import workload_page
from reports.tables.sections import Page
from suite.regression.log_ratios import MIN_EFFECT
from tests.support.reports.page_models import WORKLOAD, at, device, night, only_grid


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


def test_every_run_of_a_series_is_in_its_table_the_newest_first() -> None:
    grid = only_grid(page_of(series([100.0] * 130)), "points")
    assert [row.cells[0].main for row in grid.rows] == [f"r{place:03}" for place in range(129, -1, -1)]


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


def banner_of(*histories: MetricHistory) -> tuple[str, list[str]]:
    banner = page_of(*histories).banner
    assert banner is not None
    return banner.headline.replace("\u00a0", " "), [words.replace("\u00a0", " ") for _, words in banner.items]


def test_a_series_says_in_a_sentence_how_large_its_last_change_is_since_when_and_what_changed_with_it() -> None:
    found = series([100.0] * 10 + [106.0] * 10, changes=[Change(10, "worse", 100.0, 106.0)])
    moved = [
        replace(point, versions={"torch": "2.12" if place < 10 else "2.13", "suite": "1"})
        for place, point in enumerate(found.points)
    ]
    moved[10] = replace(moved[10], confirmed=Confirmed(1.055, 1.04, 1.07, 10))
    remarks = [Remark("annotation", at(9, 9), "lena", "new fan"), Remark("annotation", at(3), "ben", "long ago")]
    headline, causes = banner_of(replace(found, points=moved, remarks=remarks))
    assert headline == "Latency of a step is 6.0 % higher since 2026-01-11 02:00 UTC."
    assert causes == ["with it: torch 2.12 → 2.13; lena: new fan; confirmed that night as +5.5 % over 10 pairs."]
    assert banner_of(found)[1] == ["no other change is recorded at that point."]


def test_a_series_begins_with_the_metric_that_is_regressed_even_if_its_level_has_not_yet_moved() -> None:
    grown = series([100.0] * 10 + [109.0] * 3)
    nights = [
        point if place < 10 else replace(point, verdict="regressed", centre=100.0)
        for place, point in enumerate(grown.points)
    ]
    headline, _ = banner_of(series([100.0] * 13), replace(grown, metric="peak_memory_kib", points=nights))
    assert headline == "Peak memory is 9.0 % higher since 2026-01-11 02:00 UTC."
    mended = [*nights, replace(nights[0], at=at(13), verdict="unchanged", value=100.0)]
    headline, _ = banner_of(series([100.0] * 14), replace(grown, metric="peak_memory_kib", points=mended))
    assert headline.startswith("Latency of a step has kept its level")


def test_a_series_that_kept_its_level_says_so_and_shows_latency_large() -> None:
    quiet = replace(series([5.0] * 3), metric="power_mw")
    page = page_of(quiet, series([100.0] * 3))
    assert (
        page.banner is not None and page.banner.headline == "Latency of a step has kept its level over 3\u00a0points."
    )
    (section,) = (one for one in page.sections if one.name == "trends")
    assert [figure.name for figure in section.figures] == ["latency_ms"]
    assert [figure.name for figure in section.small] == ["power_mw"]


def test_the_metric_that_changed_last_is_the_large_one() -> None:
    old = series([100.0] * 10 + [106.0] * 10, changes=[Change(10, "worse", 100.0, 106.0)])
    new = replace(series([5.0] * 15 + [4.0] * 5, changes=[Change(15, "better", 5.0, 4.0)]), metric="power_mw")
    assert banner_of(old, new)[0].startswith("Power, mean is 20.0 % lower since 2026-01-16")


def test_a_trend_has_the_band_of_the_screen_its_baseline_and_the_pairs() -> None:
    plain_points = points([100.0, 101.0, 110.0])
    held = [replace(point, centre=100.0, margin=4.0) for point in plain_points[1:]]
    held[1] = replace(held[1], confirmed=Confirmed(1.08, 1.05, 1.11, 10))
    found = trend(MetricHistory("latency_ms", "lower", [plain_points[0], *held]), "int8", "latency")
    traces = {trace["name"]: trace for trace in found.traces}
    assert traces["like the nights before"]["y"] == [104.0, 104.0] and traces["low"]["y"] == [96.0, 96.0]
    assert traces["their median"]["y"] == [100.0, 100.0]
    pairs = traces["in turn with the baseline"]
    assert pairs["y"] == [108.0] and pairs["error_y"]["array"] == [3.0] and pairs["error_y"]["arrayminus"] == [3.0]


def test_a_band_narrower_than_what_counts_is_as_wide_as_that() -> None:
    held = [replace(point, centre=100.0, margin=0.1) for point in points([100.0, 100.0])]
    traces = {trace["name"]: trace for trace in trend(MetricHistory("load_ms", "lower", held), "int8", "m").traces}
    assert traces["like the nights before"]["y"][0] == pytest.approx(110.0)


def test_new_versions_are_marked_where_they_came() -> None:
    words = ["2.12", "2.12", "2.13", "2.13"]
    moved = [replace(point, versions={"torch": word}) for point, word in zip(points([1.0] * 4), words, strict=True)]
    moved.append(replace(moved[-1], at=at(4), versions={}))
    history = MetricHistory("latency_ms", "lower", moved)
    assert version_changes(history) == [(2, "torch 2.12 → 2.13")]
    labels = [note["text"] for note in (trend(history, "int8", "m").layout or {})["annotations"]]
    assert labels == ["torch 2.12 → 2.13"]


def test_the_change_that_counts_in_figures_is_that_of_the_statistics() -> None:
    assert LEAST_EFFECT == MIN_EFFECT


def test_a_device_that_was_away_or_silent_has_a_gap() -> None:
    found = [point for place, point in enumerate(health(12)) if place not in (4, 5)]
    found[8] = replace(found[8], temperature_max_c=None)
    figure = next(one for one in device_page(device("d", 12), found, []).figures if one.name == "temperature")
    assert figure.traces[0]["y"] == [50.0] * 4 + [None] + [50.0] * 4 + [None] + [50.0]
    assert figure.traces[1]["y"] == [40.0] * 4 + [None] + [40.0] * 6


def compared(device_name: str, setting: str, ratio: float, outcome: str, **more: Any) -> ComparedMetric:
    workload = WORKLOAD | {"quant": setting}
    numbers: dict[str, Any] = {"ratio": ratio, "low": ratio - 0.01, "high": ratio + 0.01, "kind": "jetson"}
    named = (device_name, workload, "latency_ms", "lower", outcome)
    return ComparedMetric(*named, before=100.0, after=100.0 * ratio, **(numbers | more))


def test_a_comparison_has_the_median_change_of_each_kind_and_setting_with_counts() -> None:
    found = [compared(f"d{number}", "int8", 1.05 + number / 100, "worse") for number in range(3)]
    found += [compared("d0", "fp32", 1.0, "same"), compared("p", "fp32", 0.9, "better", kind="android")]
    page = comparison_page(night(0), night(1), Compared("a", "b", found))
    (matrix,) = (matrix for section in page.sections for matrix in section.matrices)
    titles = [title for title, _ in matrix.columns]
    cells = {(row.name, title): cell for row in matrix.rows for title, cell in zip(titles, row.cells, strict=True)}
    ((latency,), note) = cells["jetson", "int8"].values, cells["jetson", "int8"].note
    assert (latency.text.replace("\u00a0", " "), latency.tone, note) == ("ms +6.0 %", "bad", "3 worse")
    assert cells["android", "fp32"].values[0].tone == "good" and not cells["android", "int8"].values


def test_what_is_not_the_same_comes_first_and_once_for_all_devices_it_is_true_of() -> None:
    names = [("torch", "1", "2"), ("a: governor", "x", "y"), ("b: governor", "x", "y")]
    page = comparison_page(night(0), night(1), Compared("a", "b", [], names))
    assert page.sections[0].name == "differences"
    rows = [[cell.main for cell in row.cells] for row in only_grid(page, "differences").rows]
    assert rows == [["torch", "1", "2", "the host"], ["governor", "x", "y", "2 devices"]]


def test_changes_are_drawn_by_their_size_in_percent_with_the_band_that_counts_for_none() -> None:
    sizes = (("a", 1.01, "same"), ("b", 0.8, "better"), ("c", 1.1, "worse"))
    found = [compared(name, "int8", ratio, word) for name, ratio, word in sizes]
    figure = forest([*found, replace(found[0], metric="load_ms")])
    assert figure.picks == ["Latency of a step", "Load"] and figure.of == [None, 0, 0, 0, 1]
    assert [(trace["x"][0], trace["y"][0]) for trace in figure.traces[1:4]] == [(-20.0, 3), (10.0, 2), (1.0, 1)]
    band = figure.layouts[0]["shapes"][0]
    assert (band["x0"], band["x1"]) == (pytest.approx(-2.44, abs=0.01), 2.5)
    assert figure.layouts[1]["shapes"][0]["x1"] == pytest.approx(10.0)


def test_of_more_than_forty_changes_the_largest_are_drawn_and_the_others_are_counted() -> None:
    figure = forest([compared(f"d{number}", "int8", 1.0 + number / 1000, "same") for number in range(1, 51)])
    assert figure.notes == ["The 40 largest changes of each metric are drawn; the table has the other 10."]
    assert min(trace["x"][0] for trace in figure.traces[1:]) == 1.1


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


def test_a_device_shows_all_its_runs_with_free_space_in_gib() -> None:
    grid = only_grid(device_page(device("d", 19), health(103), []), "runs")
    assert [row.cells[0].main for row in grid.rows] == [f"r{place:03}" for place in range(102, -1, -1)]
    assert grid.rows[0].cells[6].main == "2.0\u00a0GiB"


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


def test_an_unstable_measurement_is_distinguished_from_none() -> None:
    (sentence,) = best(record("fp32", 100.0), record("int8", 50.0, status="unstable"))[1]
    assert sentence.startswith("lowest latency: int8 and fp32 can't be told apart (int8 unstable); ")


def test_unstable_times_say_nothing_about_memory() -> None:
    (sentence,) = best(record("fp32", 100.0, status="unstable"), record("int8", 50.0, status="unstable"))[1]
    assert sentence.endswith("; lowest peak memory fp32, 9.77\u00a0MiB.")


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
