"""The overview: findings of the last night, boards by nights, kinds by settings, and whether to trust the numbers.

Folded below are what else needs attention, nights, devices, workloads, and all runs, newest first, over several pages.

Even without findings, regressions of recent nights, devices in trouble and interrupted runs need attention.
"""

from collections.abc import Sequence
from dataclasses import replace

from reports.files import device_place, night_place, run_place, workload_place
from reports.model.findings import Finding
from reports.model.histories import NIGHTS, DeviceSummary, Recent, WorkloadSummary
from reports.model.measurement import workload_words
from reports.model.source import RunSummary
from reports.model.training import TrainingGroupSummary
from reports.pages.device import device_status, outcome_words, unreached_words
from reports.pages.training import trainings_section
from reports.tables.findings import category_status, finding_cards
from reports.tables.first_screen import heat_section, kinds_sections, trust_section
from reports.tables.sections import Banner, Grid, GridCell, GridRow, Head, Link, LinkOf, Page, Section, table
from reports.tables.verdicts import WORDS, night_status, verdict_counts
from reports.text.appearance import Status, badges, glossary, setting_order, status
from reports.text.escaping import file_name
from reports.text.numbers import duration, format_count, moment_text, sort_key

_RECENT_NIGHTS, _RECENT_RUNS = 7, 10


def attention(newest: Sequence[RunSummary], devices: Sequence[DeviceSummary]) -> Section:
    """Builds the section on what needs attention; ``newest`` has the runs, newest first."""
    rows = [*_nights(newest), *_devices(newest, devices), *_runs(newest)]
    if not rows:
        empty = "Nothing needs attention: no regression in the last nights, and the last run of every device went well."
        return Section("attention", "Needs attention", empty=empty)
    heads = (
        Head("What"),
        Head("State", kind="status", choices=True),
        Head("Finding", wide=True),
        Head("Next", wide=True),
    )
    grid = Grid("attention", "The worst first", heads, sorted(rows, key=_order))
    return Section("attention", "Needs attention", (grid,))


def _order(row: GridRow) -> int:
    return int(row.cells[1].sort or 0)


def _row(anchor: str, what: GridCell, outcome: Status, finding: str, then: str) -> GridRow:
    state = GridCell(outcome.word, sort=str(outcome.order), status=outcome)
    return GridRow(f"a-{file_name(anchor)}", (what, state, GridCell(finding), GridCell(then)))


def _nights(newest: Sequence[RunSummary]) -> list[GridRow]:
    """Lists recent nights with a regression, and the newest one if it was inconclusive."""
    rows = []
    nights = [run for run in newest if run.purpose == "nightly"][:_RECENT_NIGHTS]
    for place, run in enumerate(nights):
        word = next((word for word in ("regressed", "inconclusive") if run.verdicts.get(word)), "")
        if word == "regressed" or (word and place == 0):
            what = GridCell(f"Night of {moment_text(run.started_at)}", href=night_place(run.run_id))
            accept = f"`suite accept {_plain(run.run_id, 'RUN')} --why REASON`"
            then = f"{accept} takes the new level as the baseline, if it is meant"
            then = then if word == "regressed" else "its page says why"
            rows.append(_row(f"night-{run.run_id}", what, status(word), f"{verdict_counts(run.verdicts)}", then))
    return rows


def _devices(newest: Sequence[RunSummary], devices: Sequence[DeviceSummary]) -> list[GridRow]:
    """Lists devices whose last run went badly, that warn, or that are missing from the newest night."""
    rows = []
    last_night = next((run for run in newest if run.purpose == "nightly"), None)
    for one in devices:
        if one.origin:  # another lab looks after it
            continue
        worst = device_status(one.outcomes, one.warnings)
        what = GridCell(one.name, href=device_place(one.name), badges=badges(one.emulated))
        finding = "; ".join([outcome_words(one.outcomes), *one.warnings[:2]])
        finding = unreached_words(one) if one.unreached else finding
        if worst.tone in ("bad", "warn"):
            rows.append(_row(f"device-{one.name}", what, worst, finding, f"`suite devices check {_plain(one.name)}`"))
        elif last_night is not None and sort_key(one.last_at) < sort_key(last_night.started_at):
            finding = f"not in the night of {moment_text(last_night.started_at)}; last seen {moment_text(one.last_at)}"
            rows.append(
                _row(
                    f"device-{one.name}", what, status("missing"), finding, f"`suite devices check {_plain(one.name)}`"
                )
            )
    return rows


def _plain(name: str, instead: str = "NAME") -> str:
    """Returns a device's or run's name if it can be typed in a command unquoted, else a placeholder."""
    return name if name.replace("-", "").replace("_", "").replace(".", "").isalnum() else instead


def _runs(newest: Sequence[RunSummary]) -> list[GridRow]:
    """Lists recent runs that did not complete."""
    rows = []
    for run in [run for run in newest if not run.origin][:_RECENT_RUNS]:
        outcome = status(run.status)
        if run.status in ("interrupted", "partial", "failed"):
            then = (
                "`suite run --resume` continues the newest interrupted one"
                if run.status == "interrupted"
                else "its page gives the reasons"
            )
            what = GridCell(f"Run {run.run_id}", href=run_place(run.run_id))
            rows.append(
                _row(
                    f"run-{run.run_id}",
                    what,
                    outcome,
                    f"started {moment_text(run.started_at)}, ended {run.status}",
                    then,
                )
            )
    return rows


RUNS_ON_A_PAGE = 200
NOTHING_RECENT = Recent()
_MOST_NAMES = 6


def index_file(number: int) -> str:
    """Returns the file name of page ``number``, counted from 1."""
    return "index.html" if number == 1 else f"index-{number}.html"


def newest_first(runs: Sequence[RunSummary]) -> list[RunSummary]:
    """Sorts runs by start, newest first, ties by name."""
    return sorted(runs, key=lambda run: (sort_key(run.started_at), run.run_id), reverse=True)


def index_pages(
    runs: Sequence[RunSummary],
    devices: Sequence[DeviceSummary],
    workloads: Sequence[WorkloadSummary],
    built: LinkOf,
    trainings: Sequence[TrainingGroupSummary] = (),
    findings: Sequence[Finding] = (),
    recent: Recent = NOTHING_RECENT,
) -> list[Page]:
    """Builds one or more pages, even without runs; ``built`` returns the link of an existing page, or nothing.

    ``findings`` are those of the newest night. Everything except the runs is on the first page only.
    """
    ordered = newest_first(runs)
    count = max(1, -(-len(ordered) // RUNS_ON_A_PAGE))
    pages = []
    for number in range(1, count + 1):
        part = ordered[(number - 1) * RUNS_ON_A_PAGE : number * RUNS_ON_A_PAGE]
        sections: tuple[Section, ...] = (_runs_section(part, built),)
        if number == 1 and ordered:
            sections = (
                *_first_screen(ordered, devices, recent),
                *_attention(ordered, devices, findings),
                *_folded(
                    _nights_section(ordered, built),
                    trainings_section(trainings, built),
                    _devices_section(devices, ordered, built),
                    _workloads_section(workloads, built),
                    *sections,
                ),
            )
        elif number == 1 and trainings:
            sections = (trainings_section(trainings, built), _devices_section(devices, ordered, built), *sections)
        page = _page(sections, part, number, count, len(ordered))
        night = _newest_night(ordered)
        pages.append(_with_night(page, night, findings) if number == 1 and night else page)
    return pages


def _newest_night(ordered: Sequence[RunSummary]) -> RunSummary | None:
    return next((run for run in ordered if run.purpose == "nightly"), None)


def _first_screen(ordered: Sequence[RunSummary], devices: Sequence[DeviceSummary], recent: Recent) -> Sequence[Section]:
    night = _newest_night(ordered)
    trust = trust_section(recent, night.verdicts if night else {})
    return (*((heat_section(recent.nights, devices),) if recent.nights else ()), *kinds_sections(recent), trust)


def _folded(*sections: Section) -> list[Section]:
    """Folds tables that have rows, with their number as summary; empty tables stay the one line that says so."""
    return [replace(one, folded=_rows_of(one)) if one.grids else one for one in sections]


def _rows_of(section: Section) -> str:
    count = sum(len(grid.rows) for grid in section.grids)
    return format_count(count, section.name.removesuffix("s") if section.name.endswith("s") else "thing")


def _with_night(page: Page, night: RunSummary, findings: Sequence[Finding]) -> Page:
    """Returns the page with the newest night's banner and findings as cards; the night's own page has the details."""
    place, when = night_place(night.run_id), moment_text(night.started_at)
    link = (Link(f"Night of {when}", place), f"{_took(night)}; {night.status}.")
    if not findings:
        counts = verdict_counts(night.verdicts) or "nothing has been judged"
        return replace(page, banner=Banner(night_status(night.verdicts), f"The last night: {counts}.", (link,)))
    worst = next((category_status(one) for one in findings if one.is_open), Status("calm", "✓", "good", 6))
    cards = finding_cards(findings, "Findings of the last night", page=place, empty="Nothing is open.")
    return replace(page, banner=Banner(worst, f"The last night: {_in_three(findings)}.", (link,)), findings=cards)


def _in_three(findings: Sequence[Finding]) -> str:
    """Counts the open, new and fixed findings: at most three numbers."""
    unsettled = [one for one in findings if one.is_open]
    new, fixed = (sum(one.state == word for one in found) for word, found in (("new", unsettled), ("fixed", findings)))
    parts = [format_count(len(unsettled), "open finding") if unsettled else "no open finding"]
    parts += [f"{new} of them new" if len(unsettled) > 1 else "and it is new"] if new else []
    return ", ".join(parts) + (f"; {fixed} fixed" if fixed else "")


def _attention(
    ordered: Sequence[RunSummary], devices: Sequence[DeviceSummary], findings: Sequence[Finding]
) -> list[Section]:
    """Returns what else needs attention, folded: findings last for several nights and already name their devices."""
    if not findings:
        return [attention(ordered, devices)]
    named = {board for one in findings if one.category in ("missing", "failed") for board in one.devices}
    rest = attention(
        [replace(run, verdicts={}) for run in ordered],
        [device for device in devices if device.name not in named],
    )
    return _folded(replace(rest, title="Also needs attention")) if rest.grids else []


def _page(sections: Sequence[Section], part: Sequence[RunSummary], number: int, count: int, total: int) -> Page:
    where = f"; page {number} of {count}" if count > 1 else ""
    words = {run.status for run in part} | {word for run in part[:NIGHTS] for word in run.verdicts}
    return Page(
        title="Overview" if number == 1 else f"Runs, page {number}",
        heading="Overview" if number == 1 else "Runs",
        lead=f"{format_count(total, 'run')}, newest first{where}." if total else "",
        sections=sections,
        meanings=glossary(words),
        newer=index_file(number - 1) if number > 1 else "",
        older=index_file(number + 1) if number < count else "",
    )


def _runs_section(part: Sequence[RunSummary], built: LinkOf) -> Section:
    empty = (
        "There are no runs yet. Measure this machine with `suite run --device local`, or see what a run would do with "
        "`suite run --device local --dry-run`."
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
    href, outcome = built(run_place(run.run_id)), status(run.status)
    small = () if href else ("no page yet: `suite report` builds it",)
    command = run.command if len(run.command) <= 160 else run.command[:159] + "…"
    cells = (
        GridCell(run.run_id, small, href=href, badges=badges(False, run.origin), tags=run.tags),
        GridCell(moment_text(run.started_at), (_took(run),), sort_key(run.started_at)),
        GridCell(outcome.word, (run.purpose,) if run.purpose == "nightly" else (), str(outcome.order), status=outcome),
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
        "There are no nights yet. `suite nightly` measures a plan, compares it with the history and reports what got "
        "worse; `suite schedule install` runs it every night."
    )
    heads = (
        *(Head("Night", kind="moment"), Head("Verdict", kind="status", choices=True)),
        *(Head(word.capitalize(), kind="number") for word in WORDS),
        *(Head("Status", "and how long it took", "status"), Head("Devices", wide=True)),
    )
    rows = [_night_row(run, built, place < NIGHTS) for place, run in enumerate(nights)]
    caption = "The verdicts of each night, newest first"
    caption += f"; those of nights before the last {NIGHTS} are only on their own pages" if len(nights) > NIGHTS else ""
    return table("nights", "Nights", caption, heads, rows, empty=empty)


def _night_row(run: RunSummary, built: LinkOf, counted: bool) -> GridRow:
    """Returns the row of a night; verdicts of a night that is not ``counted`` are only on its own page."""
    outcome, ended = night_status(run.verdicts), status(run.status)
    if not counted and not run.verdicts:
        outcome, numbers = status("earlier"), [GridCell("\u2013") for _ in WORDS]
    else:
        counts = [run.verdicts.get(word, 0) for word in WORDS]
        numbers = [GridCell(f"{count:,}", sort=str(count)) for count in counts]
    cells = (
        GridCell(moment_text(run.started_at), href=built(night_place(run.run_id)), sort=sort_key(run.started_at)),
        GridCell(outcome.word, sort=str(outcome.order), status=outcome),
        *numbers,
        GridCell(ended.word, (_took(run),), str(ended.order), status=ended),
        GridCell(_names(run.devices)),
    )
    return GridRow(f"night-{file_name(run.run_id)}", cells)


def _warning(one: DeviceSummary) -> str:
    return unreached_words(one) if one.unreached else one.warnings[0] if one.warnings else "none"


def _devices_section(devices: Sequence[DeviceSummary], ordered: Sequence[RunSummary], built: LinkOf) -> Section:
    empty = (
        "No device has been reached yet. `suite devices list` shows those of the inventory, `suite devices check` "
        "what they lack."
    )
    nights = {run.run_id: run.verdicts for run in ordered}
    rows = []
    for one in devices:
        worst = device_status(one.outcomes, one.warnings)
        night = verdict_counts(nights.get(one.last_run, {}))
        cells = (
            GridCell(one.name, href=built(device_place(one.name)), badges=badges(one.emulated, one.origin)),
            GridCell(one.kind),
            GridCell(worst.word, (outcome_words(one.outcomes),), str(worst.order), status=worst),
            GridCell(_warning(one), one.warnings[1:4]),
            GridCell(
                moment_text(one.last_at),
                (night,) if night else (),
                sort_key(one.last_at),
                built(run_place(one.last_run)),
            ),
        )
        rows.append(GridRow(f"device-{file_name(one.name)}", cells))
    heads = (
        *(Head("Device"), Head("Kind", choices=True), Head("Last outcome", kind="status", choices=True)),
        *(Head("Warnings", wide=True), Head("Last run", "with the night's verdicts over all devices")),
    )
    caption = "The health of each device at its last run"
    return table("devices", "Devices", caption, heads, rows, empty=empty)


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
        for one in workloads
    ]
    heads = (Head("Workload"), Head("Settings"), Head("Devices", wide=True))
    caption = "What is measured, with its settings side by side over devices"
    empty = "No workload has been measured yet: `suite run --device local` measures one."
    return table("workloads", "Workloads", caption, heads, rows, empty=empty)
