"""A night as GitHub reads it: one line for each notice, whatever a device or a file has put into its words."""

from __future__ import annotations

import re

import pytest

from suite.nightly.summary import MOST_ANNOTATIONS, Notice, annotation_lines, is_github_step, notices_of
from tests.suite.nightly.test_finding_messages import finding, with_findings


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


def test_findings_that_are_open_are_errors_or_warnings_with_the_command_that_measures_again():
    found = with_findings(
        finding(1, commands=("suite run --device board-1",)),
        finding(2, category="missing", members=(), reason="not reached since Monday"),
        finding(3, category="inconclusive", members=(), reason="too few pairs"),
        finding(4, category="improved"),
        finding(5, muted="muted by ada: known"),
        finding(6, state="accepted"),
    )
    lines = [read(line) for line in annotation_lines(notices_of(found))]
    assert [(level, title) for level, title, _ in lines] == [
        ("error", "regressed: F-000001"),
        ("error", "missing: F-000002"),
        ("warning", "inconclusive: F-000003"),
    ]
    assert lines[0][2].startswith("int8 on board-1: Latency of a step")
    assert lines[0][2].endswith("Measure it again: suite run --device board-1")
    assert "not reached since Monday" in lines[1][2]


@pytest.mark.parametrize("text", ["100 % of it", "a\r\nb", "a\n::error::x", "%0A", "a:b,c", "::stop-commands::x"])
def test_text_of_any_kind_stays_within_its_line(text):
    (line,) = annotation_lines([Notice("error", text, text)])
    assert read(line) == ("error", text, text)


def test_notices_beyond_the_limit_are_counted():
    lines = annotation_lines(Notice("error", f"{number}", "x") for number in range(MOST_ANNOTATIONS + 7))
    assert len(lines) == MOST_ANNOTATIONS + 1
    assert read(lines[-1]) == ("notice", "more", "7 more are in the summary of the night")


@pytest.mark.parametrize(
    ("environ", "wanted"), [({"GITHUB_ACTIONS": "true"}, True), ({"GITHUB_ACTIONS": ""}, False), ({}, False)]
)
def test_steps_of_github_actions_are_recognised(environ, wanted):
    assert is_github_step(environ) is wanted
