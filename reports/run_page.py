"""Everything that the page of a run shows, ready for its template."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from foundation.unavailable import Unavailable
from reports import downloads
from reports.badges import badges
from reports.cells import sortable
from reports.figures import all_figures
from reports.histories import Remark
from reports.measured import Measurement, devices_of, remarks_of
from reports.moments import duration, shown
from reports.numbers import quantity
from reports.palette import slot
from reports.panels import Figure
from reports.places import device_place
from reports.reading import as_number, counted, mapping, number, records, text, value
from reports.results import Table, details, reference_setting, results
from reports.status import Status, glossary, status, worst_kept
from reports.summary import Summary, summarize
from reports.traces import SessionLines

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
        started=shown(text(document, "started_at")),
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
        ordinal=counted(session, "ordinal"),
        attempt=counted(session, "attempt"),
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
