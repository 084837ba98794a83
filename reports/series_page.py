"""The history of a workload on a device: every metric over its runs, with what was found in it."""

import csv
import io
from collections.abc import Sequence

from reports.escaping import csv_text, file_name
from reports.histories import HistoryPoint, HistorySummary, MetricHistory
from reports.measured import setting_of, workload_words
from reports.metrics import metric_order, metric_span, metric_title, metric_value, percent_change
from reports.moments import shown as moment
from reports.moments import sort_key
from reports.numbers import counted
from reports.pages import Grid, GridCell, GridRow, Head, Link, Page, Section
from reports.places import device_place, run_place, workload_place
from reports.status import glossary, status
from reports.trend_figures import HOW_TO_READ, trend

POINTS_CSV = "points.csv"
POINT_COLUMNS = (
    *("metric", "at", "run_id", "measurement_id", "value", "ci95_low", "ci95_high", "sessions"),
    *("status", "verdict", "segment"),
)
_MOST_RUNS, _MOST_REMARKS = 120, 60


def series_page(summary: HistorySummary, histories: Sequence[MetricHistory]) -> Page:
    """The page of a workload's history on a device."""
    ordered = sorted(histories, key=lambda history: metric_order(history.metric))
    setting, words = setting_of(summary.workload), workload_words(summary.workload)
    sections = [_overview(ordered)]
    if ordered:
        figures = [trend(history, setting, file_name(history.metric)) for history in ordered]
        sections += [
            Section("trends", "Trends", prose=(HOW_TO_READ,), figures=figures),
            _found(ordered),
            _runs(ordered),
        ]
    verdicts = {point.verdict for history in ordered for point in history.points if point.verdict}
    return Page(
        title=f"{summary.device}, {setting}",
        heading=f"{summary.device}, {setting}",
        lead=f"{words}. {counted(summary.measurements, 'measurement')}.",
        sections=sections,
        trail=(
            Link("All devices", "index.html#devices"),
            Link(summary.device, device_place(summary.device)),
            Link("All settings side by side", workload_place(summary.group)),
        ),
        files=((POINTS_CSV, "CSV: every point of every metric"),),
        meanings=glossary(verdicts),
        emulated=summary.emulated,
    )


def points_csv(histories: Sequence[MetricHistory]) -> str:
    """Every point with all its digits, by metric, the oldest first."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(POINT_COLUMNS)
    for history in sorted(histories, key=lambda one: metric_order(one.metric)):
        for place, point in enumerate(history.points):
            interval = ["" if end is None else repr(end) for end in (point.low, point.high)]
            named = [csv_text(part) for part in (history.metric, point.at, point.run_id, point.measurement_id)]
            outcome = [
                "" if point.sessions is None else point.sessions,
                csv_text(point.status),
                csv_text(point.verdict),
            ]
            writer.writerow([*named, repr(point.value), *interval, *outcome, _segment(history, place)])
    return file.getvalue()


def _segment(history: MetricHistory, place: int) -> int:
    """Segments as people count them, from 1."""
    return next((n for n, part in enumerate(history.segments, 1) if part.start <= place < part.stop), 1)


def _overview(ordered: Sequence[MetricHistory]) -> Section:
    rows = [_metric_row(history) for history in ordered if history.points]
    if not rows:
        empty = (
            "There is no point yet: a point is a measurement with numbers. `suite run` measures, and the page of the "
            "run "
            "says why a measurement has none."
        )
        return Section("now", "Where it stands", empty=empty)
    heads = (
        *(
            Head("Metric"),
            Head("Latest", kind="number"),
            Head("Since the segment began", "median of first and last 10", "number"),
        ),
        *(Head("Points", kind="number"), Head("Segments", kind="number"), Head("Change points", kind="number")),
        *(Head("Last verdict", kind="status"), Head("Total drift", wide=True)),
    )
    return Section("now", "Where it stands", (Grid("metrics", "Each metric, newest point", heads, rows),))


def _metric_row(history: MetricHistory) -> GridRow:
    last = history.points[-1]
    small = []
    if last.low is not None and last.high is not None:
        small.append(f"95 %: {metric_span(history.metric, last.low, last.high, last.value)}")
    small += [f"n = {counted(last.sessions, 'session')}"] if last.sessions else []
    judged = next((point for point in reversed(history.points) if point.verdict), None)
    verdict = GridCell("not judged")
    if judged is not None:
        word = status(judged.verdict)
        verdict = GridCell(judged.verdict, (moment(judged.at),), str(word.order), run_place(judged.run_id), word)
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
    values = [point.value for point in history.points[start:]]
    if len(values) < 20:
        return None
    first, last = (sorted(part) for part in (values[:10], values[-10:]))
    low, high = (first[4] + first[5]) / 2, (last[4] + last[5]) / 2
    return high / low if low > 0 else None


def _found(ordered: Sequence[MetricHistory]) -> Section:
    """Change points, segments and remarks as a table: what the figures show, readable without them."""
    found: list[tuple[str, GridRow]] = []
    for history in ordered:
        for number, change in enumerate(history.changes):
            point, word = history.points[change.at], status(change.side)
            levels = f"{metric_value(history.metric, change.before)} → {metric_value(history.metric, change.after)}"
            said = f"{percent_change(change.after / change.before)}: {levels}"
            found.append(_finding(history, f"c{number}", point.at, word.word, said, point, word.glyph))
        for number, segment in enumerate(history.segments[1:]):
            point = history.points[segment.start]
            found.append(_finding(history, f"s{number}", point.at, "new segment", segment.reason, point, "│"))
        for number, remark in enumerate(history.remarks):
            where = HistoryPoint(remark.at, remark.run_id, "", 0.0, "") if remark.run_id else None
            said = f"{remark.author}: {remark.text}"
            found.append(_finding(history, f"r{number}", remark.at, remark.kind, said, where, "✎"))
    if not found:
        empty = (
            "No change point, no new segment and no remark. `suite annotate` keeps a remark, `suite accept` takes a "
            "new "
            "level as the baseline."
        )
        return Section("found", "Changes, segments and remarks", empty=empty)
    found.sort(key=lambda pair: pair[0], reverse=True)
    more = len(found) - _MOST_REMARKS
    notes = [f"{counted(more, 'earlier row')} not shown here."] if more > 0 else []
    heads = (
        Head("Metric", choices=True),
        Head("When", kind="moment"),
        Head("What", choices=True),
        Head("Finding", wide=True),
        Head("Run"),
    )
    rows = [row for _, row in found[:_MOST_REMARKS]]
    grid = Grid("findings", "What was found in the history and what was said of it, newest first", heads, rows, notes)
    return Section("found", "Changes, segments and remarks", (grid,))


def _finding(
    history: MetricHistory, mark: str, at: str, what: str, said: str, point: HistoryPoint | None, glyph: str
) -> tuple[str, GridRow]:
    run = GridCell("\u2013") if point is None else GridCell(point.run_id, href=run_place(point.run_id))
    cells = (
        GridCell(metric_title(history.metric)),
        GridCell(moment(at), sort=sort_key(at)),
        GridCell(f"{glyph} {what}"),
        GridCell(said),
        run,
    )
    return sort_key(at), GridRow(f"f-{file_name(history.metric)}-{mark}", cells)


def _runs(ordered: Sequence[MetricHistory]) -> Section:
    """The newest runs with the value of every metric."""
    by_run: dict[tuple[str, str], dict[str, HistoryPoint]] = {}
    for history in ordered:
        for point in history.points[-_MOST_RUNS:]:
            by_run.setdefault((sort_key(point.at), point.run_id), {})[history.metric] = point
    newest = sorted(by_run.items(), reverse=True)[:_MOST_RUNS]
    metrics = [history.metric for history in ordered]
    heads = (
        Head("Run"),
        Head("When", kind="moment"),
        *(Head(metric_title(metric), kind="number") for metric in metrics),
    )
    rows = [_run_row(run_id, found, metrics) for (_, run_id), found in newest]
    total = max(len(history.points) for history in ordered)
    more = total - len(rows)
    notes = [f"{counted(more, 'earlier run')} not shown here."] if more > 0 else []
    links = (Link(POINTS_CSV, "./" + POINTS_CSV, "holds every point"),)
    return Section("runs", "Runs", (Grid("points", "Every metric, newest run first", heads, rows, notes),), links=links)


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
