"""The page of an experiment: sentence, picture, folded evidence, what is missing, and text that is only text."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from reports.model.experiment import QUICK, Answer, Curve, Evidence, Experiment, Part, Picture, table_of
from reports.pages.experiment import experiment_figure, experiment_page

CURVE = Curve("fp32", (1.0, 10.0), (2.0, 3.0), low=(1.5, 2.5), high=(2.5, 4.0), words=("a", "<b>"), slot=0)
BARS = Curve("all", ("x", "<y>"), (1.0, 2.0), look="bars")
ANSWER = Answer(
    "It is so.",
    Picture("Speed", "tokens", "times as fast", (CURVE,), x_log=True),
    (table_of("Steps", [{"shape": "q=1", "ms": 1.23456}, {"shape": "q=2", "ms": None}], "Medians."),),
    ("held_out: no room",),
)
EXPERIMENT = Experiment(
    "2026-11-30T09-34-20-544f", "made", "Is it so?", False, ("local",), None, ("suite", "experiment", "made"),
    "2026-11-30T09:34:20.000+00:00", "partial", (Part("steps", "measure", "failed", reason="no room", seconds=3.0),),
    {"local": ANSWER}, hardware={"local": "2 x <Cortex>"},
)  # fmt: skip


def test_the_page_says_the_answer_first() -> None:
    page = experiment_page(EXPERIMENT)
    assert page.banner is not None
    assert (page.banner.headline, page.banner.status.word) == ("It is so.", "partial")
    assert page.lead.startswith("Is it so?")
    answer, evidence, method = page.sections
    assert answer.prose == ["Missing: held_out: no room"]
    assert [figure.title for figure in answer.figures] == ["Speed"]
    (grid,) = evidence.grids
    assert grid.folded == "Steps (2)"
    assert [[cell.main for cell in row.cells] for row in grid.rows] == [["q=1", "1.235"], ["q=2", "-"]]
    assert [head.kind for head in grid.heads] == ["text", "number"]
    assert ("local", "2 x <Cortex>") in method.facts[0].pairs
    assert ("part steps", "failed, 3\u00a0s, measure, no room") in method.facts[0].pairs


def test_a_quick_version_says_what_it_is_worth() -> None:
    cautions = [
        page.banner.caution
        for quick in (False, True)
        if (page := experiment_page(replace(EXPERIMENT, quick=quick))).banner
    ]
    assert cautions == ["", QUICK]


def test_the_lower_half_of_a_bars_interval_can_be_seen() -> None:
    bars = replace(BARS, low=tuple(y - 0.5 for y in BARS.y), high=tuple(y + 0.5 for y in BARS.y))
    (drawn,) = experiment_figure("picture", replace(ANSWER.picture or Picture("", "", "", ()), curves=(bars,))).traces
    assert drawn["error_y"]["color"] != drawn["marker"]["color"]


def test_points_of_many_curves_all_look_different() -> None:
    curves = tuple(replace(CURVE, look="points", slot=None) for _ in range(40))
    figure = experiment_figure("picture", replace(ANSWER.picture or Picture("", "", "", ()), curves=curves))
    assert len({(trace["marker"]["color"], trace["marker"]["symbol"]) for trace in figure.traces}) == len(curves)


def test_several_devices_have_an_answer_each() -> None:
    other = replace(ANSWER, sentence="It is not.", evidence=(), picture=None, missing=())
    page = experiment_page(replace(EXPERIMENT, devices=("local", "pi"), answers={"local": ANSWER, "pi": other}))
    assert page.banner is not None
    assert page.banner.headline == "Is it so?"
    assert [(link.text, sentence) for link, sentence in page.banner.items] == [
        ("local", "It is so."),
        ("pi", "It is not."),
    ]
    assert [section.title for section in page.sections] == ["local", "local: evidence", "pi", "How it was measured"]


def test_a_picture_draws_intervals_and_names_nothing_as_markup() -> None:
    figure = experiment_figure("picture", replace(ANSWER.picture or Picture("", "", "", ()), curves=(CURVE, BARS)))
    lines, bars = figure.traces
    assert (lines["error_y"]["array"], lines["error_y"]["arrayminus"]) == ([0.5, 1.0], [0.5, 0.5])
    assert (lines["type"], bars["type"]) == ("scatter", "bar")
    assert "<" not in "".join(map(str, [*lines["hovertext"], *bars["x"]]))
    assert figure.layout is not None
    assert figure.layout["xaxis"]["tickvals"] == [1.0, 10.0]


def test_a_document_gives_the_experiment_back() -> None:
    assert Experiment.from_document(EXPERIMENT.document()) == EXPERIMENT
    with pytest.raises(ValueError, match="schema"):
        Experiment.from_document({**EXPERIMENT.document(), "schema": 2})


@pytest.mark.parametrize("broken", [{"x": (1.0,)}, {"low": (1.0,)}, {"words": ("a",)}])
def test_curves_are_equally_long(broken: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="1 values for 2 points"):
        replace(CURVE, **broken)


def test_rows_are_as_long_as_their_heads() -> None:
    with pytest.raises(ValueError, match="1 cells for 2 heads"):
        Evidence("Steps", ("a", "b"), (("x",),))
