"""`suite history`: lists runs and series, or prints one series in full."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from foundation.unavailable import Json
from reports.model.histories import Change, HistoryPoint, MetricHistory
from suite.cli.completion import complete_series
from suite.cli.options import inventory_option, open_store
from suite.cli.output import (
    TextTable,
    format_span,
    format_value,
    local_time,
    print_json,
    print_line,
    print_table,
    shared_parts,
    sparkline,
)
from suite.errors import ExitCode
from suite.report_data.source import StoreSource
from suite.store.finding import choose_series
from suite.store.series import (
    RECENT_POINTS,
    Series,
    SeriesNews,
    SeriesSummary,
    StoredVerdict,
    last_verdicts,
    series_list,
    series_names,
    series_news,
    verdicts_on,
)
from suite.store.store import Store

_CHANGES = ("regressed", "improved", "inconclusive")
_VERDICTS = (*_CHANGES, "accepted", "unchanged", "insufficient")
_COLUMNS = ("series", "latest", f"last {RECENT_POINTS}", "lowest-highest", "verdict", "points")


@click.command()
@click.argument("words", metavar="[WORD]...", nargs=-1, shell_complete=complete_series)
@click.option("--runs", is_flag=True, help="List runs instead of series.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@inventory_option
def history(words: tuple[str, ...], runs: bool, as_json: bool, inventory_path: Path) -> int:
    """List the series with their newest values and verdicts, or print one in full: its points by segment, where its
    level moved, drift, verdicts and remarks.

    WORDS select series: by a verdict, by a part of the name or any text within a part, or by several parts in their
    order, joined by slashes. If only one series is left, it is printed in full.

    \b
    suite history
    suite history int8 memory
    suite history regressed jetson
    suite history int8/latency
    suite history --runs
    """
    with open_store(inventory_path) as store:
        document, lines = _runs(store, words) if runs else _series(store, words)
    if as_json:
        print_json(document)
        return ExitCode.OK
    for line in lines or ["nothing stored yet"]:
        if isinstance(line, TextTable):
            print_table(line)
        else:
            print_line(line)
    return ExitCode.OK


_Lines = Sequence[str | TextTable]


def _runs(store: Store, words: Sequence[str]) -> tuple[Any, _Lines]:
    """Returns the runs whose line contains all words, as a document and as lines."""
    found = {
        f"{run.run_id}  {run.status}  {', '.join(run.devices)}  {run.command}{_format_tags(run.tags)}": run
        for run in StoreSource(store).runs()
    }
    lines = [line for line in found if all(word in line for word in words)]
    return [dataclasses.asdict(found[line]) for line in lines], lines or ["no run matches these words"] * bool(words)


def _series(store: Store, words: Sequence[str]) -> tuple[Any, _Lines]:
    """Returns the series that the words select, or all about the only one, as a document and as lines."""
    verdicts = [word for word in words if word in _VERDICTS]
    known = {item.name: item for item in series_names(store)}
    names = choose_series(list(known), [word for word in words if word not in _VERDICTS])
    if words and not verdicts and len(names) == 1:
        return _whole(store, known[names[0]])
    last = last_verdicts(store)
    chosen = {name for name in names if not verdicts or last.get(name) in verdicts}
    news = series_news(store, chosen)
    rows = [(item, news[item.name], last.get(item.name, "")) for item in series_list(store, chosen)]
    document = [
        {"series": item.name, **dataclasses.asdict(item), **dataclasses.asdict(found), "verdict": word}
        for item, found, word in rows
    ]
    if not rows:
        return document, [f"no series is {' or '.join(verdicts)}"] * bool(verdicts)
    shared, own = shared_parts(list(known))
    return document, [*([f"all of them: {shared}"] if shared else []), _table(rows, own)]


def _table(rows: Sequence[tuple[SeriesSummary, SeriesNews, str]], names: Mapping[str, str]) -> TextTable:
    table = TextTable(pads=True)
    for name in _COLUMNS:
        table.add_column(name, justify="right" if name in ("latest", "points") else "left")
    for item, news, verdict in rows:
        low, high, latest = min(news.values), max(news.values), news.values[-1]
        table.add_texts(
            (
                *(names[item.name], format_value(item.metric, latest), sparkline(news.values)),
                *(format_span(item.metric, low, high, like=latest), verdict, str(item.points)),
            )
        )
    return table


def _whole(store: Store, series: Series) -> tuple[Any, _Lines]:
    found, verdicts = _history_of(store, series), verdicts_on(store, series)
    return _document(series, found, verdicts), [series.name, *_lines(found, verdicts)]


def _history_of(store: Store, series: Series) -> MetricHistory:
    found = StoreSource(store).history(series.device, series.workload_key)
    return next(item for item in found if item.metric == series.metric)


def _document(series: Series, found: MetricHistory, verdicts: list[StoredVerdict]) -> dict[str, Json]:
    known = dataclasses.asdict(found)
    known["changes"] = [{**dataclasses.asdict(change), **_place_of(change, found)} for change in found.changes]
    return {
        "series": series.name,
        "device": series.device,
        "workload_key": series.workload_key,
        "emulated": series.emulated,
        **known,
        "verdicts": [dataclasses.asdict(verdict) for verdict in verdicts],
    }


def _place_of(change: Change, found: MetricHistory) -> dict[str, Json]:
    return {"run_id": found.points[change.at].run_id, "change": change.after / change.before - 1}


def _lines(found: MetricHistory, verdicts: list[StoredVerdict]) -> Iterator[str]:
    """Yields the points by segment with the changes between them, then verdicts and remarks."""
    changes = {change.at: change for change in found.changes}
    for number, segment in enumerate(found.segments):
        yield f"segment {number}: {_format_count(segment.stop - segment.start, 'point')}, opened by: {segment.reason}"
        for index in range(segment.start, segment.stop):
            if index in changes:
                yield f"  ── {_format_move(found.metric, changes[index])}"
            yield f"  {_point(found.metric, found.points[index])}"
    if found.drift:
        yield f"total drift: {found.drift}"
    for verdict in verdicts:
        if verdict.verdict in _CHANGES:
            yield f"{verdict.verdict} in {verdict.run_id}: {verdict.sentence}"
            if verdict.command:
                yield f"  to measure it again: {verdict.command}"
    for remark in found.remarks:
        where = f" on run {remark.run_id}" if remark.run_id else ""
        yield f"{remark.kind} {local_time(remark.at)} by {remark.author}{where}: {remark.text}"


def _format_tags(tags: Sequence[str]) -> str:
    return f"  tagged {', '.join(tags)}" if tags else ""


def _point(metric: str, point: HistoryPoint) -> str:
    interval = ""
    if point.low is not None and point.high is not None:
        interval = f" ({format_span(metric, point.low, point.high, like=point.value)})"
    word = f"  {point.verdict}" if point.verdict else ""
    aside = f"  ({point.aside})" if point.aside else ""
    value = f"{format_value(metric, point.value)}{interval}"
    return f"{local_time(point.at)}  {value}  {point.status}{word}{aside}  {point.run_id}"


def _format_move(metric: str, change: Change) -> str:
    moved = 100 * (change.after / change.before - 1)
    levels = f"from {format_value(metric, change.before)} to {format_value(metric, change.after)}"
    return f"the level moved by {moved:+.1f} %, {levels} ({change.side})"


def _format_count(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"
