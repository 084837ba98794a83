"""The overview's first screen: boards by nights, kinds by settings with their course, whether to trust a night."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from reports.model.findings import Affected, Estimate, Finding, Member
from reports.model.histories import Night, Recent, SeriesVerdict
from reports.model.measurement import Measurement
from reports.tables.first_screen import heat_section, kinds_sections, trust_section
from reports.tables.pictures import HeatGrid, Spark
from reports.tables.sections import Section
from tests.support.reports.page_models import WORKLOAD, at, device

BOARDS = ("a", "b")


def finding(category: Any = "regressed", boards: tuple[str, ...] = ("a",), **changed: Any) -> Finding:
    members = tuple(Member(board, "k/int8", "latency_ms", Estimate(1.06)) for board in boards)
    facts: dict[str, Any] = {
        "state": "new",
        "metric": "latency_ms",
        "side": "worse",
        "level": "boards",
        "workloads": (),
    }
    facts |= {"settings": ("int8",), "where": (Affected("jetson", boards, 2),), "members": members}
    return Finding(id="F-1", category=category, **(facts | changed))


def nights(count: int, *last: Any, **changed: Any) -> list[Night]:
    """Nights in which both boards were well; of the last one, `changed`."""
    plain = [Night(f"n{number:03}", at(number), {board: {"ok": 4} for board in BOARDS}) for number in range(count)]
    return [*plain[:-1], replace(plain[-1], **changed)]


def heat(found: list[Night], *names: str) -> HeatGrid:
    (grid,) = heat_section(found, [device(name) for name in names or BOARDS]).heats
    return grid


def squares(grid: HeatGrid, name: str) -> list[str]:
    (row,) = (row for row in grid.rows if row.name == name)
    return ["" if cell.status is None else cell.status.word for cell in row.cells]


def words(section: Section) -> dict[str, tuple[str, str]]:
    return {one.question: (one.answer, "; ".join(one.words).replace("\u00a0", " ")) for one in section.answers}


def test_a_square_is_what_a_board_had_that_night_and_leads_to_it() -> None:
    grid = heat(nights(3, findings=[finding()]))
    assert squares(grid, "a") == ["ok", "ok", "regressed"]
    assert squares(grid, "b") == ["ok", "ok", "ok"]
    (row,) = (row for row in grid.rows if row.name == "a")
    assert [cell.href for cell in row.cells[1:]] == ["nights/n001/index.html", "nights/n002/index.html#F-1"]
    assert [column.href for column in grid.columns][-1] == "nights/n002/index.html"
    assert row.cells[-1].words == "2026-01-03 regressed: int8 on a"


def test_what_is_muted_fixed_or_accepted_leaves_a_square_calm() -> None:
    for calm in (finding(muted="known"), finding(state="fixed"), finding(state="accepted")):
        assert squares(heat(nights(2, findings=[calm])), "a") == ["ok", "ok"]


def test_a_board_that_was_not_reached_is_missing_and_one_that_failed_has_failed() -> None:
    gone = {"outcomes": {"a": {"failed": 4}, "b": {"ok": 3, "lost": 1}}, "unreached": frozenset("a")}
    grid = heat(nights(2, **gone))
    assert (squares(grid, "a"), squares(grid, "b")) == (["ok", "missing"], ["ok", "failed"])
    assert [row.name for row in grid.rows] == ["a", "b"]
    assert [one.word for one in grid.legend] == ["missing", "failed", "ok"]


def test_a_board_that_a_night_left_out_is_not_in_it_and_nothing_stands_before_its_first_night() -> None:
    found = nights(3, outcomes={"a": {"ok": 4}})
    found[0] = replace(found[0], outcomes={"a": {"ok": 4}})
    assert squares(heat(found), "b") == ["", "ok", "not in the night"]


def test_boards_with_the_worst_last_night_stand_first_and_those_of_other_labs_not_at_all() -> None:
    found = nights(2, findings=[finding(boards=("b",))])
    assert [row.name for row in heat(found, "a", "b").rows] == ["b", "a"]
    (grid,) = heat_section(found, [device("a"), device("b", origin="bonn")]).heats
    assert [row.name for row in grid.rows] == ["a"]


def item(board: str, setting: str, ms: float, kind: str = "jetson", model: str = "tiny") -> Measurement:
    document: dict[str, Any] = {
        "measurement_id": f"{board}-{setting}-{model}", "device": board, "kind": kind, "status": "ok",
        "workload": WORKLOAD | {"quant": setting, "model": model}, "latency_ms": {"median": ms},
    }  # fmt: skip
    return replace(Measurement.from_document(document), workload_key=f"k/{setting}")


def spark_of(found: list[Night], *items: Measurement) -> Spark | None:
    (section,) = kinds_sections(Recent(found, {"k": items}))
    return section.matrices[0].rows[0].cells[0].spark


def with_latencies(*values: dict[str, float]) -> list[Night]:
    return [
        Night(f"n{number:03}", at(number), latency_ms={(board, "k/int8"): ms for board, ms in found.items()})
        for number, found in enumerate(values)
    ]


def test_the_line_of_a_cell_moves_by_what_changed_and_not_by_who_was_away() -> None:
    found = with_latencies({"a": 10, "b": 90}, {"a": 10}, {}, {"b": 90}, {"a": 11, "b": 99})
    found[-1] = replace(found[-1], findings=[finding(boards=BOARDS)])
    spark = spark_of(found, item("a", "int8", 11), item("b", "int8", 99))
    assert spark is not None and spark.values == [1.0, 1.0, None, 1.0, 1.1]
    assert spark.marks == [(4, "bad")]
    assert "4 nights" in spark.words.replace("\u00a0", " ")


def test_one_night_is_no_course() -> None:
    assert spark_of(with_latencies({"a": 10}), item("a", "int8", 10)) is None


def test_noise_does_not_fill_the_height_of_a_line() -> None:
    heights = [Spark([100.0, 101.0], "", least=0.05).point(place)[1] for place in (0, 1)]
    whole = [Spark([100.0, 110.0], "", least=0.05).point(place)[1] for place in (0, 1)]
    assert whole == [22.0, 2.0] and 0 < heights[0] - heights[1] < 5


def test_a_cell_leads_to_its_series_or_of_several_boards_to_their_workload() -> None:
    items = [item("a", "int8", 10), item("a", "fp32", 20), item("b", "int8", 12)]
    (section,) = kinds_sections(Recent([], {"k": items}))
    fp32, int8 = section.matrices[0].rows[0].cells
    assert fp32.href.startswith("series/a/") and int8.href.startswith("workloads/k")


def test_workloads_beyond_a_screen_are_folded_with_all_their_rows() -> None:
    groups = {
        f"k{number}": [item(f"{kind}-1", "int8", 10, kind, f"model-{number}") for kind in ("jetson", "android", "pi")]
        for number in range(4)
    }
    first, rest = kinds_sections(Recent([], groups))
    assert (len(first.matrices[0].rows), first.folded) == (6, "")
    assert len(rest.matrices[0].rows) == 6 and "2\u00a0more workloads" in rest.folded
    assert first.matrices[0].name != rest.matrices[0].name


def verdict(board: str, margin: float) -> SeriesVerdict:
    numbers = {"centre": 100.0, "margin": margin, "points": 30}
    return SeriesVerdict(board, "k", WORKLOAD, "latency_ms", "lower", False, "m", "unchanged", "r", at(0), 1.0, numbers)


def test_trust_counts_what_was_judged_and_says_how_wide_noise_is() -> None:
    recent = Recent(nights(3), {}, [verdict("a", 1.0), verdict("a", 1.2), verdict("b", 4.0)])
    found = words(trust_section(recent, {"unchanged": 7, "regressed": 1, "insufficient": 2}))
    assert found["Series judged"] == ("8 of 10", "2 have too few nights yet; against 30 earlier nights")
    assert found["Noise"] == ("±1.2\u00a0%", "of a step's latency is within noise; most on b: 4.0 %")
    assert found["Devices"] == ("all steady", "none was busy, none changed by itself")
    assert found["Gaps"] == ("none", "every board has a result in each of 3 nights")


def test_trust_names_boards_that_were_busy_or_changed_by_themselves_and_the_gaps() -> None:
    gone = {"outcomes": {"a": {"failed": 4}, "b": {"ok": 4}}, "unreached": frozenset("a")}
    found = nights(3, findings=[finding("device", ("b",))], **gone)
    answers = words(trust_section(Recent(found, {}, [], ["a"]), {}))
    assert answers["Devices"] == ("2 unsteady", "busy: a; changed by itself: b")
    assert answers["Gaps"] == ("1", "of 6 nights of boards; most on a: 1")
    assert (answers["Series judged"][0], answers["Noise"][0]) == ("none", "not known")


def test_without_nights_a_sentence_says_what_makes_numbers_worth_trusting() -> None:
    section = trust_section(Recent(), {})
    assert not section.answers and "suite nightly" in section.empty
