"""The page of a profile: figures whose boxes hold what is in them, a table that adds up, sentences."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from reports.model.profile import Profile, ProfileRow, RowSum, SettingProfile
from reports.pages.profile import flame_by_group, flame_by_place, profile_page
from reports.tables.profile_lines import profile_lines, profile_sentence

ROWS = (
    ProfileRow("frozen products", "q_proj", "product", "delegate", 0, 8, 40.0, 4e9, 8e6),
    ProfileRow("frozen products", "q_proj", "product", "delegate", 1, 8, 20.0, 4e9, 8e6),
    ProfileRow("norm", "", "Multiply (ND)", "delegate", 1, 2, 9.7, 1e6, 3e6),
    ProfileRow("noise and update", "", "perturb", "kernel", None, 30, 20.0, None, 5e6),
    ProfileRow("noise and update", "", "copy_", "kernel", None, 2, 0.1, None, 80.0),
    ProfileRow("noise and update", "", "update", "kernel", None, 1, 0.2, None, 5e6),
    ProfileRow("not attributed", "", "in delegates", "delegate", None, 60, 10.0, None, None),
)
SETTING = SettingProfile(
    {"model": "tiny", "quant": "fp32", "method": "prge", "q": 2, "b": 2, "T": 16},
    "aa", 2, (100.0, 98.0, 102.0), (101.0, 99.96, 102.0), 3, ROWS,
)  # fmt: skip
PROFILE = Profile(
    "2026-11-30T05-00-00-abcd", "2026-11-30T05:00:00.000+00:00", "board", "linux", False, {"cpu": "Some"},
    (SETTING,), {"nf4": "no room"},
)  # fmt: skip


def test_what_the_profile_adds_is_the_median_over_neighbours() -> None:
    assert SETTING.overhead_percent == pytest.approx(1.0)
    assert SETTING.step_ms == pytest.approx(100.0)
    assert SETTING.outside_percent == pytest.approx(40.0)


def test_rates_leave_out_what_is_not_counted() -> None:
    found = RowSum.of([ROWS[0], ROWS[3]])
    assert (found.ms, found.calls) == (60.0, 38)
    assert found.gflops_per_s == pytest.approx(100.0)
    assert found.gb_per_s == pytest.approx(13e6 / 60e-3 / 1e9)
    assert RowSum.of([ROWS[-1]]).gb_per_s is None


def test_lines_are_groups_with_their_parts_and_small_ones_summed_up() -> None:
    lines = [(line.group, line.name, round(line.percent, 3)) for line in profile_lines(SETTING)]
    assert lines == [
        ("frozen products", "", 60.0),
        ("frozen products", "q_proj, product", 60.0),
        ("noise and update", "", 20.3),
        ("noise and update", "perturb", 20.0),
        ("noise and update", "others", 0.3),
        ("norm", "", 9.7),
        ("norm", "Multiply (ND)", 9.7),
        ("not attributed", "", 10.0),
        ("not attributed", "in delegates", 10.0),
    ]


def test_the_sentence_names_step_overhead_and_what_is_largest_outside() -> None:
    assert profile_sentence(SETTING).replace("\u00a0", " ") == (
        "100 ms a step, +1.0 % with the profile (+0.0 to +2.0 % in 3 pairs of steps); 40.0 % of it is outside "
        "frozen products, most of that in noise and update 20.3 %, not attributed 10.0 %, norm 9.7 %"
    )


@pytest.mark.parametrize("flame", [flame_by_group, flame_by_place])
def test_each_box_of_a_flame_is_in_one_that_is_as_wide_as_its_boxes(flame: Any) -> None:
    (trace,) = flame(SETTING).traces
    boxes = dict(zip(trace["ids"], zip(trace["parents"], trace["values"], strict=True), strict=True))
    assert len(boxes) == len(trace["ids"])
    (root,) = (name for name, (parent, _) in boxes.items() if not parent)
    assert boxes[root][1] == 100_000_000
    for name in boxes:
        inside = [value for parent, value in boxes.values() if parent == name]
        assert not inside or sum(inside) == boxes[name][1]
    assert len(trace["marker"]["colors"]) == len(trace["labels"]) == len(trace["hovertext"]) == len(boxes)


def test_layers_and_delegates_are_boxes_of_their_own() -> None:
    (trace,) = flame_by_place(SETTING).traces
    assert "step/inside delegates/layer 1/norm/Multiply (ND)" in trace["ids"]
    assert "step/operators outside delegates/noise and update/perturb" in trace["ids"]


def test_the_page_has_both_figures_and_the_table_of_each_setting_and_names_what_failed() -> None:
    page = profile_page(PROFILE)
    assert [section.name for section in page.sections] == ["flame-fp32", "operators-fp32", "method"]
    assert len(page.figures) == 2
    assert page.banner is not None
    assert [(link.text, link.href) for link, _ in page.banner.items] == [("fp32", "#operators-fp32"), ("nf4", "")]
    assert page.banner.items[1][1] == "no profile: no room"
    assert page.banner.status.word == "partial"


def test_a_document_gives_the_profile_back() -> None:
    document = json.loads(json.dumps(PROFILE.document()))
    assert Profile.from_document(document) == PROFILE
    assert document["settings"][0]["outside_of_frozen_products_percent"] == pytest.approx(40.0)


@pytest.mark.parametrize("place", ["ms", "flops", "bytes"])
@pytest.mark.parametrize("value", [math.nan, math.inf, -1.0, "much", [1]])
def test_a_document_with_something_else_than_numbers_is_refused(place: str, value: Any) -> None:
    document = json.loads(json.dumps(PROFILE.document()))
    document["settings"][0]["rows"][0][place] = value
    with pytest.raises((ValueError, TypeError)):
        Profile.from_document(document)
