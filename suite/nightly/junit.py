"""A night as JUnit XML, which every CI server shows: a test case for each series, a failure for each regression.

What could not be measured is an error, what is inconclusive or insufficient is skipped.
"""

from __future__ import annotations

import re
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from suite.nightly.night import Night

_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def junit(night: Night) -> bytes:
    """The document, UTF-8."""
    cases = Element("testsuite", name=_text(f"night {night.run_id}"))
    for item in night.judged:
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
        name = f"{error['workload'].get('model', '')} {error['workload'].get('quant', '')}"
        case = SubElement(cases, "testcase", classname=_text(str(error["device"])), name=_text(name))
        SubElement(case, "error", type=_text(str(error["status"])), message=_text(str(error["reason"])))
    counts = {"tests": len(cases), "failures": len(night.of("regressed")), "errors": len(night.errors)}
    skipped = len(night.of("inconclusive")) + len(night.of("insufficient"))
    for name, count in (counts | {"skipped": skipped}).items():
        cases.set(name, str(count))
    indent(cases)
    written: bytes = tostring(cases, encoding="utf-8", xml_declaration=True)
    return written


def _text(text: str) -> str:
    """Without the characters that XML can't hold."""
    return _NOT_XML.sub("?", text)
