"""What the overview and the page of a night say and leave out, before any template: order, limits, what is hidden."""

from __future__ import annotations

from typing import Any

import pytest

from reports.model.histories import NIGHTS, SeriesVerdict, WorkloadSummary
from reports.model.source import RunContents
from reports.pages.night import night_page
from reports.pages.overview import RUNS_ON_A_PAGE, attention, index_pages, newest_first
from reports.tables.verdicts import WORDS, matrix_section, night_status, verdict_section
from tests.support.reports.page_models import WORKLOAD, at, attention_rows, device, night, notes_of, only_grid
from tests.support.reports.report_fixtures import summary

NOTHING = RunContents.from_document({})


def test_a_regression_of_the_last_seven_nights_needs_attention_and_an_older_one_does_not() -> None:
    nights = [night(number) for number in range(20, 10, -1)]
    nights[6] = night(14, verdicts={"regressed": 1})
    nights[7] = night(13, verdicts={"regressed": 1})
    assert attention_rows(attention(nights, [])) == [("Night of 2026-01-15 02:00 UTC", "regressed")]


def test_what_a_night_could_not_tell_needs_attention_until_the_next_one() -> None:
    unsure = {"verdicts": {"inconclusive": 2}}
    assert attention_rows(attention([night(9, **unsure), night(8)], []))[0][1] == "inconclusive"
    assert attention_rows(attention([night(9), night(8, **unsure)], [])) == []


def test_a_device_needs_attention_that_ended_badly_warns_or_was_missing_in_the_newest_night() -> None:
    devices = [
        device("well", 9),
        device("failed", 9, {"ok": 1, "failed": 1}),
        device("partly", 9, {"partial": 1}),
        device("warned", 9, warnings=("disk: nearly full",)),
        device("gone", 8),
        device("bonn:gone", 8, {"failed": 1}, origin="bonn"),
        device("cannot", 9, {"unsupported": 2}),
    ]
    assert attention_rows(attention([night(9)], devices)) == [
        ("failed", "failed"), ("partly", "partial"), ("warned", "warning"), ("gone", "missing"),
    ]  # fmt: skip


def test_all_that_needs_attention_is_there_the_worst_first() -> None:
    gone = [device(f"gone-{number}", 1) for number in range(45)]
    section = attention([night(9), summary("r1", started_at=at(8), status="failed")], gone)
    rows = attention_rows(section)
    assert len(rows) == 46 and rows[0] == ("Run r1", "failed")
    assert notes_of(section.grids[0]) == ""


def test_runs_are_ordered_by_their_beginning_whatever_their_names() -> None:
    runs = [summary("b", started_at=at(1)), summary("z", started_at=at(0)), summary("a", started_at=at(2))]
    assert [run.run_id for run in newest_first(runs)] == ["a", "b", "z"]


@pytest.mark.parametrize(
    ("count", "pages"), [(0, 1), (RUNS_ON_A_PAGE, 1), (RUNS_ON_A_PAGE + 1, 2), (2 * RUNS_ON_A_PAGE, 2)]
)
def test_every_run_is_on_one_page_of_the_overview(count: int, pages: int) -> None:
    found = index_pages([summary(f"r{number:04}", started_at=at(number)) for number in range(count)], [], [], str)
    assert len(found) == pages
    rows = [row.cells[0].main for page in found for grid in page.sections[-1].grids for row in grid.rows]
    assert rows == [f"r{number:04}" for number in range(count - 1, -1, -1)]
    assert [bool(page.newer) for page in found] == [False, *[True] * (pages - 1)]
    assert [bool(page.older) for page in found] == [*[True] * (pages - 1), False]


def test_the_overview_has_every_night_device_and_workload_folded() -> None:
    nights = [night(number) for number in range(17)]
    devices = [device(f"d{number:03}", 16) for number in range(103)]
    workloads = [WorkloadSummary(f"w{number}", WORKLOAD, ["d"], ["int8"]) for number in range(61)]
    (page,) = index_pages(nights, devices, workloads, str)
    for name, count in (("nights", 17), ("devices", 103), ("workloads", 61), ("runs", 17)):
        grid, (section,) = only_grid(page, name), (one for one in page.sections if one.name == name)
        assert (len(grid.rows), notes_of(grid)) == (count, "")
        assert section.folded.replace("\u00a0", " ") == f"{count} {name}"


def test_a_night_whose_verdicts_were_not_counted_is_no_night_without_any() -> None:
    nights = [night(number, verdicts={"unchanged": 5} if number >= 2 else {}) for number in range(NIGHTS + 2)]
    (page,) = index_pages(nights, [], [], str)
    rows = only_grid(page, "nights").rows
    assert [row.cells[1].main for row in rows] == ["unchanged"] * NIGHTS + ["earlier"] * 2
    assert {cell.main for row in rows[NIGHTS:] for cell in row.cells[2 : 2 + len(WORDS)]} == {"\u2013"}


def verdict(word: str, number: int = 0, **more: Any) -> SeriesVerdict:
    facts: dict[str, Any] = {
        "device": f"d{number:03}", "workload_key": "k", "workload": WORKLOAD, "metric": "latency_ms",
        "direction": "lower", "emulated": False, "measurement_id": f"m{number}", "verdict": word, "rule": "nightly 2",
        "at": at(0), "value": 100.0,
    }  # fmt: skip
    return SeriesVerdict(**(facts | more))


@pytest.mark.parametrize(
    ("counts", "word"),
    [
        ({"unchanged": 9, "improved": 3, "inconclusive": 1, "regressed": 1}, "regressed"),
        ({"unchanged": 9, "improved": 3, "inconclusive": 1}, "inconclusive"),
        ({"unchanged": 9, "improved": 3, "insufficient": 4}, "improved"),
        ({"unchanged": 1, "insufficient": 4}, "unchanged"),
        ({"insufficient": 4, "regressed": 0}, "insufficient"),
        ({}, "not judged"),
    ],
)
def test_a_night_is_its_worst_verdict(counts: dict[str, int], word: str) -> None:
    assert night_status(counts).word == word


def test_a_change_to_the_history_is_reported_as_one_and_not_as_a_ratio_to_the_baseline() -> None:
    grid = verdict_section(
        [verdict("unchanged", numbers={"change": 0.032}), verdict("regressed", numbers={"ratio": 0.9})]
    )
    ratios = [next(cell for cell in row.cells if cell.main.endswith("%")) for row in grid.grids[0].rows]
    assert [cell.main for cell in ratios] == ["+3.2\u00a0%", "\u221210.0\u00a0%"]
    assert [cell.sort for cell in ratios] == ["1.032", "0.9"]
    assert ratios[0].small == ("to its history, not measured in turn",)


def test_small_numbers_are_displayed_with_two_digits_or_as_powers_of_ten() -> None:
    found = {"p": 0.00098, "q": 0.0000041, "ratio": 1.1}
    (grid,) = verdict_section([verdict("regressed", numbers=found)]).grids
    assert [cell.main for cell in grid.rows[0].cells[6:8]] == ["0.00098", "4e-06"]


def test_a_cell_of_the_matrix_is_its_worst_verdict_with_the_latency() -> None:
    found = [
        verdict("regressed", metric="power_mw", value=5000.0), verdict("unchanged", metric="latency_ms"),
        verdict("unchanged", metric="load_ms", value=7.0), verdict("regressed", 1, metric="power_mw", value=5000.0),
    ]  # fmt: skip
    (grid,) = matrix_section(found).grids
    cells = [(row.cells[1].main, [line.replace("\u00a0", " ") for line in row.cells[1].small]) for row in grid.rows]
    assert cells == [("regressed", ["1 of 3 series", "100 ms a step"]), ("regressed", ["1 of 1 series"])]


def test_the_matrix_has_a_row_for_every_device() -> None:
    found = [verdict("unchanged", number) for number in range(82)]
    (grid,) = matrix_section(found).grids
    assert len(grid.rows) == 82 and grid.notes == ()


def test_the_banner_of_a_night_names_six_changes_and_counts_the_others() -> None:
    found = [verdict("regressed", number) for number in range(8)] + [verdict("unchanged", 9)]
    banner = night_page(night(1), found, NOTHING).banner
    assert banner is not None and len(banner.items) == 6
    assert "8 regressed and 1 unchanged. 2 more in the table" in banner.headline.replace("\u00a0", " ")
    few = night_page(night(1), found[5:], NOTHING).banner
    assert few is not None and "further" not in few.headline


def test_the_page_of_a_night_has_every_device_that_it_checked() -> None:
    checks = {f"d{number:03}": "failed" if number == 90 else "ok" for number in range(95)}
    document = {"devices": {name: {"preflight": [{"name": "disk", "status": word}]} for name, word in checks.items()}}
    grid = only_grid(night_page(night(1), [verdict("unchanged")], RunContents.from_document(document)), "night-devices")
    names = [row.cells[0].main for row in grid.rows]
    assert len(names) == 95 and names == sorted(names)
    assert grid.rows[90].cells[2].main == "failed" and notes_of(grid) == ""


def test_the_run_of_a_night_stands_beside_it_and_not_in_the_way_to_it() -> None:
    page = night_page(night(1), [verdict("unchanged")], NOTHING)
    assert [link.text for link in page.trail] == ["Nights"]
    assert [link.href for link in page.beside] == ["runs/n001/index.html"]
