"""Summarizes a night: Markdown for a chat or a CI page, JSON for a program, JUnit XML for a CI server.

GitHub's pages get annotations: `::error` and `::warning` lines on standard output. [GitHub, "Workflow commands for
GitHub Actions": what has to be escaped in messages and properties.]
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from foundation.unavailable import Json, Unavailable, as_document
from reports.model.findings import Finding
from reports.model.measurement import Measurement
from suite.nightly.judging import JudgedSeries, Night

_WORDS = ("regressed", "inconclusive", "improved", "unchanged", "insufficient")
_MARKS = {"regressed": "✗", "inconclusive": "?", "improved": "✓"}
_MARKDOWN = re.compile(r"([\\`*_{}\[\]<>()#+!|~])")
MOST_ROWS = 50
MOST_IN_CHAT = 10
_GAPS = {
    "unreached": "{n} device{s} not reached",
    "left out": "{n} device{s} without workloads of the night before",
    "vanished": "{n} device{s} without numbers that they had",
}


def findings_line(found: Sequence[Finding]) -> str:
    """Counts findings: `3 findings, 1 new: 1 missing, 2 regressed; 1 fixed`; empty without any."""
    parts = []
    if unsettled := [one for one in found if one.is_open]:
        new = sum(one.state == "new" for one in unsettled)
        words = ", ".join(f"{count} {word}" for word, count in Counter(one.category for one in unsettled).items())
        parts.append(
            f"{len(unsettled)} finding{'' if len(unsettled) == 1 else 's'}{f', {new} new' if new else ''}: {words}"
        )
    others = Counter("muted" if one.muted else one.state for one in found if not one.is_open)
    return "; ".join([*parts, *(f"{count} {word}" for word, count in others.items())])


def finding_line(one: Finding) -> str:
    """Returns a finding in one line, with its name and since when it has existed."""
    return f"{one.category}: {one.headline} ({one.id}, {one.life})"


def banner(night: Night) -> str:
    """Returns the verdict of the night in one sentence, findings first."""
    found = findings_line(night.findings)
    return f"{found}; {_series_banner(night)}" if found else _series_banner(night)


def _series_banner(night: Night) -> str:
    counts = {word: len(night.of(word)) for word in _WORDS}
    verdicts = ", ".join(f"{count} {word}" for word, count in counts.items() if count) or "no series has a point"
    errors = len(night.errors)
    failed = f"; {errors} measurement{'' if errors == 1 else 's'} failed" if errors else ""
    gaps = Counter(what for what, _ in {(gap.what, gap.device): None for gap in night.gaps})
    lacks = "".join(f"; {_GAPS[what].format(n=count, s='' if count == 1 else 's')}" for what, count in gaps.items())
    busy = len({item.device for item in night.measurements if item.busy})
    load = f"; {busy} device{' was' if busy == 1 else 's were'} busy" if busy else ""
    return f"{len(night.series)} series: {verdicts}{failed}{lacks}{load}"


def markdown(night: Night) -> str:
    """Returns the summary. Text from devices and files is escaped. Rows beyond 50 of a kind are only counted."""
    lines = [f"## Night {night.run_id}", "", f"{banner(night)}.", ""]
    lines += _section("Findings", [_format_finding(one) for one in night.findings])
    rows = _rows(night)
    if night.findings and rows:
        lines += ["<details><summary>Series and measurements one by one</summary>", "", *rows, "</details>", ""]
    else:
        lines += rows
    report = night.report.reason if isinstance(night.report, Unavailable) else night.report
    lines.append(f"Report: {_plain(report)}")
    return "\n".join(lines) + "\n"


def _rows(night: Night) -> list[str]:
    """Returns sections of series, failures, gaps and busy devices, with a row for each."""
    lines: list[str] = []
    for word in ("regressed", "inconclusive", "improved"):
        lines += _section(
            f"{_MARKS[word]} {word.capitalize()}", [_format_change(item, night) for item in night.of(word)]
        )
    busy = dict.fromkeys((item.device, item.busy) for item in night.measurements if item.busy)
    lines += _section("Failed", [_format_failure(item) for item in night.errors])
    lines += _section("Missing", [f"- **{_plain(gap.device)}**: {_plain(gap.sentence)}" for gap in night.gaps])
    return lines + _section("Busy", [f"- **{_plain(device)}**: {_plain(load)}" for device, load in busy])


def document(night: Night) -> dict[str, Json]:
    """Returns the night as a JSON object; `text` is what chat programs display."""
    return {
        "text": "\n".join([f"Night {night.run_id}: {banner(night)}.", *_chat_lines(night)]),
        "run_id": night.run_id,
        "report": as_document(night.report),
        "exit_code": night.exit_code,
        "series": len(night.series),
        "verdicts": {word: len(night.of(word)) for word in _WORDS},
        "changes": [
            _change(item, night) for word in ("regressed", "inconclusive", "improved") for item in night.of(word)
        ],
        "errors": [
            {"device": item.device, "workload": item.workload, "status": item.status, "reason": item.reason}
            for item in night.errors
        ],
        "missing": [{"what": gap.what, "device": gap.device, "sentence": gap.sentence} for gap in night.gaps],
        "findings": [one.document() for one in night.findings],
    }


def _chat_lines(night: Night) -> list[str]:
    """Returns a line for each finding that needs attention, for chat programs."""
    found = [one for one in night.findings if one.is_open]
    more = len(found) - MOST_IN_CHAT
    lines = [f"• {finding_line(one)}" for one in found[:MOST_IN_CHAT]]
    return [*lines, f"and {more} more"] if more > 0 else lines


def _format_finding(one: Finding) -> str:
    headline = _plain(f"{one.headline} ({one.id}, {one.life})")
    lines = [f"- **{one.category}**: {headline}", *(f"  - {_plain(detail)}" for detail in one.details)]
    return "\n".join([*lines, *(f"  - `{command.replace('`', '')}`" for command in one.commands[:1])])


def _change(item: JudgedSeries, night: Night) -> Json:
    verdict = item.verdict
    return {
        "series": verdict.series,
        "verdict": verdict.verdict,
        "cause": verdict.cause,
        "sentence": verdict.sentence,
        "numbers": dict(verdict.numbers),
        "rule": f"{verdict.rule} {verdict.version}",
        "command": night.command(item),
    }


def _section(title: str, rows: Sequence[str]) -> list[str]:
    """Returns the lines of a section, or none if it has no rows."""
    more = [f"- and {len(rows) - MOST_ROWS} more"] if len(rows) > MOST_ROWS else []
    return [f"### {title}", "", *rows[:MOST_ROWS], *more, ""] if rows else []


def _format_change(item: JudgedSeries, night: Night) -> str:
    command = night.command(item).replace("`", "")
    line = f"- **{_plain(item.verdict.series)}**: {_plain(item.verdict.sentence)}"
    return f"{line}\n  `{command}`" if command else line


def _format_failure(item: Measurement) -> str:
    return f"- **{_plain(f'{item.device} {_workload(item)}')}**: {item.status}: {_plain(str(item.reason))}"


def _workload(item: Measurement) -> str:
    return f"{item.workload.get('model', '')} {item.workload.get('quant', '')}"


def _plain(text: str) -> str:
    """Escapes text so that Markdown renders it literally."""
    return _MARKDOWN.sub(r"\\\1", " ".join(text.split()))


_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def junit(night: Night) -> bytes:
    """Returns the JUnit document as UTF-8."""
    cases = Element("testsuite", name=_text(f"night {night.run_id}"))
    if night.findings:
        properties = SubElement(cases, "properties")
        for one in night.findings:
            SubElement(properties, "property", name=f"finding {one.id}", value=_text(finding_line(one)))
    muted = 0
    for item in night.series:
        series, verdict, finding = item.screened.series, item.verdict, night.finding_of(item)
        sentence = verdict.sentence if finding is None else f"{finding.id}, {finding.headline}. {verdict.sentence}"
        case = SubElement(
            cases, "testcase", classname=_text(f"{series.device}.{series.workload_key}"), name=_text(series.metric)
        )
        if verdict.verdict == "regressed" and finding is not None and finding.muted:
            muted += 1
            SubElement(case, "skipped", message=_text(f"{finding.muted}. {sentence}"))
        elif verdict.verdict == "regressed":
            failure = SubElement(case, "failure", type="regressed", message=_text(sentence))
            failure.text = _text(night.command(item))
        elif verdict.verdict in ("inconclusive", "insufficient"):
            SubElement(case, "skipped", message=_text(f"{verdict.verdict}: {sentence}"))
        else:
            SubElement(case, "system-out").text = _text(f"{verdict.verdict}: {verdict.sentence}")
    for error in night.errors:
        case = SubElement(cases, "testcase", classname=_text(error.device), name=_text(_workload(error)))
        SubElement(case, "error", type=_text(error.status), message=_text(str(error.reason)))
    count = len(cases.findall("testcase"))
    counts = {"tests": count, "failures": len(night.of("regressed")) - muted, "errors": len(night.errors)}
    skipped = len(night.of("inconclusive")) + len(night.of("insufficient")) + muted
    for name, count in (counts | {"skipped": skipped}).items():
        cases.set(name, str(count))
    indent(cases)
    written: bytes = tostring(cases, encoding="utf-8", xml_declaration=True)
    return written


def _text(text: str) -> str:
    """Replaces the characters that XML cannot contain."""
    return _NOT_XML.sub("?", text)


MOST_ANNOTATIONS = 50
"""GitHub displays at most 10 annotations of each level per step and 50 per job; more would be lost."""

_LEVELS: Mapping[str, Literal["error", "warning"]] = {
    **dict.fromkeys(("missing", "failed", "regressed"), "error"),
    **dict.fromkeys(("device", "inconclusive"), "warning"),
}
"""Levels of findings by category. Better numbers need no action, so they have none."""


@dataclass(frozen=True)
class Notice:
    """Something that needs attention: `title` names it in a few words, `text` explains it in a sentence or two."""

    level: Literal["error", "warning", "notice"]
    title: str
    text: str


def notices_of(night: Night) -> Iterator[Notice]:
    """Yields what a night found in the order of its findings, worst first."""
    for one in night.findings:
        if one.category in _LEVELS and one.is_open:
            again = [f"Measure it again: {command}" for command in one.commands[:1]]
            text = " ".join([*(f"{detail}." for detail in one.details), *again])
            yield Notice(_LEVELS[one.category], f"{one.category}: {one.id}", f"{one.headline}. {text}".strip())


def is_github_step(environ: Mapping[str, str] | None = None) -> bool:
    """Returns whether the process is a step of GitHub Actions."""
    return (os.environ if environ is None else environ).get("GITHUB_ACTIONS") == "true"


def annotation_lines(notices: Iterable[Notice]) -> list[str]:
    """Returns a line for each notice, at most MOST_ANNOTATIONS, and one that counts the others."""
    every = list(notices)
    lines = [_annotation(one) for one in every[:MOST_ANNOTATIONS]]
    if len(every) > MOST_ANNOTATIONS:
        others = len(every) - MOST_ANNOTATIONS
        lines.append(_annotation(Notice("notice", "more", f"{others} more are in the summary of the night")))
    return lines


def _annotation(notice: Notice) -> str:
    return f"::{notice.level} title={_property(notice.title)}::{_message(notice.text)}"


def _message(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _message(text).replace(":", "%3A").replace(",", "%2C")
