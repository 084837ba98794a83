"""The overview: what needs attention, nights, devices, workloads, and all runs, the newest first, in light pages."""

from collections.abc import Callable, Sequence

from reports.attention import attention
from reports.badges import badges
from reports.device_page import device_status, outcome_words
from reports.escaping import file_name
from reports.histories import DeviceSummary, WorkloadSummary
from reports.measured import workload_words
from reports.moments import duration, shown, sort_key
from reports.night_verdicts import WORDS, night_status, verdict_counts
from reports.numbers import counted
from reports.pages import GridCell, GridRow, Head, Page, Section, table
from reports.palette import setting_order
from reports.places import device_place, night_place, run_place, workload_place
from reports.source import RunSummary
from reports.status import glossary, status

RUNS_ON_A_PAGE = 200
_NIGHTS, _MOST_DEVICES, _MOST_WORKLOADS, _MOST_NAMES = 14, 100, 60, 6

LinkOf = Callable[[str], str]


def index_file(number: int) -> str:
    """The file of the page ``number``, counted from 1."""
    return "index.html" if number == 1 else f"index-{number}.html"


def newest_first(runs: Sequence[RunSummary]) -> list[RunSummary]:
    """By their beginning, ties by name."""
    return sorted(runs, key=lambda run: (sort_key(run.started_at), run.run_id), reverse=True)


def index_pages(
    runs: Sequence[RunSummary],
    devices: Sequence[DeviceSummary],
    workloads: Sequence[WorkloadSummary],
    built: LinkOf,
) -> list[Page]:
    """At least one page, also when there is no run; ``built`` gives the link of a page that is there, or nothing.

    Nights, devices and workloads are on the first page only.
    """
    ordered = newest_first(runs)
    count = max(1, -(-len(ordered) // RUNS_ON_A_PAGE))
    pages = []
    for number in range(1, count + 1):
        part = ordered[(number - 1) * RUNS_ON_A_PAGE : number * RUNS_ON_A_PAGE]
        sections: tuple[Section, ...] = (_runs_section(part, built),)
        if number == 1 and ordered:
            sections = (
                attention(ordered, devices),
                _nights_section(ordered, built),
                _devices_section(devices, ordered, built),
                _workloads_section(workloads, built),
                *sections,
            )
        pages.append(_page(sections, part, number, count, len(ordered)))
    return pages


def _page(sections: Sequence[Section], part: Sequence[RunSummary], number: int, count: int, total: int) -> Page:
    where = f"; page {number} of {count}" if count > 1 else ""
    words = {run.status for run in part} | {word for run in part[:_NIGHTS] for word in run.verdicts}
    return Page(
        title="Overview" if number == 1 else f"Runs, page {number}",
        heading="Overview" if number == 1 else "Runs",
        lead=f"{counted(total, 'run')}, newest first{where}." if total else "",
        sections=sections,
        meanings=glossary(words),
        newer=index_file(number - 1) if number > 1 else "",
        older=index_file(number + 1) if number < count else "",
    )


def _runs_section(part: Sequence[RunSummary], built: LinkOf) -> Section:
    empty = (
        "There is no run yet. Measure this machine with `suite run --device local`, or see what a run would do "
        "with `suite run --device local --dry-run`."
    )
    heads = (
        *(
            Head("Run", kind="run"),
            Head("Started", "and how long it took", "moment"),
            Head("Status", kind="status", choices=True),
        ),
        *(
            Head("Devices", wide=True),
            Head("Settings"),
            Head("Measurements", kind="number"),
            Head("Command", wide=True),
        ),
    )
    rows = [_run_row(run, built) for run in part]
    return table("runs", "Runs", "Every run, with its devices and settings", heads, rows, empty=empty)


def _run_row(run: RunSummary, built: LinkOf) -> GridRow:
    href, judged = built(run_place(run.run_id)), status(run.status)
    small = () if href else ("no page yet: `suite report` builds it",)
    command = run.command if len(run.command) <= 160 else run.command[:159] + "…"
    cells = (
        GridCell(run.run_id, small, href=href, badges=badges(False, run.origin), tags=run.tags),
        GridCell(shown(run.started_at), (_took(run),), sort_key(run.started_at)),
        GridCell(judged.word, (run.purpose,) if run.purpose == "nightly" else (), str(judged.order), status=judged),
        GridCell(_names(run.devices)),
        GridCell(", ".join(sorted(run.settings, key=setting_order))),
        GridCell(f"{run.measurements:,}", sort=str(run.measurements)),
        GridCell(f"`{command}`" if command else ""),
    )
    return GridRow(f"run-{file_name(run.run_id)}", cells)


def _took(run: RunSummary) -> str:
    return duration(run.started_at, run.finished_at) or "not finished"


def _names(names: Sequence[str]) -> str:
    more = len(names) - _MOST_NAMES
    return ", ".join(names[:_MOST_NAMES]) + (f" and {more} more" if more > 0 else "")


def _nights_section(ordered: Sequence[RunSummary], built: LinkOf) -> Section:
    nights = [run for run in ordered if run.purpose == "nightly"]
    empty = (
        "No night was run yet. `suite nightly` measures a plan, compares it with the history and says what got worse; "
        "`suite schedule install` has it done every night."
    )
    heads = (
        *(Head("Night", kind="moment"), Head("Verdict", kind="status", choices=True)),
        *(Head(word.capitalize(), kind="number") for word in WORDS),
        *(Head("Status", "and how long it took", "status"), Head("Devices", wide=True)),
    )
    rows = [_night_row(run, built) for run in nights[:_NIGHTS]]
    left_out = (len(nights) - len(rows), "earlier night", "the table of runs leads to all")
    caption = "The verdicts of each night, newest first"
    return table("nights", "Nights", caption, heads, rows, empty=empty, left_out=left_out)


def _night_row(run: RunSummary, built: LinkOf) -> GridRow:
    judged, ended = night_status(run.verdicts), status(run.status)
    cells = (
        GridCell(shown(run.started_at), href=built(night_place(run.run_id)), sort=sort_key(run.started_at)),
        GridCell(judged.word, sort=str(judged.order), status=judged),
        *(GridCell(f"{run.verdicts.get(word, 0):,}", sort=str(run.verdicts.get(word, 0))) for word in WORDS),
        GridCell(ended.word, (_took(run),), str(ended.order), status=ended),
        GridCell(_names(run.devices)),
    )
    return GridRow(f"night-{file_name(run.run_id)}", cells)


def _devices_section(devices: Sequence[DeviceSummary], ordered: Sequence[RunSummary], built: LinkOf) -> Section:
    empty = (
        "No device was reached yet. `suite devices list` shows those of the inventory, `suite devices check` what they "
        "lack."
    )
    nights = {run.run_id: run.verdicts for run in ordered}
    rows = []
    for one in devices[:_MOST_DEVICES]:
        worst = device_status(one.outcomes, one.warnings)
        night = verdict_counts(nights.get(one.last_run, {}))
        cells = (
            GridCell(one.name, href=built(device_place(one.name)), badges=badges(one.emulated, one.origin)),
            GridCell(one.kind),
            GridCell(worst.word, (outcome_words(one.outcomes),), str(worst.order), status=worst),
            GridCell(one.warnings[0] if one.warnings else "none", one.warnings[1:4]),
            GridCell(
                shown(one.last_at), (night,) if night else (), sort_key(one.last_at), built(run_place(one.last_run))
            ),
        )
        rows.append(GridRow(f"device-{file_name(one.name)}", cells))
    heads = (
        *(Head("Device"), Head("Kind", choices=True), Head("Last outcome", kind="status", choices=True)),
        *(Head("Warnings", wide=True), Head("Last run", "with the night's verdicts over all devices")),
    )
    left_out = (len(devices) - len(rows), "further device", "`suite devices list` lists all")
    caption = "The health of each device at its last run"
    return table("devices", "Devices", caption, heads, rows, empty=empty, left_out=left_out)


def _workloads_section(workloads: Sequence[WorkloadSummary], built: LinkOf) -> Section:
    rows = [
        GridRow(
            f"workload-{file_name(one.key)}",
            (
                GridCell(workload_words(one.workload), href=built(workload_place(one.key))),
                GridCell(", ".join(sorted(one.settings, key=setting_order))),
                GridCell(_names(one.devices)),
            ),
        )
        for one in workloads[:_MOST_WORKLOADS]
    ]
    left_out = (len(workloads) - len(rows), "further workload", "`suite history` lists all")
    heads = (Head("Workload"), Head("Settings"), Head("Devices", wide=True))
    caption = "What is measured, with its settings side by side over devices"
    empty = "No workload was measured yet: `suite run --device local` measures one."
    return table("workloads", "Workloads", caption, heads, rows, empty=empty, left_out=left_out)
