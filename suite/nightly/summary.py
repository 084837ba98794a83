"""Summarizes a night: Markdown for a chat or a CI page, JSON for a program, JUnit XML for a CI server.

The JSON is also posted to the URL in `$SUITE_WEBHOOK_URL`. Posting never raises, so that no night fails because of it.
The URL is a secret, so it is neither printed nor stored; messages have only its host, and reasons that cannot contain
it.
"""

from __future__ import annotations

import http.client
import os
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import SplitResult, urlsplit
from urllib.request import HTTPRedirectHandler, OpenerDirector, ProxyHandler, Request, build_opener
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from tenacity import RetryError, Retrying, retry_if_exception_type, stop_after_attempt, wait_exponential_jitter

from foundation.text import printable
from foundation.unavailable import Json, Unavailable, as_document
from reports.model.findings import Finding
from reports.model.measurement import Measurement
from reports.site.serving import is_loopback
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
URL_VARIABLE = "SUITE_WEBHOOK_URL"
HTTP_VARIABLE = "SUITE_WEBHOOK_ALLOW_HTTP"
ATTEMPTS = 4
#: Limit of one wait for the server.
_TIMEOUT_S = 10.0
#: Limit of all attempts together: a server that answers byte by byte never exceeds the other limit.
_TOTAL_S = 90.0
_TRY_AGAIN = (408, 425, 429)


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


@dataclass(frozen=True)
class Posted:
    """Whether the night was accepted, and a sentence for the user, without the URL."""

    ok: bool
    sentence: str


class _RefusedError(Exception):
    """The server or the connection refused, in words without the URL."""


class _BusyError(_RefusedError):
    """Another attempt may succeed."""


class _Stay(HTTPRedirectHandler):
    """Refuses redirects, which would send a night's numbers to a host that nobody named."""

    def redirect_request(self, *_: Any) -> None:
        return None


def post(
    content: bytes,
    environ: Mapping[str, str] | None = None,
    *,
    sleep: Callable[[float], None] = time.sleep,
    timeout_s: float = _TIMEOUT_S,
    total_s: float = _TOTAL_S,
) -> Posted | None:
    """Posts `content` (JSON, UTF-8), retrying while the host is busy or unreachable. Returns None without a URL.

    `sleep` waits between attempts: about 1, 2 and 4 seconds.
    """
    variables = os.environ if environ is None else environ
    url = variables.get(URL_VARIABLE, "").strip()
    if not url:
        return None
    target = _target(url, allow_http=variables.get(HTTP_VARIABLE, "") == "1")
    if isinstance(target, str):
        return Posted(False, f"the webhook was not called: {target}")
    host = _host(target)
    request = Request(url, data=content, method="POST", headers={"Content-Type": "application/json"})  # noqa: S310
    found: list[Posted] = []
    worker = threading.Thread(
        target=lambda: found.append(_with_retries(_opener(target), request, host, sleep, timeout_s)),
        name="webhook",
        daemon=True,
    )
    worker.start()
    worker.join(total_s)
    late = f"the webhook at {host} did not accept the night within {total_s:g} s"
    return found[0] if found else Posted(False, late)


def _target(url: str, *, allow_http: bool) -> SplitResult | str:
    """Returns the parts of a URL, or why nothing may be posted to it."""
    name = f"${URL_VARIABLE}"
    if any(not 0x21 <= ord(character) <= 0x7E for character in url):
        return f"{name} has spaces or other characters that a URL can't have"
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return f"{name} is not a URL"
    if parts.scheme not in ("https", "http") or not host:
        return f"{name} does not begin with https:// and a host"
    if parts.username is not None or parts.password is not None:
        return f"{name} has a user name: use a URL without one"
    if parts.scheme == "http" and not allow_http and not is_loopback(host):
        return f"{name} uses http to another host: use https, or set {HTTP_VARIABLE}=1"
    return parts


def _host(parts: SplitResult) -> str:
    name = printable(parts.hostname or "", 100)
    return name if parts.port is None else f"{name}:{parts.port}"


def _opener(parts: SplitResult) -> OpenerDirector:
    direct = [ProxyHandler({})] if is_loopback(parts.hostname or "") else []
    return build_opener(_Stay(), *direct)


def _with_retries(
    opener: OpenerDirector, request: Request, host: str, sleep: Callable[[float], None], timeout_s: float
) -> Posted:
    attempts = Retrying(
        stop=stop_after_attempt(ATTEMPTS),
        wait=wait_exponential_jitter(initial=1, max=30, jitter=0.5),
        retry=retry_if_exception_type(_BusyError),
        sleep=sleep,
    )
    try:
        attempts(_once, opener, request, timeout_s)
    except _RefusedError as error:
        return Posted(False, f"the webhook at {host} did not accept the night: {error}")
    except RetryError as error:
        why = error.last_attempt.exception()
        return Posted(False, f"the webhook at {host} did not accept the night in {ATTEMPTS} attempts: {why}")
    return Posted(True, f"posted to {host}")


def _once(opener: OpenerDirector, request: Request, timeout_s: float) -> None:
    try:
        with opener.open(request, timeout=timeout_s):
            pass
    except HTTPError as error:
        error.close()
        answer = f"it answered {error.code}"
        raise _BusyError(answer) if error.code >= 500 or error.code in _TRY_AGAIN else _RefusedError(answer) from None
    except URLError as error:
        raise _BusyError(_cause(error.reason)) from None
    except (OSError, http.client.HTTPException) as error:
        raise _BusyError(_cause(error)) from None
    except ValueError as error:  # a host name that can't be looked up
        raise _RefusedError(_cause(error)) from None


def _cause(reason: object) -> str:
    """Returns the system's reason, as the library's text may contain the URL."""
    if isinstance(reason, TimeoutError):
        return "no answer in time"
    if isinstance(reason, OSError) and reason.strerror:
        return printable(reason.strerror, 120)
    return type(reason).__name__
