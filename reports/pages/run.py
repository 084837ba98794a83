"""The page of a run: the fastest, most frugal and smallest setting, then each number, then how it was measured."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from foundation.unavailable import Json, Unavailable
from reports.figures.run_figures import all_figures
from reports.figures.trade_offs import latency_against_memory
from reports.files import device_place
from reports.model.measurement import Measurement, Session, devices_of, settings_of, workload_words
from reports.model.quantities import sensor_quantity
from reports.model.reading import Number, mapping, number, value
from reports.model.source import PreflightCheck, RunContents, RunDevice
from reports.model.traces import SessionLines, ordinal_text
from reports.tables import downloads
from reports.tables.answers import answers_of, busy_sentences, device_sentence, kind_matrix
from reports.tables.results import LONGEST_REASON, details, outcome_cell, reference_setting, results, sortable
from reports.tables.sections import Banner, Facts, Fold, Grid, GridCell, GridRow, Head, Link, Page, Section
from reports.text.appearance import Status, badges, glossary, slot, status
from reports.text.escaping import shorten
from reports.text.numbers import duration, format_count, format_list, moment_text, plain, quantity, span

_KERNELS = "kernels"
# With more devices, only the rows of the results link to them.
_MOST_LINKS = 8


@dataclass(frozen=True)
class Summary:
    """``headline`` is a sentence, ``outcome`` the worst status it covers, ``findings`` has a sentence per device."""

    outcome: Status
    headline: str
    workload: str
    findings: Sequence[tuple[str, str]]
    caution: str


def summarize(found: Sequence[Measurement]) -> Summary:
    """Summarizes a run's measurements."""
    if not found:
        headline = "Nothing was measured. `suite run --resume` continues where the run stopped."
        return Summary(status("interrupted"), headline, "", (), "")
    workloads = list(dict.fromkeys(workload_words(item.workload) for item in found))
    devices = devices_of(found)
    findings = [(device, finding) for device in devices if (finding := device_sentence(found, device))]
    return Summary(
        outcome=min((status(item.status) for item in found), key=lambda one: (one.tone == "quiet", one.order)),
        headline=_headline(found, devices),
        workload=workloads[0] if len(workloads) == 1 else f"{len(workloads)} workloads; the table names each",
        findings=findings,
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
            f"{format_list(emulated)} {verb} emulated: such latencies show that the procedure works, not how fast a "
            "device is, and are never compared."
        )
    if labs:
        cautions.append(f"Measured by {format_list(labs)} and imported: displayed, but never judged here.")
    cautions += [f"{shorten(sentence, 300)}. Its numbers are a first look." for sentence in busy_sentences(found)]
    return " ".join(cautions)


_FILES = (
    (downloads.DOCUMENT, "JSON: the whole document of the run"),
    (downloads.MEASUREMENTS, "CSV: one row per measurement"),
    (downloads.STEPS, "CSV: every step of every session"),
    (downloads.SAMPLES, "CSV: every sample of every sensor"),
)


_METHOD = (
    ("Latency of a step", "Time of one `forward` on the device's monotonic clock, without warm-up. Median of the "
     "sessions' medians; the interval is Student's t on the logarithms of these medians, since steps of one process "
     "are not independent; fewer than 3 sessions have a range instead."),
    ("Ratio", "Ratio of the medians of two settings in the same run on the same device, with Welch's t interval on "
     "logarithms. Sessions of the settings were interleaved, so that drift is not mistaken for an effect of the "
     "setting."),
    ("Peak memory", "VmHWM plus VmSwap of the runner. The kernel keeps them, so they don't depend on the sampling "
     "rate. Over weights: divided by the bytes of the stored weights."),
    ("Program size", "Bytes of the exported program on disk."),
    ("Energy per step", "Power samples integrated by trapezoids over the measured steps, with both ends interpolated, "
     "divided by the number of steps. Net: minus idle power, which is measured before and after. Method, rate and "
     "alignment error are in the details."),
    ("Power", "Mean over the measured steps, from the sensor named in the device's card."),
    ("Stability", "0 to 100: half from the coefficient of variation of the sessions' medians, a quarter each from max "
     "over min and from p99 over p50."),
    ("Percentiles", "Only with enough steps: p50 from 11, p90 from 64, p95 from 130, p99 from 662."),
    ("Loss", "Mean over queries and both signs of the perturbation. Compared with an eager model with the same seed, "
     "for as many steps as the reference has."),
)  # fmt: skip


def run_page(
    run_id: str,
    contents: RunContents,
    found: Sequence[Measurement],
    lines: Sequence[SessionLines],
    night: str = "",
) -> Page:
    """Builds the page from the run, its measurements in page order and the lines of its traces.

    ``night`` is the page of the night's verdicts, if the run was a night.
    """
    found = [_with_load(item, contents.devices.get(item.device)) for item in found]
    summary, devices = summarize(found), devices_of(found)
    lasted = duration(contents.started_at, contents.finished_at) or "not finished"
    lead = f"{moment_text(contents.started_at) or 'Start not recorded'}, {lasted}"
    return Page(
        title=f"Run {run_id}",
        heading=f"Run {run_id}",
        lead=f"{lead}. {summary.workload}" if summary.workload else lead,
        banner=Banner(summary.outcome, summary.headline, (), summary.caution),
        sections=[
            _answers(found),
            _results(found),
            _sentences(summary),
            _every_session(found, lines),
            _details(found),
            _launches(found),
            _devices(contents.devices, found),
            _method(contents),
        ],
        trail=(Link("Runs", "index.html#runs"),),
        beside=(
            *((Link("Verdicts of this night", night),) if night else ()),
            *(Link(name, device_place(name)) for name in devices if len(devices) <= _MOST_LINKS),
        ),
        files=_FILES,
        meanings=glossary(
            {item.status for item in found} | {session.status for item in found for session in item.sessions}
        ),
        badges=badges(False, contents.origin),
        tags=contents.tags,
        remarks=contents.remarks,
    )


def _answers(found: Sequence[Measurement]) -> Section:
    matrix = kind_matrix(found)
    figures = (latency_against_memory(found),) if found else ()
    empty = "There is nothing to compare: no measurement was recorded."
    matrices = (matrix,) if matrix else ()
    return Section(
        "answers", "Which setting", answers=answers_of(found), matrices=matrices, figures=figures, empty=empty
    )


def _results(found: Sequence[Measurement]) -> Section:
    empty = (
        "No measurement was recorded. `suite run --resume` continues this run; `suite devices check` reports whether "
        "the devices are ready."
    )
    return Section("results", "Results", (results(found, reference_setting(found)),) if found else (), empty=empty)


def _sentences(summary: Summary) -> Section:
    """States which setting is the best on each device, with ratio and interval."""
    facts = (Facts("Device by device", summary.findings),) if summary.findings else ()
    empty = "No device has two settings that can be compared."
    folded = f"The conclusions for {format_count(len(summary.findings), 'device')}" if facts else ""
    return Section("words", "In words", facts=facts, empty="" if facts else empty, folded=folded)


def _every_session(found: Sequence[Measurement], lines: Sequence[SessionLines]) -> Section:
    folded = "Latency of every step, memory, power and loss, for one device at a time"
    return Section("figures", "Figures", figures=all_figures(found, lines), folded=folded)


def _details(found: Sequence[Measurement]) -> Section:
    grids, folded = (details(found),), "Load, percentiles, losses, temperature, how energy was read"
    empty = "There is no measurement to give details of."
    return Section("details", "Details", grids if found else (), empty=empty, folded=folded)


def _launches(found: Sequence[Measurement]) -> Section:
    grid = _sessions(found)
    empty = "No session was started. `suite run --resume` continues this run."
    counts = Counter(session.status for item in found for session in item.sessions)
    words = ", ".join(f"{count:,} {word}" for word, count in counts.most_common())
    return Section("sessions", "Sessions", (grid,) if grid.rows else (), empty=empty, folded=words)


def _devices(described: Mapping[str, RunDevice], found: Sequence[Measurement]) -> Section:
    empty = "No device was recorded. `suite devices list` shows those of the inventory."
    return Section("devices", "Devices", folds=device_folds(described, found), empty=empty)


def _method(contents: RunContents) -> Section:
    environment = [(key, str(entry)) for key, entry in contents.environment.items()]
    facts = (Facts("Environment of the host", environment),) if environment else ()
    prose = (f"Command: `{contents.command}`",) if contents.command else ()
    folded = "How each number was obtained, and on what host"
    return Section("method", "Method", prose=prose, facts=facts, terms=_METHOD, folded=folded)


def _with_load(item: Measurement, device: RunDevice | None) -> Measurement:
    """Adds the warning about the device's load from the run's checks to an old measurement without such a field."""
    warned = () if device is None or item.busy else device.preflight
    load = next((check.detail for check in warned if check.name == "load" and check.status == "warning"), item.busy)
    return replace(item, busy=load)


def device_folds(described: Mapping[str, RunDevice], found: Sequence[Measurement]) -> list[Fold]:
    """Returns facts, checks before the run and sensors of every device that the run recorded or measured."""
    names = dict.fromkeys([*(item.device for item in found), *described])
    nothing = RunDevice.from_document(None)
    return [
        _fold(name, described.get(name, nothing), [item for item in found if item.device == name]) for name in names
    ]


def _fold(name: str, device: RunDevice, found: Sequence[Measurement]) -> Fold:
    checks = [(check.name, _check_words(check)) for check in device.preflight]
    tables = (
        Facts("Facts", [(_fact_name(key), _fact(key, device.facts)) for key in device.facts if key != _KERNELS]),
        Facts("Checks before the run", checks),
        Facts("Kernels of the runner", _kernels(device.facts)),
        Facts("Sensors", [(name, f"{quantity_name}: {how}") for name, quantity_name, how in _sensors(found)]),
    )
    return Fold(
        title=name,
        quiet=device.kind or next((item.kind for item in found), ""),
        facts=[table for table in tables if table.pairs],
        badges=badges(
            device.emulated or any(item.emulated for item in found),
            device.origin or next((item.origin for item in found), ""),
        ),
        empty="Nothing was recorded about it. `suite devices check` reads its facts.",
    )


def _kernels(facts: Mapping[str, Json]) -> list[tuple[str, str]]:
    """Returns for each setting which kernels are used, and how much longer a product takes in the others."""
    found: list[tuple[str, str]] = []
    for quant in mapping(facts, _KERNELS):
        factors = mapping(facts, _KERNELS, quant)
        known = {name: one for name in factors if not isinstance(one := number(factors, name), Unavailable)}
        used, *others = known or [""]
        beside = format_list([f"{name} {plain(known[name], 2)}" for name in others])
        found.append((quant, f"{used}; a product takes {beside} times as long" if beside else used))
    return found


def _check_words(check: PreflightCheck) -> str:
    outcome = status(check.status)
    words = [f"{outcome.glyph} {outcome.word}", *filter(None, (check.detail,))]
    return ": ".join(words) + (f". {check.remedy}" if check.remedy else "")


def _fact_name(key: str) -> str:
    return key.removesuffix("_kib").replace("_", " ")


def _fact(key: str, facts: Mapping[str, Json]) -> str:
    if facts[key] in (None, [], {}):
        return "not reported by the device"
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
    """Returns each sensor of the device's measurements once: name, quantity, and how it was read or why not."""
    rows = dict.fromkeys(
        (one.name, one.quantity, one.method, one.unavailable) for item in found for one in item.sensors
    )
    return [
        (
            name,
            sensor_quantity(quantity_name).label,
            f"{_readings(name, quantity_name, found)}{method}" if why is None else f"unavailable: {why}",
        )
        for name, quantity_name, method, why in rows
    ]


def _readings(name: str, quantity_name: str, found: Sequence[Measurement]) -> str:
    """Formats the readings of a user-defined sensor over all measurements, to precede its method; empty for others."""
    every = [one.readings for item in found for one in item.sensors if one.name == name and one.readings is not None]
    if not every:
        return ""
    unit = sensor_quantity(quantity_name).unit
    mean = sum(one.mean for one in every) / len(every)
    low, high = min(one.low for one in every), max(one.high for one in every)
    return f"{quantity(mean, unit)} on average, {span(low, high, unit, like=mean)}; "


def _sessions(found: Sequence[Measurement]) -> Grid:
    """Lists every launch of a program with its outcome."""
    heads = (
        *(Head("Device", choices=True), Head("Setting", choices=True)),
        *(Head("Session", kind="number"), Head("Attempt", kind="number")),
        *(Head("Status", kind="status", choices=True), Head("Reason", wide=True)),
        *(Head("Latency of a step", "median", "number"), Head("Load", kind="number")),
        Head("Peak memory", kind="number"),
    )
    every = [(item, session) for item in found for session in item.sessions]
    rows = [GridRow(f"s-{number}", _session_cells(*one)) for number, one in enumerate(every, 1)]
    return Grid("sessions", "Every launch of a program, with its outcome", heads, rows)


def _session_cells(item: Measurement, session: Session) -> tuple[GridCell, ...]:
    return (
        GridCell(item.device, badges=badges(item.emulated, item.origin)),
        GridCell(item.setting, slot=slot(item.setting)),
        *(GridCell(ordinal_text(count)) for count in (session.ordinal, session.attempt)),
        outcome_cell(session.status, ""),
        GridCell(shorten(session.reason, LONGEST_REASON)),
        *(_value(session.median_ms, "ms"), _value(session.load_ms, "ms"), _value(session.hwm_kib, "KiB")),
    )


def _value(found: Number, unit: str) -> GridCell:
    """Returns a cell with a value in a fitting unit, or a dash for none."""
    return (
        GridCell("\u2013") if isinstance(found, Unavailable) else GridCell(quantity(found, unit), (), sortable(found))
    )
