"""What a night comes to: its exit code, and what it tells as text, JSON and JUnit XML."""

from __future__ import annotations

import json
from dataclasses import replace
from xml.etree import ElementTree

import pytest

from foundation.unavailable import Unavailable
from suite.nightly.gaps import Gap
from suite.nightly.summary import MOST_ROWS, banner, document, junit, markdown
from tests.support.suite.nights_made import KEY, night, result_of, verdict_of

OK, FAILED = result_of("ok"), result_of("failed")


@pytest.mark.parametrize(
    ("words", "measurements", "code"),
    [
        ((), (), 0),
        (("unchanged", "improved", "insufficient"), (OK,), 0),
        (("unchanged", "inconclusive"), (OK,), 4),
        (("unchanged",), (OK, FAILED), 4),
        (("unchanged", "regressed"), (OK,), 3),
        (("regressed", "inconclusive"), (OK, FAILED), 3),
    ],
)
def test_a_regression_decides_over_what_is_inconclusive_or_failed(words, measurements, code):
    found = night(*(verdict_of(word) for word in words), measurements=measurements)
    assert found.exit_code == document(found)["exit_code"] == code


@pytest.mark.parametrize(
    ("status", "is_error"),
    [
        ("ok", False),
        ("unstable", False),
        ("unsupported", False),
        ("partial", True),
        ("invalid", True),
        ("failed", True),
    ],
)
def test_what_could_not_be_measured_as_planned_is_an_error(status, is_error):
    found = night(measurements=[result_of(status)])
    assert bool(found.errors) is is_error
    assert found.exit_code == (4 if is_error else 0)


def test_the_largest_change_is_listed_first_whichever_way_and_however_it_was_found():
    found = night(
        verdict_of("inconclusive", 1, change=0.03),
        verdict_of("inconclusive", 2, ratio=0.7, change=0.01),
        verdict_of("inconclusive", 3, ratio=1.2),
        verdict_of("inconclusive", 4),
    )
    order = [item.screened.series.device for item in found.of("inconclusive")]
    assert order == ["board-2", "board-3", "board-1", "board-4"]
    assert [change["series"].split("/")[0] for change in document(found)["changes"]] == order


def test_a_night_in_one_sentence_counts_every_verdict_and_what_failed():
    found = night(
        verdict_of("regressed"), verdict_of("unchanged", 2), verdict_of("unchanged", 3), measurements=[OK, FAILED]
    )
    assert banner(found) == "3 series: 1 regressed, 2 unchanged; 1 measurement failed"
    assert banner(night(measurements=[FAILED] * 2)).endswith("; 2 measurements failed")
    assert banner(night()) == "0 series: no series has a point"


GAPS = (
    Gap("unreached", "pi", "not reached since 2026-01-02: no route to host"),
    Gap("vanished", "board-1", "energy per step, net (1 series): none for 1 night"),
    Gap("vanished", "board-1", "peak memory (1 series): none for 2 nights"),
)


def test_a_page_that_could_not_be_written_is_named_with_its_reason():
    found = replace(night(), report=Unavailable("the disk is full: free space"))
    assert document(found)["report"] == {"unavailable": "the disk is full: free space"}
    assert "Report: the disk is full: free space" in markdown(found)


def test_a_device_that_lacks_two_numbers_is_one_device():
    found = banner(replace(night(), gaps=GAPS))
    assert found.endswith("; 1 device not reached; 1 device without numbers that they had")


def test_markdown_has_what_is_missing_and_busy_devices_under_headings_of_their_own():
    busy = replace(OK, busy="90 % of the cores' time is in use")
    text = markdown(replace(night(measurements=[busy, busy]), gaps=GAPS))
    parts = [part.strip().splitlines() for part in text.split("### ")[1:]]
    assert (parts[0][0], len(parts[0][2:])) == ("Missing", 3)
    assert parts[1][:4] == ["Busy", "", "- **board**: 90 % of the cores' time is in use", ""]


def test_the_json_line_tells_changes_with_rule_numbers_and_the_command_that_repeats_them():
    items = [
        verdict_of("unchanged", 1),
        verdict_of("improved", 2, ratio=0.9),
        verdict_of("regressed", 3, cause="code", ratio=1.1),
    ]
    found = document(night(*items, measurements=[FAILED], board_3="suite run --device board-3"))
    assert found["verdicts"] == {"regressed": 1, "inconclusive": 0, "improved": 1, "unchanged": 1, "insufficient": 0}
    assert [change["verdict"] for change in found["changes"]] == ["regressed", "improved"]
    first = found["changes"][0]
    assert (first["cause"], first["rule"], first["numbers"]) == ("code", "nightly 3", {"ratio": 1.1})
    assert [change["command"] for change in found["changes"]] == ["suite run --device board-3", ""]
    assert [error["reason"] for error in found["errors"]] == ["it broke"]
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_markdown_lists_fifty_of_a_kind_and_counts_the_rest():
    text = markdown(night(*(verdict_of("regressed", number) for number in range(MOST_ROWS + 3)),
                          measurements=[FAILED] * (MOST_ROWS + 1)))  # fmt: skip
    assert text.count("- **board-") == MOST_ROWS
    assert "\n- and 3 more\n" in text and "\n- and 1 more\n" in text
    exact = markdown(night(*(verdict_of("regressed", number) for number in range(MOST_ROWS))))
    assert "more" not in exact


def test_markdown_shows_hostile_text_as_it_is_on_one_line():
    sentence = "a *b* <img src=x> [c](http://d)\n# e | `f`"
    text = markdown(night(verdict_of("regressed", sentence=sentence), measurements=[result_of("failed", sentence)]))
    escaped = r"a \*b\* \<img src=x\> \[c\]\(http://d\) \# e \| \`f\`"
    assert [line.endswith(f": {escaped}") for line in text.splitlines() if "http" in line] == [True, True]


def test_a_command_cannot_leave_its_code_span():
    text = markdown(night(verdict_of("regressed", 1), board_1="suite run --device 'a`b'"))
    assert "`suite run --device 'ab'`" in text


def cases(found):
    """Name of the class, name of the case, and the element that says how it went."""
    suite = ElementTree.fromstring(junit(found))  # noqa: S314 - our own
    return suite, [(case.get("classname"), case.get("name"), case[0]) for case in suite.iter("testcase")]


def test_junit_has_a_case_for_each_series_and_each_error_and_its_counts_agree():
    words = ("regressed", "regressed", "improved", "unchanged", "inconclusive", "insufficient", "insufficient")
    items = [verdict_of(word, number) for number, word in enumerate(words, 1)]
    suite, found = cases(night(*items, measurements=[OK, FAILED, result_of("invalid")], board_1="suite run"))
    counts = {name: suite.get(name) for name in ("tests", "failures", "errors", "skipped")}
    assert counts == {"tests": "9", "failures": "2", "errors": "2", "skipped": "3"}
    tags = [element.tag for _, _, element in found]
    assert tags == ["failure"] * 2 + ["system-out"] * 2 + ["skipped"] * 3 + ["error"] * 2
    assert found[0][:2] == (f"board-1.{KEY}", "latency_ms")
    assert (found[0][2].get("message"), found[0][2].text) == ("It is so.", "suite run")
    assert [(name, element.get("type")) for _, name, element in found[-2:]] == [
        ("tiny int8", "failed"), ("tiny int8", "invalid"),
    ]  # fmt: skip


def test_junit_is_whole_whatever_characters_a_reason_holds():
    reason = "end \x1b[31mred\x00 \ud800 <b>&amp; ok"
    _, found = cases(night(verdict_of("regressed", sentence=reason), measurements=[result_of("failed", reason)]))
    assert {element.get("message") for _, _, element in found} == {"end ?[31mred? ? <b>&amp; ok"}
