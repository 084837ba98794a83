"""`suite history`: the runs there are, the series, and all that is known of one."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click

from foundation.unavailable import Json
from reports.model.histories import Change, HistoryPoint, MetricHistory
from suite.cli.completion import complete_series
from suite.cli.options import inventory_option, open_store
from suite.cli.output import format_span, format_value, local_time, print_json, print_line
from suite.errors import ExitCode
from suite.report_data.source import StoreSource
from suite.store.finding import find_series
from suite.store.series import Series, StoredVerdict, series_list, verdicts_on
from suite.store.store import Store

_CHANGES = ("regressed", "improved", "inconclusive")


@click.command()
@click.argument("series", required=False, shell_complete=complete_series)
@click.option("--runs", is_flag=True, help="List runs instead of series.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@inventory_option
def history(series: str | None, runs: bool, as_json: bool, inventory_path: Path) -> int:
    """List the series, or tell all of one: its points by segment, where its level moved, drift, verdicts and remarks.

    A series may be named by some of the parts of its name, in their order, when they tell it apart.

    \b
    suite history
    suite history local/smollm2-135m/prge/int8/xnnpack/q4/b4/T64/rank16/latency_ms
    suite history int8/latency
    suite history --runs
    """
    document: Any
    with open_store(inventory_path) as store:
        if runs:
            document = [dataclasses.asdict(summary) for summary in StoreSource(store).runs()]
            lines = [
                f"{row['run_id']}  {row['status']}  {', '.join(row['devices'])}  {row['command']}{_tagged(row['tags'])}"
                for row in document
            ]
        elif series is None:
            found = series_list(store)
            document = [{"series": item.name, **dataclasses.asdict(item)} for item in found]
            lines = [
                f"{item.name}  {_counted(item.points, 'point')}, {_counted(item.segments, 'segment')}" for item in found
            ]
        else:
            chosen = find_series(store, series)
            history_of_it, verdicts = _history_of(store, chosen), verdicts_on(store, chosen)
            document = _document(chosen, history_of_it, verdicts)
            lines = [chosen.name, *_lines(history_of_it, verdicts)]
    if as_json:
        print_json(document)
    else:
        for line in lines or ["nothing stored yet"]:
            print_line(line)
    return ExitCode.OK


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
        yield f"segment {number}: {_counted(segment.stop - segment.start, 'point')}, opened by: {segment.reason}"
        for index in range(segment.start, segment.stop):
            if index in changes:
                yield f"  ── {_moved(found.metric, changes[index])}"
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


def _tagged(tags: Sequence[str]) -> str:
    return f"  tagged {', '.join(tags)}" if tags else ""


def _point(metric: str, point: HistoryPoint) -> str:
    interval = ""
    if point.low is not None and point.high is not None:
        interval = f" ({format_span(metric, point.low, point.high, like=point.value)})"
    word = f"  {point.verdict}" if point.verdict else ""
    aside = f"  ({point.aside})" if point.aside else ""
    value = f"{format_value(metric, point.value)}{interval}"
    return f"{local_time(point.at)}  {value}  {point.status}{word}{aside}  {point.run_id}"


def _moved(metric: str, change: Change) -> str:
    moved = 100 * (change.after / change.before - 1)
    levels = f"from {format_value(metric, change.before)} to {format_value(metric, change.after)}"
    return f"the level moved by {moved:+.1f} %, {levels} ({change.side})"


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"
