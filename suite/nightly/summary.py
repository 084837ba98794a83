"""A night in a few lines: Markdown for a chat or a CI page, JSON for a program, JUnit XML for a CI server."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from foundation.unavailable import Json, Unavailable, as_document
from reports.model.measurement import Measurement
from suite.nightly.judging import JudgedSeries, Night

_WORDS = ("regressed", "inconclusive", "improved", "unchanged", "insufficient")
_MARKS = {"regressed": "✗", "inconclusive": "?", "improved": "✓"}
_MARKDOWN = re.compile(r"([\\`*_{}\[\]<>()#+!|~])")
MOST_ROWS = 50
_GAPS = {
    "unreached": "{n} device{s} not reached",
    "left out": "{n} device{s} without workloads of the night before",
    "vanished": "{n} device{s} without numbers that they had",
}


def banner(night: Night) -> str:
    """Returns the verdict of the night in one sentence."""
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
    """Returns the summary; text from devices and files cannot become markup. Rows beyond 50 of a kind are counted."""
    lines = [f"## Night {night.run_id}", "", f"{banner(night)}.", ""]
    for word in ("regressed", "inconclusive", "improved"):
        lines += _section(
            f"{_MARKS[word]} {word.capitalize()}", [_format_change(item, night) for item in night.of(word)]
        )
    busy = dict.fromkeys((item.device, item.busy) for item in night.measurements if item.busy)
    lines += _section("Failed", [_format_failure(item) for item in night.errors])
    lines += _section("Missing", [f"- **{_plain(gap.device)}**: {_plain(gap.sentence)}" for gap in night.gaps])
    lines += _section("Busy", [f"- **{_plain(device)}**: {_plain(load)}" for device, load in busy])
    report = night.report.reason if isinstance(night.report, Unavailable) else night.report
    lines.append(f"Report: {_plain(report)}")
    return "\n".join(lines) + "\n"


def document(night: Night) -> dict[str, Json]:
    """Returns the night as one JSON object; `text` is what chat programs display."""
    return {
        "text": f"Night {night.run_id}: {banner(night)}.",
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
    }


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
    """Returns the lines of a section, none without any row."""
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
    for item in night.series:
        series, verdict = item.screened.series, item.verdict
        case = SubElement(
            cases, "testcase", classname=_text(f"{series.device}.{series.workload_key}"), name=_text(series.metric)
        )
        if verdict.verdict == "regressed":
            failure = SubElement(case, "failure", type="regressed", message=_text(verdict.sentence))
            failure.text = _text(night.command(item))
        elif verdict.verdict in ("inconclusive", "insufficient"):
            SubElement(case, "skipped", message=_text(f"{verdict.verdict}: {verdict.sentence}"))
        else:
            SubElement(case, "system-out").text = _text(f"{verdict.verdict}: {verdict.sentence}")
    for error in night.errors:
        case = SubElement(cases, "testcase", classname=_text(error.device), name=_text(_workload(error)))
        SubElement(case, "error", type=_text(error.status), message=_text(str(error.reason)))
    counts = {"tests": len(cases), "failures": len(night.of("regressed")), "errors": len(night.errors)}
    skipped = len(night.of("inconclusive")) + len(night.of("insufficient"))
    for name, count in (counts | {"skipped": skipped}).items():
        cases.set(name, str(count))
    indent(cases)
    written: bytes = tostring(cases, encoding="utf-8", xml_declaration=True)
    return written


def _text(text: str) -> str:
    """Replaces the characters that XML cannot hold."""
    return _NOT_XML.sub("?", text)
