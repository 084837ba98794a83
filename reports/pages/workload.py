"""A workload with its settings side by side over devices: latency against memory against energy."""

from collections.abc import Mapping, Sequence

from reports.figures.trade_offs import latency_against_energy, latency_against_memory, step_energy
from reports.model.histories import WorkloadSummary
from reports.model.measurements import (
    Measurement,
    Number,
    devices_of,
    interval,
    number,
    settings_of,
    text,
    value,
    workload_words,
)
from reports.tables.sections import Banner, GridCell, GridRow, Head, Link, Page, Section, table
from reports.text.appearance import badges, glossary, slot, status, worst_kept
from reports.text.escaping import file_name, shortened
from reports.text.numbers import counted, listed, quantity, span
from reports.text.numbers import moment_text as moment
from reports.text.page_paths import device_place, run_place, series_place

_MOST_ROWS = 150


def workload_page(summary: WorkloadSummary, found: Sequence[Measurement], keys: Mapping[str, str]) -> Page:
    """The page from the newest measurement of each setting on each device; ``keys`` gives the workload key of each
    measurement by its id, for the way to its series."""
    words = workload_words(summary.workload)
    devices, settings = devices_of(list(found)), settings_of(list(found))
    lead = f"{counted(len(devices), 'device')}, {listed(settings) or 'no setting'}; the newest measurement of each."
    figures = [] if not found else [latency_against_memory(found), latency_against_energy(found)]
    return Page(
        title=f"Workload {words}",
        heading=words,
        lead=lead,
        banner=_banner(found),
        sections=(
            _table(found, keys),
            Section("figures", "Figures", figures=figures, empty="" if figures else "There is nothing to draw yet."),
        ),
        trail=(Link("All workloads", "index.html#workloads"),),
        meanings=glossary({item.status for item in found}),
    )


def _banner(found: Sequence[Measurement]) -> Banner:
    items = []
    for device in devices_of(list(found)):
        usable = [item for item in found if item.device == device and item.comparable]
        told = [
            _least(usable, "lowest latency", ("latency_ms", "median"), "ms"),
            _least(usable, "least memory", ("peak_memory_kib",), "KiB"),
            _least(usable, "least energy", ("energy_mj_per_step", "net"), "mJ"),
        ]
        sentence = "; ".join(part for part in told if part)
        if sentence:
            items.append((Link(device, device_place(device)), f"{sentence}."))
    outcome = min(
        (status(item.status) for item in found),
        key=lambda one: (one.tone == "quiet", one.order),
        default=status("not measured"),
    )
    headline = "Nothing was measured yet."
    if found:
        devices = counted(len(devices_of(list(found))), "device")
        headline = f"{counted(len(found), 'measurement')} on {devices}, the newest of each setting."
    emulated = [item.device for item in found if item.emulated]
    caution = (
        f"{listed(sorted(set(emulated)))}: emulated, so its numbers are no measure of a device." if emulated else ""
    )
    return Banner(outcome, headline, tuple(items[:8]), caution)


def _least(usable: Sequence[Measurement], what: str, path: tuple[str, ...], unit: str) -> str:
    known = [(found, item.setting) for item in usable if isinstance(found := number(item.record, *path), float)]
    if len(known) < 2:
        return ""
    least, setting = min(known)
    return f"{what} {setting}, {quantity(least, unit)}"


def _table(found: Sequence[Measurement], keys: Mapping[str, str]) -> Section:
    shown = worst_kept(found, [item.status for item in found], _MOST_ROWS)
    heads = (
        *(Head("Device", choices=True), Head("Setting", choices=True), Head("Status", kind="status", choices=True)),
        *(Head("Latency of a step", "median", "number"), Head("Ratio to reference", kind="number")),
        *(Head("Peak memory", kind="number"), Head("Energy per step", "net, or gross where idle is unknown", "number")),
        *(Head("Program size", kind="number"), Head("Measured in", kind="moment")),
    )
    title, caption = "Settings side by side", "The newest measurement of each setting on each device"
    left_out = (len(found) - len(shown), "further measurement", "")
    empty = "No setting has a measurement yet: `suite run` measures."
    return table(
        "settings", title, caption, heads, [_row(item, keys) for item in shown], empty=empty, left_out=left_out
    )


def _row(item: Measurement, keys: Mapping[str, str]) -> GridRow:
    judged = status(item.status)
    run_id = text(item.record, "run_id")
    ratio = number(item.record, "ratio_to_reference", "latency", "ratio")
    reference = text(item.record, "ratio_to_reference", "setting")
    key = keys.get(item.measurement_id, "")
    bytes_of = number(item.record, "program_bytes")
    cells = (
        GridCell(item.device, href=device_place(item.device), badges=badges(item.emulated, item.origin)),
        GridCell(item.setting, slot=slot(item.setting), href=series_place(item.device, key) if key else ""),
        GridCell(item.status, (shortened(item.reason, 200),) if item.reason else (), str(judged.order), status=judged),
        _latency(item),
        GridCell(f"{ratio:.2f}\u00d7", (f"of {reference}",), f"{ratio:.7g}")
        if isinstance(ratio, float)
        else _missing(item, ratio),
        _quantity(item, number(item.record, "peak_memory_kib"), "KiB"),
        _energy(item),
        _quantity(item, bytes_of / 1024 if isinstance(bytes_of, float) else bytes_of, "KiB"),
        GridCell(moment(text(item.record, "started_at")) or run_id, href=run_place(run_id)),
    )
    return GridRow(f"m-{file_name(item.measurement_id)}", cells)


def _latency(item: Measurement) -> GridCell:
    median = number(item.record, "latency_ms", "median")
    if not isinstance(median, float):
        return _missing(item, median)
    ends = interval(item.record, "latency_ms", "ci95")
    sessions = value(item.record, "latency_ms", "sessions")
    small = [f"95 %: {span(*ends, 'ms', like=median)}"] if ends else ["no interval"]
    small += [f"n = {counted(len(sessions), 'session')}"] if isinstance(sessions, list | tuple) else []
    return GridCell(quantity(median, "ms"), small, f"{median:.7g}")


def _energy(item: Measurement) -> GridCell:
    found, kind = step_energy(item)
    if isinstance(found, float):
        return GridCell(quantity(found, "mJ"), (kind,), f"{found:.7g}")
    return _missing(item, found)


def _quantity(item: Measurement, found: Number, unit: str) -> GridCell:
    if isinstance(found, float):
        return GridCell(quantity(found, unit), sort=f"{found:.7g}")
    return _missing(item, found)


def _missing(item: Measurement, found: Number) -> GridCell:
    """With its reason, unless that is why the whole measurement failed: its status says so already."""
    reason = getattr(found, "reason", "")
    return GridCell("unavailable", () if not reason or reason == item.reason else (shortened(reason, 90),))
