"""A night: its findings, then the verdicts behind them (by device and setting) and how they were reached."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from reports.files import device_place, run_place
from reports.model.findings import Finding
from reports.model.histories import HistoryPoint, SeriesVerdict
from reports.model.measurement import setting_of, workload_words
from reports.model.quantities import metric_title
from reports.model.reading import text
from reports.model.source import RunContents, RunSummary
from reports.tables.findings import FindingCards, category_status, finding_cards
from reports.tables.sections import Banner, Facts, GridCell, GridRow, Head, Link, Page, Section, table
from reports.tables.verdicts import (
    VERDICTS_CSV,
    changed_first,
    matrix_section,
    night_status,
    series_link,
    verdict_counts,
    verdict_section,
)
from reports.text.appearance import Status, badges, glossary, status
from reports.text.escaping import file_name, shorten
from reports.text.numbers import day_and_time, duration, format_count

VERDICTS_JSON = "verdicts.json"

_MOST_IN_BANNER = 6

_BUSY = ("load", "warning")

_FILES = (
    (VERDICTS_CSV, "CSV: every verdict of the night with its numbers"),
    (VERDICTS_JSON, "JSON: the same, with the inputs of each verdict"),
)
_METHOD = (
    (
        "Screen",
        "Compares each series' number of this night with the 30 points before it in the same segment (same device, "
        "firmware, OS and workload, since the last accepted level). At least 10 points are needed.",
    ),
    (
        "Confirmation",
        "A suspect is measured again in the same night, its baseline's program and its own in turn (A B B A), so that "
        "a change of the device affects both. For regressed and improved, p must be at most 0.005 over ten pairs, and "
        "the change above 2.5 %.",
    ),
    (
        "Many series",
        "q is the false discovery rate over all series measured again that night (Benjamini-Hochberg); it must be at "
        "most 0.05.",
    ),
    ("Ratio", "Candidate over baseline, with its exact 95 % interval over the pairs."),
)


def night_page(
    run: RunSummary,
    verdicts: Sequence[SeriesVerdict],
    surroundings: RunContents,
    findings: Sequence[Finding] = (),
    histories: Mapping[str, Sequence[HistoryPoint]] | None = None,
) -> Page:
    """Builds the page of a night from its verdicts, its run, and the run's environment, devices and remarks.

    ``histories`` has, by the id of each of its ``findings``, the points of the series that shows it best. If there are
    findings, the rows of all series are folded below them.
    """
    ordered = changed_first(verdicts)
    day = day_and_time(run.started_at) or run.run_id
    words = {one.verdict for one in ordered}
    return Page(
        title=f"Night {day}",
        heading=f"Night of {day}",
        lead=f"{_lasted(run)}; {run.status}; {_count_text(ordered)}.{_only(ordered)}",
        banner=_banner(run, ordered, surroundings, findings),
        trail=(Link("Nights", "index.html#nights"),),
        beside=(Link(f"Run {run.run_id}", run_place(run.run_id)),),
        sections=(
            _folded(verdict_section(ordered), len(ordered)) if findings else verdict_section(ordered),
            matrix_section(ordered),
            _device_section(surroundings),
            _method_section(run, surroundings),
        ),
        files=_FILES,
        tags=run.tags,
        remarks=surroundings.remarks,
        meanings=glossary(words),
        findings=_cards(findings, verdicts, histories),
    )


def _cards(
    findings: Sequence[Finding],
    verdicts: Sequence[SeriesVerdict],
    histories: Mapping[str, Sequence[HistoryPoint]] | None,
) -> FindingCards | None:
    if not findings:
        return None
    calm = "Nothing is open: every finding is fixed, accepted or muted."
    return finding_cards(findings, "Findings", verdicts=verdicts, histories=histories, empty=calm)


def _folded(section: Section, count: int) -> Section:
    summary = f"All {format_count(count, 'series', 'series')}, row by row"
    return replace(section, grids=[replace(grid, folded=summary) for grid in section.grids])


def findings_sentence(found: Sequence[Finding]) -> str:
    """Counts findings: ``3 open findings, 1 of them new; 1 fixed``."""
    unsettled = [one for one in found if one.is_open]
    new = sum(one.state == "new" for one in unsettled)
    fresh = "" if not new else f", {new} of them new" if len(unsettled) > 1 else ", and it is new"
    parts = [f"{format_count(len(unsettled), 'open finding')}{fresh}" if unsettled else "No open finding"]
    others = Counter("muted" if one.muted else one.state for one in found if not one.is_open)
    return "; ".join([*parts, *(f"{count} {word}" for word, count in others.items())])


def _count_text(ordered: Sequence[SeriesVerdict]) -> str:
    devices = len({one.device for one in ordered})
    return f"{format_count(len(ordered), 'series', 'series')} judged on {format_count(devices, 'device')}"


def _lasted(run: RunSummary) -> str:
    return duration(run.started_at, run.finished_at) or "not finished"


def _only(ordered: Sequence[SeriesVerdict]) -> str:
    """Names the workload if there is only one."""
    words = {workload_words(one.workload) for one in ordered}
    return f" {words.pop()}." if len(words) == 1 else ""


def _banner(
    run: RunSummary, ordered: Sequence[SeriesVerdict], surroundings: RunContents, findings: Sequence[Finding]
) -> Banner:
    counts = Counter(one.verdict for one in ordered)
    ended = "" if run.status in ("finished", "running") else f"The night was {run.status}: some series have no number."
    checks = [(name, check) for name, device in surroundings.devices.items() for check in device.preflight]
    busy = [f"{shorten(name)} was busy: {one.detail}." for name, one in checks if (one.name, one.status) == _BUSY]
    caution = " ".join(filter(None, (ended, *busy)))
    absent = tuple(
        (Link(shorten(name), device_place(name)), f"not reached: {one.detail}")
        for name, one in checks
        if one.name == "reached" and one.status == "failed"
    )
    if not ordered:
        headline = "Nothing has been judged yet. `suite nightly` judges once its measurements are done."
        return Banner(status("failed" if absent else "not judged"), headline, absent, caution)
    outcome = night_status(counts)
    outcome = status("failed") if absent and outcome.tone != "bad" else outcome
    if findings:
        worst = next((category_status(one) for one in findings if one.is_open), Status("calm", "✓", "good", 6))
        return Banner(worst, f"{findings_sentence(findings)}. {verdict_counts(counts)}.", (), caution)
    changed = [one for one in ordered if one.verdict in ("regressed", "improved", "inconclusive")]
    items = tuple((Link(_name(one), series_link(one)), _in_words(one)) for one in changed[:_MOST_IN_BANNER])
    more = len(changed) - len(items)
    further = f" {format_count(more, 'more', 'more')} in the table below." if more else ""
    none = " No regression." if not counts["regressed"] else ""
    return Banner(outcome, f"{verdict_counts(counts)}.{none}{further}", (*absent[:_MOST_IN_BANNER], *items), caution)


def _name(one: SeriesVerdict) -> str:
    return f"{shorten(one.device)}, {setting_of(one.workload)}, {metric_title(one.metric).lower()}"


def _in_words(one: SeriesVerdict) -> str:
    return f"{one.verdict}: {one.sentence}" if one.sentence else one.verdict


def _device_section(surroundings: RunContents) -> Section:
    """Lists the devices as they were before the night, with the checks that were not ok."""
    rows = []
    for name, device in surroundings.devices.items():
        checks = [check for check in device.preflight if check.status != "ok"]
        worst = min((status(check.status) for check in checks), key=lambda one: one.order, default=status("ok"))
        findings = [f"{check.name}: {check.detail}" for check in checks]
        findings += [check.remedy for check in checks if check.remedy]
        cells = (
            GridCell(name, href=device_place(name), badges=badges(device.emulated, device.origin)),
            GridCell(device.kind),
            GridCell(worst.word, status=worst, sort=str(worst.order)),
            GridCell(findings[0] if findings else "every check was ok", findings[1:]),
            GridCell(text(device.facts, "os_build")),
        )
        rows.append(GridRow(f"d-{file_name(name)}", cells))
    heads = (Head("Device"), Head("Kind"), Head("Checks", kind="status"), Head("Finding", wide=True), Head("OS build"))
    empty = "No device was recorded. `suite devices check NAME` reads the state of one."
    title, caption = "Devices that night", "Checks before the night"
    return table("devices", title, caption, heads, rows, empty=empty, grid="night-devices")


def _method_section(run: RunSummary, surroundings: RunContents) -> Section:
    environment = [(key, str(entry)) for key, entry in surroundings.environment.items()]
    facts = (Facts("Environment of the host", environment),) if environment else ()
    prose = (f"Command: `{run.command}`",) if run.command else ()
    return Section("method", "Method and environment", facts=facts, prose=prose, terms=_METHOD)
