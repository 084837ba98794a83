"""What the page of trainings says first, and what it makes of hostile, failed and missing trainings."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from reports.figures.training_curves import accuracy_curves, looks_of, loss_curves, pareto_front
from reports.files import TRAININGS, training_place
from reports.pages.training import training_page, trainings_page
from reports.site.build import build, build_training
from reports.tables.sections import Page
from tests.support.reports.page_text import PageText
from tests.support.reports.report_fixtures import realistic
from tests.support.reports.training_fixtures import (
    EMPTY_ID,
    GROUP_ID,
    ODD_ID,
    TrainingSource,
    group_of,
    lab_trainings,
    made_up,
    rising,
    summary_of,
)


def headline(*trainings, status="finished") -> str:
    banner = training_page(group_of(GROUP_ID, trainings, status), lambda place: "").banner
    assert banner is not None
    return banner.headline


def section(page: Page, name: str):
    (found,) = [each for each in page.sections if each.name == name]
    return found


def test_first_sentence_says_what_was_trained_and_what_it_reached() -> None:
    words = headline(made_up([(0, 0.5), (500, 0.8)]))
    assert words == (
        "Trained smollm2-135m with prge fp32 on jetson for 500\u00a0steps: accuracy went from 0.500 to 0.800 on "
        "400\u00a0held-out examples."
    )


def test_a_gain_that_may_be_chance_is_called_so() -> None:
    # 0.02 of 400 examples: 1.96 deviations of the difference are 0.069.
    assert "may be chance" in headline(made_up([(0, 0.5), (500, 0.52)]))
    assert "may be chance" not in headline(made_up([(0, 0.5), (500, 0.58)]))


@pytest.mark.parametrize(
    "training",
    [made_up([], status="failed", reason="memory"), made_up([(0, 0.5)], status="interrupted")],
    ids=["never evaluated", "only before the first step"],
)
def test_an_undecidable_training_is_reported_as_such(training) -> None:
    assert "can't be told" in headline(training, status="partial")


def test_several_ways_say_their_range_and_the_best() -> None:
    words = headline(
        made_up(rising(0.8, 100.0)),
        made_up(rising(0.7, 100.0), quant="nf4"),
        made_up([], quant="int8", status="failed"),
    )
    assert "3 trainings" in words and "the highest by prge fp32 on jetson with seed 7" in words
    assert "1\u00a0training not evaluated" in words and "0.500 before any step" in words


def test_same_contender_looks_the_same_and_others_differ() -> None:
    looks = looks_of(lab_trainings())
    assert len({(look.slot, look.dash) for look in looks.values()}) == len(looks) == 4
    assert looks["prge fp32"].slot == looks["mezo-lora-fa fp32"].slot
    one_setting = looks_of([made_up([], method=name) for name in ("prge", "mezo-lora-fa", "fo-lora-fa")])
    assert len({look.slot for look in one_setting.values()}) == 3


def test_a_line_is_a_training_thin_if_there_are_seeds_and_its_points_are_the_evaluations() -> None:
    trainings = [made_up([(0, 0.5), (10, 0.7)], seed=seed, step_s=2.0, step_mj=500.0) for seed in (7, 8)]
    figure = accuracy_curves(trainings)
    lines = [trace for trace in figure.traces if trace.get("text")]
    assert [(line["x"], line["y"], line["line"]["width"]) for line in lines] == [([0.0, 20.0], [0.5, 0.7], 1)] * 2
    assert figure.layout is not None
    axes = {button["label"]: button["args"][0]["x"][0] for button in figure.layout["updatemenus"][0]["buttons"]}
    assert axes == {"seconds": [0.0, 20.0], "steps": [0.0, 10.0], "joules": [0.0, 5.0]}


def test_without_energy_there_is_no_switch_to_joules_and_a_note_says_so() -> None:
    figure = accuracy_curves([made_up([(0, 0.5), (10, 0.7)])])
    assert figure.layout is not None
    assert [button["label"] for button in figure.layout["updatemenus"][0]["buttons"]] == ["seconds", "steps"]
    assert any("No joules" in note for note in figure.notes)


def test_contenders_whose_steps_cost_differently_can_be_compared_over_forward_tokens() -> None:
    trainings = [
        made_up([(0, 0.5), (10, 0.7)], seed=seed, forward_tokens=cost) for seed, cost in ((1, 768.0), (2, 2048.0))
    ]
    for figure, last in ((accuracy_curves(trainings), 1), (loss_curves(trainings), 3)):
        assert figure.layout is not None
        axes = {button["label"]: button["args"][0]["x"] for button in figure.layout["updatemenus"][0]["buttons"]}
        assert [axes["forward tokens"][place][-1] for place in (0, last)] == [7680.0, 20480.0]
        assert axes["steps"][0][-1] == axes["steps"][last][-1] == 10.0


def test_what_was_asked_lists_all_values_where_contenders_differ() -> None:
    page = training_page(
        group_of(GROUP_ID, [made_up([], plan={"steps": n}, seed=n) for n in (60, 500)]), lambda place: ""
    )
    (asked, _) = section(page, "method").facts
    assert ("steps", "60 and 500") in asked.pairs and ("schedule", "constant") in asked.pairs


def test_losses_of_many_steps_are_drawn_as_means_of_stretches() -> None:
    one = made_up([(0, 0.5), (1000, 0.7)])
    line = next(trace for trace in loss_curves([one]).traces if trace.get("opacity") == 0.45)
    losses = [loss for _, loss in one.segments[0].curve]
    assert len(line["y"]) == 120
    assert line["y"][0] == pytest.approx(sum(losses[:8]) / 8, rel=1e-5)
    assert line["x"][-1] == pytest.approx(1000 / 60)


def test_figures_without_anything_to_draw_say_why() -> None:
    failed = [made_up([], status="failed", quant=quant) for quant in ("fp32", "nf4")]
    (race,) = group_of(GROUP_ID, failed).races
    for figure in (accuracy_curves(failed), loss_curves(failed), pareto_front(race, failed, "front")):
        assert figure.empty and not figure.traces


def test_emulated_trainings_are_marked_in_every_place() -> None:
    page = training_page(group_of(GROUP_ID, [made_up([(0, 0.5), (10, 0.7)], emulated=True)]), lambda place: "")
    assert page.badges == ("emulated",)
    assert page.banner is not None and "emulated" in page.banner.caution
    assert section(page, "trainings").grids[0].rows[0].cells[0].badges == ("emulated",)
    figure = section(page, "curves").figures[0]
    assert "(emulated)" in figure.layout["annotations"][0]["text"]


def test_site_of_hostile_empty_and_failed_trainings_is_escaped_and_readable(tmp_path: Path) -> None:
    build(TrainingSource(), tmp_path)
    pages = {name: (tmp_path / training_place(name)).read_text() for name in (GROUP_ID, EMPTY_ID, ODD_ID)}
    pages |= {"list": (tmp_path / TRAININGS).read_text(), "overview": (tmp_path / "index.html").read_text()}
    for text in pages.values():
        assert "<img src=x" not in text and "<b>pi" not in text
    assert "No training was started" in pages[EMPTY_ID] and "suite train --resume" in pages[EMPTY_ID]
    assert "memory: <img" in PageText(tmp_path / training_place(ODD_ID)).text
    for name in (GROUP_ID, EMPTY_ID, ODD_ID):
        assert f"trainings/{name}/index.html" in pages["list"] and f"trainings/{name}/index.html" in pages["overview"]
    assert TRAININGS in pages["overview"]


def test_page_is_light_and_its_files_hold_all(tmp_path: Path) -> None:
    source = TrainingSource()
    folder = build_training(source, tmp_path, GROUP_ID).parent
    trainings = source.groups[GROUP_ID].trainings
    text = (folder / "index.html").read_text()
    without_data = "".join(part.partition("</script>")[2] for part in text.split('<script type="application/json"'))
    assert len(without_data) < 300_000
    document = json.loads((folder / "trainings.json").read_text())
    assert len(document["trainings"]) == len(trainings) and len(document["races"]) == 2
    with (folder / "steps.csv").open() as file:
        assert sum(1 for _ in csv.DictReader(file)) == sum(one.steps for one in trainings)
    with (folder / "evaluations.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == sum(len(one.evaluations) for one in trainings)
    assert float(rows[1]["accuracy"]) == trainings[0].evaluations[1].accuracy


def test_page_of_the_same_trainings_is_not_built_again_and_leads_to_its_device_once_there_is_a_page(
    tmp_path: Path,
) -> None:
    source = TrainingSource()
    path = build_training(source, tmp_path, GROUP_ID)
    written_ns = path.stat().st_mtime_ns
    build_training(source, tmp_path, GROUP_ID)
    assert path.stat().st_mtime_ns == written_ns
    assert "devices/jetson" not in path.read_text()
    device = tmp_path / "devices/jetson/index.html"
    device.parent.mkdir(parents=True)
    device.write_text("<!doctype html>")
    build_training(source, tmp_path, GROUP_ID)
    assert "../../devices/jetson/index.html" in path.read_text()


def test_list_has_the_newest_first_with_its_accuracies() -> None:
    groups = [summary_of(group) for group in TrainingSource().groups.values()]
    (grid,) = trainings_page(groups, lambda place: place).sections[0].grids
    assert [row.cells[0].main for row in grid.rows] == [ODD_ID, EMPTY_ID, GROUP_ID]
    assert grid.rows[2].cells[-1].main == "0.634\u20130.857"


def test_overview_without_trainings_says_how_to_train(tmp_path: Path) -> None:
    text = build(realistic(steps=3), tmp_path).read_text()
    assert "Nothing has been trained yet" in text and "suite race" in text
    assert not (tmp_path / TRAININGS).exists()
