"""The history of a workload on a device: every metric over its runs, with changes, segments and remarks."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from reports.figures.trends import HOW_TO_READ, trend, version_changes
from reports.files import device_place, run_place, workload_place
from reports.model.histories import HistoryPoint, HistorySummary, MetricHistory
from reports.model.measurement import setting_of, workload_words
from reports.model.quantities import metric_order, metric_span, metric_title, metric_value
from reports.tables.sections import Banner, GridCell, GridRow, Head, Link, Page, Section, table
from reports.text.appearance import Status, badges, glossary, status
from reports.text.escaping import csv_table, csv_text, file_name, shorten
from reports.text.numbers import format_count, percent_change, sort_key
from reports.text.numbers import moment_text as moment

POINTS_CSV = "points.csv"
POINT_COLUMNS = (
    *("metric", "at", "run_id", "measurement_id", "value", "ci95_low", "ci95_high", "sessions"),
    *("status", "verdict", "segment", "aside"),
)
_LONGEST_REMARK = 600


def series_page(summary: HistorySummary, histories: Sequence[MetricHistory]) -> Page:
    """Builds the page of a workload's history on a device."""
    ordered = sorted(histories, key=lambda history: metric_order(history.metric))
    setting, words = setting_of(summary.workload), workload_words(summary.workload)
    sections = []
    if ordered:
        first, others = _subject(ordered), [history for history in ordered if history is not _subject(ordered)]
        large = trend(first, setting, file_name(first.metric))
        small = [trend(history, setting, file_name(history.metric), small=True) for history in others]
        terms = (("How to read it", HOW_TO_READ),)
        sections = [
            Section("trends", "Course", figures=(large,), small=small, terms=terms),
            _overview(ordered),
            _found(ordered),
            _runs(ordered),
        ]
    sections = sections or [_overview(ordered)]
    verdicts = {point.verdict for history in ordered for point in history.points if point.verdict}
    return Page(
        title=f"{summary.device}, {setting}",
        heading=f"{summary.device}, {setting}",
        lead=f"{words}. {format_count(summary.measurements, 'measurement')}.",
        banner=_banner(_subject(ordered)) if ordered else None,
        sections=sections,
        trail=(Link("Devices", "index.html#devices"), Link(summary.device, device_place(summary.device))),
        beside=(Link("All settings side by side", workload_place(summary.group)),),
        files=((POINTS_CSV, "CSV: every point of every metric"),),
        meanings=glossary(verdicts),
        badges=badges(summary.emulated, summary.origin),
    )


def _subject(ordered: Sequence[MetricHistory]) -> MetricHistory:
    """Returns the first regressed metric, else the one whose level changed last, else latency."""
    regressed = next((one for one in ordered if _regressed_at(one) is not None), None)
    if regressed is not None:
        return regressed
    changed = [history for history in ordered if history.changes]
    latest = max((history.points[history.changes[-1].at].at for history in changed), key=sort_key, default="")
    return next((one for one in changed if one.points[one.changes[-1].at].at == latest), ordered[0])


def _banner(history: MetricHistory) -> Banner | None:
    """States in a sentence the size and date of the last change, and what changed with it."""
    if not history.points:
        return None
    title, nights = metric_title(history.metric), format_count(len(history.points), "point")
    if (at := _regressed_at(history)) is not None:
        return _changed(history, at, _regression(history.points[at]) or 1.0, status("regressed"))
    if not history.changes:
        steady = f"{title} has kept its level over {nights}."
        return Banner(status("unchanged" if len(history.points) > 1 else "not judged"), steady)
    change = history.changes[-1]
    return _changed(history, change.at, change.after / change.before, status(change.side))


def _changed(history: MetricHistory, at: int, ratio: float, outcome: Status) -> Banner:
    point, size = history.points[at], percent_change(ratio).lstrip("+\u2212")
    headline = (
        f"{metric_title(history.metric)} is {size} {'higher' if ratio > 1 else 'lower'} since {moment(point.at)}."
    )
    return Banner(
        outcome, headline, ((Link("The first run at this level", run_place(point.run_id)), _cause(history, at)),)
    )


def _regressed_at(history: MetricHistory) -> int | None:
    """Returns the first of the consecutive regressed nights that end with the newest point, None if that is fine."""
    at = len(history.points)
    while at > 0 and history.points[at - 1].verdict == "regressed":
        at -= 1
    found = 0 < at < len(history.points) and _regression(history.points[at]) is not None
    return at if found else None


def _regression(point: HistoryPoint) -> float | None:
    """Returns a point's ratio to its baseline: from the pairs that confirmed it, else to the level of its history."""
    if point.confirmed is not None:
        return point.confirmed.ratio
    return point.value / point.centre if point.centre else None


def _cause(history: MetricHistory, at: int) -> str:
    """States what else happened where a level changed: versions, the device, remarks, a night's confirmation."""
    before, point = history.points[at - 1], history.points[at]
    found = [words for place, words in version_changes(history) if place == at]
    found += [segment.reason for segment in history.segments[1:] if segment.start == at]
    begin, end = sort_key(before.at), sort_key(point.at)
    found += [
        f"{remark.author}: {shorten(remark.text, 140)}"
        for remark in history.remarks
        if remark.run_id == point.run_id or (not remark.run_id and begin < sort_key(remark.at) <= end)
    ]
    if point.confirmed is not None:
        pairs = format_count(point.confirmed.pairs, "pair")
        found.append(f"confirmed that night as {percent_change(point.confirmed.ratio)} over {pairs}")
    return f"with it: {'; '.join(found)}." if found else "no other change is recorded at that point."


def points_csv(histories: Sequence[MetricHistory]) -> str:
    """Returns CSV with every point at full precision, by metric, oldest first."""
    rows = []
    for history in sorted(histories, key=lambda one: metric_order(one.metric)):
        for point, segment in zip(history.points, _segments(history), strict=True):
            interval = ["" if end is None else repr(end) for end in (point.low, point.high)]
            named = [csv_text(part) for part in (history.metric, point.at, point.run_id, point.measurement_id)]
            outcome = [
                "" if point.sessions is None else point.sessions,
                csv_text(point.status),
                csv_text(point.verdict),
            ]
            rows.append([*named, repr(point.value), *interval, *outcome, segment, point.aside])
    return csv_table(POINT_COLUMNS, rows)


def _segments(history: MetricHistory) -> list[int]:
    """Returns the segment number of each point, counted from 1."""
    found = [1] * len(history.points)
    for number, part in enumerate(history.segments, 1):
        found[part.start : part.stop] = [number] * len(history.points[part.start : part.stop])
    return found


def _overview(ordered: Sequence[MetricHistory]) -> Section:
    rows = [_metric_row(history) for history in ordered if history.points]
    empty = (
        "There are no points yet: a point is a measurement with numbers. `suite run` measures, and the page of a run "
        "says why a measurement has none."
    )
    heads = (
        *(
            Head("Metric"),
            Head("Latest", kind="number"),
            Head("In its segment", "first to last 10", "number"),
        ),
        *(Head("Points", kind="number"), Head("Segments", kind="number"), Head("Change points", kind="number")),
        *(Head("Last verdict", kind="status"), Head("Total drift", wide=True)),
    )
    return table("now", "Current values", "The newest point of each metric", heads, rows, empty=empty, grid="metrics")


def _metric_row(history: MetricHistory) -> GridRow:
    last = history.points[-1]
    small = []
    if last.low is not None and last.high is not None:
        small.append(f"95 %: {metric_span(history.metric, last.low, last.high, last.value)}")
    small += [f"n = {format_count(last.sessions, 'session')}"] if last.sessions else []
    small += [last.aside] if last.aside else []
    newest = next((point for point in reversed(history.points) if point.verdict), None)
    verdict = GridCell("not judged")
    if newest is not None:
        word = status(newest.verdict)
        verdict = GridCell(newest.verdict, (moment(newest.at),), str(word.order), run_place(newest.run_id), word)
    ratio = _since_segment(history)
    cells = (
        GridCell(metric_title(history.metric), href=f"#{file_name(history.metric)}"),
        GridCell(metric_value(history.metric, last.value), small, f"{last.value:.7g}"),
        GridCell("\u2013") if ratio is None else GridCell(percent_change(ratio), sort=f"{ratio:.7g}"),
        *(GridCell(f"{count:,}") for count in (len(history.points), len(history.segments), len(history.changes))),
        verdict,
        GridCell(history.drift or "too few points to see drift"),
    )
    return GridRow(f"k-{file_name(history.metric)}", cells)


def _since_segment(history: MetricHistory) -> float | None:
    start = history.segments[-1].start if history.segments else 0
    nights = [point for point in history.points if not point.aside]
    values = [point.value for point in history.points[start:] if not (nights and point.aside)]
    if len(values) < 20:
        return None
    first, last = (sorted(part) for part in (values[:10], values[-10:]))
    low, high = (first[4] + first[5]) / 2, (last[4] + last[5]) / 2
    return high / low if low > 0 else None


@dataclass(frozen=True)
class _Finding:
    """A finding or remark in a history; ``run_id`` is empty if it doesn't belong to a run."""

    at: str
    what: str
    sentence: str
    run_id: str


def _findings(history: MetricHistory) -> Iterator[_Finding]:
    for change in history.changes:
        point, word = history.points[change.at], status(change.side)
        levels = f"{metric_value(history.metric, change.before)} → {metric_value(history.metric, change.after)}"
        sentence = f"{percent_change(change.after / change.before)}: {levels}"
        yield _Finding(point.at, f"{word.glyph} {word.word}", sentence, point.run_id)
    for segment in history.segments[1:]:
        point = history.points[segment.start]
        yield _Finding(point.at, "│ new segment", segment.reason, point.run_id)
    for remark in history.remarks:
        sentence = f"{remark.author}: {shorten(remark.text, _LONGEST_REMARK)}"
        yield _Finding(remark.at, f"✎ {remark.kind}", sentence, remark.run_id)


def _found(ordered: Sequence[MetricHistory]) -> Section:
    """Lists change points, segments and remarks, so that the page is readable without its figures."""
    found: dict[_Finding, list[str]] = {}
    for history in ordered:
        for finding in _findings(history):
            found.setdefault(finding, []).append(history.metric)
    empty = (
        "No change points, new segments or remarks. `suite annotate` adds a remark, `suite accept` takes a new level "
        "as the baseline."
    )
    newest = sorted(found.items(), key=lambda pair: sort_key(pair[0].at), reverse=True)
    heads = (
        Head("Metric", choices=True),
        Head("When", kind="moment"),
        Head("What", choices=True),
        Head("Finding", wide=True),
        Head("Run", kind="run"),
    )
    rows = [_finding_row(finding, metrics, len(ordered)) for finding, metrics in newest]
    title, caption = (
        "Changes, segments and remarks",
        "Findings in the history and remarks on it, newest first",
    )
    return table("found", title, caption, heads, rows, empty=empty, grid="findings")


def _finding_row(finding: _Finding, metrics: Sequence[str], of: int) -> GridRow:
    """Returns one row for all metrics that the finding applies to."""
    titles = ", ".join(metric_title(metric) for metric in metrics)
    cells = (
        GridCell("every metric" if len(metrics) == of > 1 else titles),
        GridCell(moment(finding.at), sort=sort_key(finding.at)),
        GridCell(finding.what),
        GridCell(finding.sentence),
        GridCell(finding.run_id, href=run_place(finding.run_id)) if finding.run_id else GridCell("\u2013"),
    )
    return GridRow(f"f-{file_name(f'{metrics[0]} {finding.at} {finding.what} {finding.sentence}')}", cells)


def _runs(ordered: Sequence[MetricHistory]) -> Section:
    """Lists the runs with the value of every metric."""
    by_run: dict[tuple[str, str], dict[str, HistoryPoint]] = {}
    for history in ordered:
        for point in history.points:
            by_run.setdefault((sort_key(point.at), point.run_id), {})[history.metric] = point
    newest = sorted(by_run.items(), reverse=True)
    metrics = [history.metric for history in ordered]
    heads = (
        Head("Run", kind="run"),
        Head("When", kind="moment"),
        *(Head(metric_title(metric), kind="number") for metric in metrics),
    )
    rows = [_run_row(run_id, found, metrics) for (_, run_id), found in newest]
    links, caption = (
        (Link(POINTS_CSV, "./" + POINTS_CSV, "has every point in full precision"),),
        "Every metric, newest run first",
    )
    empty, folded = "No run has a value yet.", f"The values of {format_count(len(rows), 'run')}"
    return table("runs", "Runs", caption, heads, rows, empty=empty, grid="points", links=links, folded=folded)


def _run_row(run_id: str, found: dict[str, HistoryPoint], metrics: Sequence[str]) -> GridRow:
    any_point = next(iter(found.values()))
    cells = [
        GridCell(run_id, href=f"{run_place(run_id)}#m-{file_name(any_point.measurement_id)}"),
        GridCell(moment(any_point.at), sort=sort_key(any_point.at)),
    ]
    for metric in metrics:
        point = found.get(metric)
        if point is None:
            cells.append(GridCell("\u2013"))
            continue
        small = [f"{status(point.verdict).glyph} {point.verdict}"] if point.verdict not in ("", "unchanged") else []
        cells.append(GridCell(metric_value(metric, point.value), small, f"{point.value:.7g}"))
    return GridRow(f"p-{file_name(run_id)}", cells)
