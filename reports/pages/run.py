"""Everything that the page of a run shows, ready for its template.

It begins with the run in a few sentences: what was measured, on what, how it ended, and what stands out.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from foundation.unavailable import Unavailable
from reports.figures.panels import Figure
from reports.figures.run_figures import all_figures
from reports.model.histories import Remark
from reports.model.measurements import (
    Measurement,
    as_number,
    devices_of,
    interval,
    mapping,
    number,
    ordinal_text,
    records,
    remarks_of,
    settings_of,
    text,
    value,
    workload_name,
)
from reports.model.traces import SessionLines
from reports.tables import downloads
from reports.tables.results import Table, details, reference_setting, results, sortable
from reports.text.appearance import Status, badges, glossary, slot, status, worst_kept
from reports.text.escaping import shortened
from reports.text.numbers import counted, duration, listed, moment_text, quantity, times, times_span
from reports.text.page_paths import device_place

_MOST_FINDINGS = 6


@dataclass(frozen=True)
class Summary:
    """``headline`` is a sentence, ``outcome`` the worst status it covers, ``findings`` a sentence per device."""

    outcome: Status
    headline: str
    workload: str
    findings: Sequence[tuple[str, str]]
    caution: str


def summarize(found: Sequence[Measurement]) -> Summary:
    """The summary of a run's measurements."""
    if not found:
        headline = "Nothing was measured. `suite run --resume` goes on where the run stopped."
        return Summary(status("interrupted"), headline, "", (), "")
    workloads = list(dict.fromkeys(workload_name(item) for item in found))
    devices = devices_of(list(found))
    findings = [
        (device, finding)
        for device in devices
        if (finding := _finding([item for item in found if item.device == device]))
    ]
    return Summary(
        outcome=min((status(item.status) for item in found), key=lambda one: (one.tone == "quiet", one.order)),
        headline=_headline(found, devices),
        workload=workloads[0] if len(workloads) == 1 else f"{len(workloads)} workloads; the table names each",
        findings=findings[:_MOST_FINDINGS],
        caution=_caution(found),
    )


def _headline(found: Sequence[Measurement], devices: Sequence[str]) -> str:
    settings = listed(settings_of(list(found)))
    where = listed([shortened(device) for device in devices]) if len(devices) <= 4 else counted(len(devices), "device")
    counts = sorted(Counter(item.status for item in found).items(), key=lambda pair: (-status(pair[0]).order, pair[0]))
    if len(counts) == 1:
        ended = f"all {counts[0][0]}" if len(found) > 1 else counts[0][0]
    else:
        ended = listed([f"{count} {word}" for word, count in counts])
    return f"{counted(len(found), 'measurement')} of {settings} on {where}: {ended}."


def _finding(found: Sequence[Measurement]) -> str:
    usable = [item for item in found if item.comparable]
    if len(usable) < 2 or len({workload_name(item) for item in usable}) > 1:
        return ""
    sentences = []
    timed = [(ms, item) for item in usable if isinstance(ms := number(item.record, "latency_ms", "median"), float)]
    if len(timed) > 1:
        ms, item = min(timed, key=lambda pair: pair[0])
        sentences.append(f"lowest latency {item.setting}, {quantity(ms, 'ms')} a step{_ratio(item)}")
    sized = [(kib, item) for item in usable if isinstance(kib := number(item.record, "peak_memory_kib"), float)]
    if len(sized) > 1:
        kib, item = min(sized, key=lambda pair: pair[0])
        sentences.append(f"lowest peak memory {item.setting}, {quantity(kib, 'KiB')}")
    return "; ".join(sentences) + "." if sentences else ""


def _ratio(item: Measurement) -> str:
    found, setting = (
        number(item.record, "ratio_to_reference", "latency", "ratio"),
        value(item.record, "ratio_to_reference", "setting"),
    )
    if isinstance(found, Unavailable) or isinstance(setting, Unavailable) or setting == item.setting:
        return ""
    ends = interval(item.record, "ratio_to_reference", "latency", "ci95")
    shown = f", 95 % interval {times_span(*ends)}" if ends else ""
    return f" ({times(found)} that of {setting}{shown})"


def _caution(found: Sequence[Measurement]) -> str:
    emulated = [shortened(device) for device in devices_of([item for item in found if item.emulated])]
    labs = sorted({shortened(item.origin) for item in found if item.origin})
    said = []
    if emulated:
        verb = "is" if len(emulated) == 1 else "are"
        said.append(
            f"{listed(emulated)} {verb} emulated: such latencies show that the way works, not how fast a device is, "
            "and are never compared."
        )
    if labs:
        said.append(f"Measured by {listed(labs)} and imported: shown, and never judged here.")
    return " ".join(said)


# Like MOST_ROWS of the results: the page stays light, the CSV is whole.
_MOST_SESSIONS, _MOST_DEVICES = 90, 16


@dataclass(frozen=True)
class SessionRow:
    """One session of one measurement."""

    device: str
    badges: Sequence[str]
    setting: str
    slot: int
    ordinal: str
    attempt: str
    status: Status
    reason: str
    median: str
    median_sort: str
    load: str
    load_sort: str
    peak: str
    peak_sort: str


@dataclass(frozen=True)
class Check:
    """One line of a device's preflight."""

    name: str
    status: Status
    detail: str
    remedy: str


@dataclass(frozen=True)
class DeviceCard:
    """What is known of a device: facts, checks before the run, sensors with how each was read or why it was not."""

    name: str
    kind: str
    badges: Sequence[str]
    facts: Sequence[tuple[str, str]]
    checks: Sequence[Check]
    sensors: Sequence[tuple[str, str, str]]


@dataclass(frozen=True)
class RunPage:
    """The page; ``files`` are the downloads beside it, with what each holds."""

    run_id: str
    started: str
    lasted: str
    command: str
    summary: Summary
    results: Table
    details: Table
    figures: Sequence[Figure]
    environment: Sequence[tuple[str, str]]
    devices: Sequence[DeviceCard]
    hidden_devices: int
    sessions: Sequence[SessionRow]
    hidden_sessions: int
    meanings: Sequence[Status]
    files: Sequence[tuple[str, str]]
    night: str
    device_links: Sequence[tuple[str, str]]
    badges: Sequence[str]
    tags: Sequence[str]
    remarks: Sequence[Remark]


# What sensors sample (docs/contracts.md), as people say it; the unit is with the values.
_QUANTITIES = {
    "memory_kib": "memory",
    "temperature_mc": "temperature",
    "power_mw": "power",
    "energy_mj": "energy",
    "frequency_khz": "frequency",
    "frequency_cap_khz": "highest frequency allowed",
    "throttle_events": "throttling, counted",
    "throttle_flags": "throttling",
    "chargers": "chargers plugged in",
}
_FILES = (
    (downloads.DOCUMENT, "JSON: the whole document of the run"),
    (downloads.MEASUREMENTS, "CSV: one row per measurement"),
    (downloads.STEPS, "CSV: every step of every session"),
    (downloads.SAMPLES, "CSV: every sample of every sensor"),
)


def run_page(
    run_id: str,
    document: Mapping[str, Any],
    found: Sequence[Measurement],
    lines: Sequence[SessionLines],
    night: str = "",
) -> RunPage:
    """Put the page together from the document, its measurements and the lines of its traces; ``night`` is the page of
    the night's verdicts, where the run was one."""
    sessions = [_session_row(item, session) for item in found for session in item.sessions]
    cards = device_cards(document, found)
    words = {item.status for item in found} | {row.status.word for row in sessions}
    return RunPage(
        run_id=run_id,
        started=moment_text(text(document, "started_at")),
        lasted=_lasted(document),
        command=text(document, "command"),
        summary=summarize(found),
        results=results(found, reference_setting(found)),
        details=details(found),
        figures=all_figures(found, lines),
        environment=[(str(key), str(entry)) for key, entry in mapping(document, "environment").items()],
        devices=cards[:_MOST_DEVICES],
        hidden_devices=max(0, len(cards) - _MOST_DEVICES),
        sessions=worst_kept(sessions, [row.status.word for row in sessions], _MOST_SESSIONS),
        hidden_sessions=max(0, len(sessions) - _MOST_SESSIONS),
        meanings=glossary(words),
        files=_FILES,
        night=night,
        device_links=[(name, device_place(name)) for name in devices_of(list(found))],
        badges=badges(False, text(document, "origin")),
        tags=[str(name) for name in document.get("tags") or ()],
        remarks=remarks_of(document),
    )


def device_cards(document: Mapping[str, Any], found: Sequence[Measurement]) -> list[DeviceCard]:
    """A card for every device that the document describes or that was measured."""
    described = mapping(document, "devices")
    names = dict.fromkeys([item.device for item in found] + [str(name) for name in described])
    return [_card(name, mapping(described, name), [item for item in found if item.device == name]) for name in names]


def _card(name: str, record: Mapping[str, Any], found: Sequence[Measurement]) -> DeviceCard:
    kind = text(record, "kind") or next((item.kind for item in found), "")
    checks = [
        Check(text(check, "name"), status(text(check, "status")), text(check, "detail"), text(check, "remedy"))
        for check in records(record, "preflight")
    ]
    return DeviceCard(
        name=name,
        kind=kind,
        badges=badges(
            record.get("emulated") is True or any(item.emulated for item in found),
            text(record, "origin") or next((item.origin for item in found), ""),
        ),
        facts=[(_fact_name(str(key)), _fact(record, str(key))) for key in mapping(record, "facts")],
        checks=checks,
        sensors=_sensors(found),
    )


def _fact_name(key: str) -> str:
    return key.removesuffix("_kib").replace("_", " ")


def _fact(record: Mapping[str, Any], key: str) -> str:
    if mapping(record, "facts").get(key) in (None, [], {}):
        return "the device does not tell"
    found = value(record, "facts", key)
    if isinstance(found, Unavailable):
        return f"unavailable: {found.reason}"
    if isinstance(found, list | tuple):
        return ", ".join(str(part) for part in found)
    if isinstance(found, Mapping):
        return ", ".join(f"{part}: {entry}" for part, entry in found.items())
    kib = as_number(found) if key.endswith("_kib") else None
    return quantity(kib, "KiB") if isinstance(kib, float) else str(found)


def _sensors(found: Sequence[Measurement]) -> list[tuple[str, str, str]]:
    """Name, quantity, and how it was read or why not; each once, over all measurements of the device."""
    seen: dict[tuple[str, str, str], None] = {}
    for item in found:
        for sensor in records(item.record, "sensors"):
            how = text(sensor, "method") if "unavailable" not in sensor else f"unavailable: {sensor['unavailable']}"
            quantity_name = text(sensor, "quantity")
            seen[text(sensor, "name"), _QUANTITIES.get(quantity_name, quantity_name), how] = None
    return list(seen)


def _session_row(item: Measurement, session: Mapping[str, Any]) -> SessionRow:
    shown_of = {}
    for key, unit in (("median_ms", "ms"), ("load_ms", "ms"), ("hwm_kib", "KiB")):
        found = number(session, key)
        shown_of[key] = ("\u2013", "") if isinstance(found, Unavailable) else (quantity(found, unit), sortable(found))
    return SessionRow(
        device=item.device,
        badges=badges(item.emulated, item.origin),
        setting=item.setting,
        slot=slot(item.setting),
        ordinal=ordinal_text(session, "ordinal"),
        attempt=ordinal_text(session, "attempt"),
        status=status(text(session, "status", default="unknown")),
        reason=text(session, "reason"),
        median=shown_of["median_ms"][0],
        median_sort=shown_of["median_ms"][1],
        load=shown_of["load_ms"][0],
        load_sort=shown_of["load_ms"][1],
        peak=shown_of["hwm_kib"][0],
        peak_sort=shown_of["hwm_kib"][1],
    )


def _lasted(document: Mapping[str, Any]) -> str:
    took = duration(text(document, "started_at"), text(document, "finished_at"))
    return took or "not finished"
