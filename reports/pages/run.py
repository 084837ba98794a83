"""The content of a run's page, ready for its template.

It starts with a summary: what was measured, on what, how it ended, and what stands out.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from foundation.unavailable import Json, Unavailable
from reports.figures.panels import Figure
from reports.figures.run_figures import all_figures
from reports.files import device_place
from reports.model.histories import Remark
from reports.model.measurement import Measurement, Session, devices_of, settings_of, workload_words
from reports.model.quantities import sensor_quantity
from reports.model.reading import Number, number, value
from reports.model.source import RunContents, RunDevice
from reports.model.traces import SessionLines, ordinal_text
from reports.tables import downloads
from reports.tables.rankings import busy_sentences, device_sentence
from reports.tables.results import Table, details, reference_setting, results, sortable
from reports.text.appearance import Status, badges, glossary, slot, status, worst_kept
from reports.text.escaping import shorten
from reports.text.numbers import duration, format_count, format_list, moment_text, quantity, span

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
    """Summarizes a run's measurements."""
    if not found:
        headline = "Nothing was measured. `suite run --resume` goes on where the run stopped."
        return Summary(status("interrupted"), headline, "", (), "")
    workloads = list(dict.fromkeys(workload_words(item.workload) for item in found))
    devices = devices_of(found)
    findings = [(device, finding) for device in devices if (finding := device_sentence(found, device))]
    return Summary(
        outcome=min((status(item.status) for item in found), key=lambda one: (one.tone == "quiet", one.order)),
        headline=_headline(found, devices),
        workload=workloads[0] if len(workloads) == 1 else f"{len(workloads)} workloads; the table names each",
        findings=findings[:_MOST_FINDINGS],
        caution=_caution(found),
    )


def _headline(found: Sequence[Measurement], devices: Sequence[str]) -> str:
    settings = format_list(settings_of(found))
    where = (
        format_list([shorten(device) for device in devices])
        if len(devices) <= 4
        else format_count(len(devices), "device")
    )
    counts = sorted(Counter(item.status for item in found).items(), key=lambda pair: (-status(pair[0]).order, pair[0]))
    if len(counts) == 1:
        ended = f"all {counts[0][0]}" if len(found) > 1 else counts[0][0]
    else:
        ended = format_list([f"{count} {word}" for word, count in counts])
    return f"{format_count(len(found), 'measurement')} of {settings} on {where}: {ended}."


def _caution(found: Sequence[Measurement]) -> str:
    emulated = [shorten(device) for device in devices_of([item for item in found if item.emulated])]
    labs = sorted({shorten(item.origin) for item in found if item.origin})
    cautions = []
    if emulated:
        verb = "is" if len(emulated) == 1 else "are"
        cautions.append(
            f"{format_list(emulated)} {verb} emulated: such latencies show that the way works, not how fast a "
            "device is, and are never compared."
        )
    if labs:
        cautions.append(f"Measured by {format_list(labs)} and imported: shown, and never judged here.")
    cautions += [f"{shorten(sentence, 300)}. Its numbers are a first look." for sentence in busy_sentences(found)]
    return " ".join(cautions)


# Like MOST_ROWS of the results: the page stays light, the CSV is complete.
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
    """A device: facts, checks before the run, sensors with how each was read or why it was not."""

    name: str
    kind: str
    badges: Sequence[str]
    facts: Sequence[tuple[str, str]]
    checks: Sequence[Check]
    sensors: Sequence[tuple[str, str, str]]


@dataclass(frozen=True)
class RunPage:
    """The page; ``files`` are the downloads beside it and what each contains."""

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


_FILES = (
    (downloads.DOCUMENT, "JSON: the whole document of the run"),
    (downloads.MEASUREMENTS, "CSV: one row per measurement"),
    (downloads.STEPS, "CSV: every step of every session"),
    (downloads.SAMPLES, "CSV: every sample of every sensor"),
)


def run_page(
    run_id: str,
    contents: RunContents,
    found: Sequence[Measurement],
    lines: Sequence[SessionLines],
    night: str = "",
) -> RunPage:
    """Builds the page from the run, its measurements in page order and the lines of its traces; ``night`` is the page
    of the night's verdicts, if the run was a night."""
    found = [_with_load(item, contents.devices.get(item.device)) for item in found]
    sessions = [_session_row(item, session) for item in found for session in item.sessions]
    cards = device_cards(contents.devices, found)
    words = {item.status for item in found} | {row.status.word for row in sessions}
    return RunPage(
        run_id=run_id,
        started=moment_text(contents.started_at),
        lasted=duration(contents.started_at, contents.finished_at) or "not finished",
        command=contents.command,
        summary=summarize(found),
        results=results(found, reference_setting(found)),
        details=details(found),
        figures=all_figures(found, lines),
        environment=[(key, str(entry)) for key, entry in contents.environment.items()],
        devices=cards[:_MOST_DEVICES],
        hidden_devices=max(0, len(cards) - _MOST_DEVICES),
        sessions=worst_kept(sessions, [row.status.word for row in sessions], _MOST_SESSIONS),
        hidden_sessions=max(0, len(sessions) - _MOST_SESSIONS),
        meanings=glossary(words),
        files=_FILES,
        night=night,
        device_links=[(name, device_place(name)) for name in devices_of(found)],
        badges=badges(False, contents.origin),
        tags=contents.tags,
        remarks=contents.remarks,
    )


def _with_load(item: Measurement, device: RunDevice | None) -> Measurement:
    """Returns a measurement from before it kept the warning of its device's load with that of the run's checks."""
    warned = () if device is None or item.busy else device.preflight
    load = next((check.detail for check in warned if check.name == "load" and check.status == "warning"), item.busy)
    return replace(item, busy=load)


def device_cards(described: Mapping[str, RunDevice], found: Sequence[Measurement]) -> list[DeviceCard]:
    """Returns a card for every device that the run describes or measured."""
    names = dict.fromkeys([*(item.device for item in found), *described])
    nothing = RunDevice.from_document(None)
    return [
        _card(name, described.get(name, nothing), [item for item in found if item.device == name]) for name in names
    ]


def _card(name: str, device: RunDevice, found: Sequence[Measurement]) -> DeviceCard:
    return DeviceCard(
        name=name,
        kind=device.kind or next((item.kind for item in found), ""),
        badges=badges(
            device.emulated or any(item.emulated for item in found),
            device.origin or next((item.origin for item in found), ""),
        ),
        facts=[(_fact_name(key), _fact(key, device.facts)) for key in device.facts],
        checks=[Check(check.name, status(check.status), check.detail, check.remedy) for check in device.preflight],
        sensors=_sensors(found),
    )


def _fact_name(key: str) -> str:
    return key.removesuffix("_kib").replace("_", " ")


def _fact(key: str, facts: Mapping[str, Json]) -> str:
    if facts[key] in (None, [], {}):
        return "the device does not tell"
    found = value(facts, key)
    if isinstance(found, Unavailable):
        return f"unavailable: {found.reason}"
    if isinstance(found, list | tuple):
        return ", ".join(str(part) for part in found)
    if isinstance(found, Mapping):
        return ", ".join(f"{part}: {entry}" for part, entry in found.items())
    kib = number(found) if key.endswith("_kib") else Unavailable("")
    return str(found) if isinstance(kib, Unavailable) else quantity(kib, "KiB")


def _sensors(found: Sequence[Measurement]) -> list[tuple[str, str, str]]:
    """Returns name, quantity, and how it was read or why not, each once over all measurements of the device."""
    rows = dict.fromkeys(
        (one.name, one.quantity, one.method, one.unavailable) for item in found for one in item.sensors
    )
    return [
        (
            name,
            sensor_quantity(measured).label,
            f"{_readings(name, measured, found)}{method}" if why is None else f"unavailable: {why}",
        )
        for name, measured, method, why in rows
    ]


def _readings(name: str, measured: str, found: Sequence[Measurement]) -> str:
    """Formats what a sensor of the user's own read in all measurements, to stand before how; empty for the others."""
    every = [one.readings for item in found for one in item.sensors if one.name == name and one.readings is not None]
    if not every:
        return ""
    unit = sensor_quantity(measured).unit
    mean = sum(one.mean for one in every) / len(every)
    low, high = min(one.low for one in every), max(one.high for one in every)
    return f"{quantity(mean, unit)} on average, {span(low, high, unit, like=mean)}; "


def _session_row(item: Measurement, session: Session) -> SessionRow:
    median, load, peak = (
        _sorted_quantity(found, unit)
        for found, unit in ((session.median_ms, "ms"), (session.load_ms, "ms"), (session.hwm_kib, "KiB"))
    )
    return SessionRow(
        device=item.device,
        badges=badges(item.emulated, item.origin),
        setting=item.setting,
        slot=slot(item.setting),
        ordinal=ordinal_text(session.ordinal),
        attempt=ordinal_text(session.attempt),
        status=status(session.status),
        reason=session.reason,
        median=median[0],
        median_sort=median[1],
        load=load[0],
        load_sort=load[1],
        peak=peak[0],
        peak_sort=peak[1],
    )


def _sorted_quantity(found: Number, unit: str) -> tuple[str, str]:
    """Formats a value in the unit that fits; returns also what it sorts by."""
    return ("\u2013", "") if isinstance(found, Unavailable) else (quantity(found, unit), sortable(found))
