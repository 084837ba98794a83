"""A night as annotations of GitHub's pages: `::error` and `::warning` lines on standard output.

[GitHub, "Workflow commands for GitHub Actions": what is escaped in messages and properties.]
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from suite.nightly.judging import Night

MOST = 50
"""GitHub shows 10 of each level a step and 50 a job; more lines say nothing."""

_LEVELS: Mapping[str, Literal["error", "warning"]] = {
    **dict.fromkeys(("missing", "failed", "regressed"), "error"),
    **dict.fromkeys(("device", "inconclusive"), "warning"),
}
"""Of findings by category; better numbers ask nobody to do anything."""


@dataclass(frozen=True)
class Notice:
    """What somebody should look at: `title` names it in a few words, `text` says it in a sentence or two."""

    level: Literal["error", "warning", "notice"]
    title: str
    text: str


def notices_of(night: Night) -> Iterator[Notice]:
    """Yields what a night found, the worst first, as its findings are in order."""
    for one in night.findings:
        if one.category in _LEVELS and one.is_open:
            again = [f"Measure it again: {command}" for command in one.commands[:1]]
            text = " ".join([*(f"{detail}." for detail in one.details), *again])
            yield Notice(_LEVELS[one.category], f"{one.category}: {one.id}", f"{one.headline}. {text}".strip())


def is_wanted(environ: Mapping[str, str] | None = None) -> bool:
    """Returns whether the process is a step of GitHub Actions."""
    return (os.environ if environ is None else environ).get("GITHUB_ACTIONS") == "true"


def annotation_lines(notices: Iterable[Notice]) -> list[str]:
    """Returns a line for each notice, up to MOST, and one that counts the others."""
    every = list(notices)
    lines = [_line(one) for one in every[:MOST]]
    if len(every) > MOST:
        lines.append(_line(Notice("notice", "more", f"{len(every) - MOST} more are in the summary of the night")))
    return lines


def _line(notice: Notice) -> str:
    return f"::{notice.level} title={_property(notice.title)}::{_message(notice.text)}"


def _message(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _message(text).replace(":", "%3A").replace(",", "%2C")
