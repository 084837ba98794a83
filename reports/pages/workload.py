"""A workload with its settings side by side on all devices: latency, memory and energy."""

from collections.abc import Sequence

from foundation.unavailable import Unavailable
from reports.figures.trade_offs import latency_against_energy, latency_against_memory, step_energy
from reports.files import device_place, run_place, series_place
from reports.model.histories import WorkloadSummary
from reports.model.measurement import Measurement, devices_of, settings_of, workload_words
from reports.model.reading import Number
from reports.tables.answers import busy_sentences, device_sentence
from reports.tables.results import latency_spread, session_count
from reports.tables.sections import Banner, GridCell, GridRow, Head, Link, Page, Section, table
from reports.text.appearance import badges, glossary, slot, status
from reports.text.escaping import file_name, shorten
from reports.text.numbers import format_count, format_list, quantity
from reports.text.numbers import moment_text as moment


def workload_page(summary: WorkloadSummary, found: Sequence[Measurement]) -> Page:
    """Builds the page from the newest measurement of each setting on each device."""
    words = workload_words(summary.workload)
    devices, settings = devices_of(found), settings_of(found)
    counts = f"{format_count(len(devices), 'device')}, {format_list(settings) or 'no setting'}"
    figures = [] if not found else [latency_against_memory(found), latency_against_energy(found)]
    return Page(
        title=f"Workload {words}",
        heading=words,
        lead=f"{counts}; the newest measurement of each.",
        banner=_banner(found),
        sections=(
            _table(found),
            Section("figures", "Figures", figures=figures, empty="" if figures else "There is nothing to draw yet."),
        ),
        trail=(Link("All workloads", "index.html#workloads"),),
        meanings=glossary({item.status for item in found}),
    )


def _banner(found: Sequence[Measurement]) -> Banner:
    items = []
    for device in devices_of(found):
        sentence = device_sentence(found, device)
        if sentence:
            items.append((Link(device, device_place(device)), sentence))
    outcome = min(
        (status(item.status) for item in found),
        key=lambda one: (one.tone == "quiet", one.order),
        default=status("not measured"),
    )
    headline = "Nothing has been measured yet."
    if found:
        devices = format_count(len(devices_of(found)), "device")
        headline = f"{format_count(len(found), 'measurement')} on {devices}, the newest of each setting."
    emulated = [item.device for item in found if item.emulated]
    caution = (
        f"{format_list(sorted(set(emulated)))}: emulated, so its numbers don't represent a real device."
        if emulated
        else ""
    )
    cautions = [
        caution,
        *(f"{shorten(sentence, 300)}. Its numbers are a first look." for sentence in busy_sentences(found)),
    ]
    return Banner(outcome, headline, tuple(items[:8]), " ".join(filter(None, cautions)))


def _table(found: Sequence[Measurement]) -> Section:
    heads = (
        *(Head("Device", choices=True), Head("Setting", choices=True), Head("Status", kind="status", choices=True)),
        *(Head("Latency of a step", "median", "number"), Head("Ratio to reference", kind="number")),
        *(Head("Peak memory", kind="number"), Head("Energy per step", "net, or gross where idle is unknown", "number")),
        *(Head("Program size", kind="number"), Head("Measured in", kind="moment")),
    )
    title, caption = "Settings side by side", "The newest measurement of each setting on each device"
    empty = "No setting has a measurement yet: `suite run` measures."
    return table("settings", title, caption, heads, [_row(item) for item in found], empty=empty)


def _row(item: Measurement) -> GridRow:
    outcome, key = status(item.status), item.workload_key
    ratio, size = item.ratio.latency, item.program_bytes
    reference = "" if isinstance(item.ratio.setting, Unavailable) else item.ratio.setting
    reason = (shorten(item.reason, 200),) if item.reason else ()
    cells = (
        GridCell(item.device, href=device_place(item.device), badges=badges(item.emulated, item.origin)),
        GridCell(item.setting, slot=slot(item.setting), href=series_place(item.device, key) if key else ""),
        GridCell(item.status, reason, str(outcome.order), status=outcome),
        _latency(item),
        _missing(item, ratio)
        if isinstance(ratio, Unavailable)
        else GridCell(f"{ratio:.2f}\u00d7", (f"of {reference}",), f"{ratio:.7g}"),
        _quantity(item, item.peak_memory_kib, "KiB"),
        _energy(item),
        _quantity(item, size if isinstance(size, Unavailable) else size / 1024, "KiB"),
        GridCell(moment(item.started_at) or item.run_id, href=run_place(item.run_id)),
    )
    return GridRow(f"m-{file_name(item.measurement_id)}", cells)


def _latency(item: Measurement) -> GridCell:
    median = item.latency.median_ms
    if isinstance(median, Unavailable):
        return _missing(item, median)
    small = [line for line in (latency_spread(item), session_count(item)) if line]
    return GridCell(quantity(median, "ms"), small, f"{median:.7g}")


def _energy(item: Measurement) -> GridCell:
    found, kind = step_energy(item)
    return _quantity(item, found, "mJ", kind)


def _quantity(item: Measurement, found: Number, unit: str, *small: str) -> GridCell:
    if isinstance(found, Unavailable):
        return _missing(item, found)
    return GridCell(quantity(found, unit), small, sort=f"{found:.7g}")


def _missing(item: Measurement, why: Unavailable) -> GridCell:
    """Returns a cell with the reason, unless the status already gives it because the whole measurement failed."""
    reason = why.reason
    return GridCell("unavailable", () if not reason or reason == item.reason else (shorten(reason, 90),))
