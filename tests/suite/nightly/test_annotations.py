"""A night as GitHub reads it: one line a notice, whatever a device or a file has put into its words."""

from __future__ import annotations

import re

import pytest

from suite.nightly.annotations import MOST, Notice, annotation_lines, is_wanted, notices_of
from suite.nightly.gaps import Gap
from tests.support.suite.nights_made import night, result_of, verdict_of


def read(line: str) -> tuple[str, str, str]:
    """Returns level, title and message of a line as the runner of GitHub Actions reads it."""
    match = re.fullmatch(r"::(\w+) title=([^:,\r\n]*)::([^\r\n]*)", line)
    assert match is not None, line
    title, message = match[2], match[3]
    for code, character in (("%3A", ":"), ("%2C", ",")):
        title = title.replace(code, character)
    for code, character in (("%0D", "\r"), ("%0A", "\n"), ("%25", "%")):
        title, message = title.replace(code, character), message.replace(code, character)
    return match[1], title, message


def test_regressions_are_errors_and_what_is_open_is_a_warning():
    found = night(
        verdict_of("inconclusive", 1), verdict_of("regressed", 2, "9 % slower."), verdict_of("improved", 3),
        measurements=[result_of("failed", "no such file")], board_2="suite run --device board-2",
    )  # fmt: skip
    object.__setattr__(found, "gaps", (Gap("unreached", "board-9", "Not reached since Monday."),))
    lines = [read(line) for line in annotation_lines(notices_of(found))]
    assert [level for level, _, _ in lines] == ["error", "warning", "error", "warning"]
    assert lines[0][1].startswith("regressed: board-2/")
    assert lines[0][2] == "9 % slower. Measure it again: suite run --device board-2"
    assert lines[2][1:] == ("failed: board int8", "no such file")
    assert lines[3][1:] == ("unreached: board-9", "Not reached since Monday.")


@pytest.mark.parametrize("text", ["100 % of it", "a\r\nb", "a\n::error::x", "%0A", "a:b,c", "::stop-commands::x"])
def test_text_of_any_kind_stays_within_its_line(text):
    (line,) = annotation_lines([Notice("error", text, text)])
    assert read(line) == ("error", text, text)


def test_more_than_anybody_is_shown_are_counted():
    lines = annotation_lines(Notice("error", f"{number}", "x") for number in range(MOST + 7))
    assert len(lines) == MOST + 1
    assert read(lines[-1]) == ("notice", "more", "7 more are in the summary of the night")


@pytest.mark.parametrize(
    ("environ", "wanted"), [({"GITHUB_ACTIONS": "true"}, True), ({"GITHUB_ACTIONS": ""}, False), ({}, False)]
)
def test_steps_of_github_actions_are_recognised(environ, wanted):
    assert is_wanted(environ) is wanted
