"""`suite compare`: compares two runs, or two programs in the runs that measured them last."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import click
from sqlalchemy import select

from foundation.errors import UserError
from foundation.unavailable import Json, Unavailable, as_document
from reports.files import page_or_reason
from reports.model.histories import Compared, ComparedMetric
from reports.site.build import build_comparison
from suite.cli.completion import complete_run
from suite.cli.options import inventory_option, open_store
from suite.cli.output import (
    TextTable,
    format_value,
    print_json,
    print_line,
    print_plain,
    print_table,
    require_written,
    shared_parts,
)
from suite.errors import ExitCode
from suite.home import Home
from suite.nightly.evidence import device_state
from suite.regression.comparison import MIN_SESSIONS
from suite.regression.segments import StateDifference, state_differences
from suite.report_data.source import StoreSource
from suite.store import schema
from suite.store.finding import Side, find_side
from suite.store.identity import workload_key
from suite.store.nights import provenance_of
from suite.store.store import Store

_Place = tuple[str, str]


@dataclass(frozen=True)
class StateOfPlace:
    """How a device's state differed between the two measurements of a workload."""

    device: str
    workload_key: str
    differences: tuple[StateDifference, ...]


@dataclass(frozen=True)
class TwoSides:
    """The two sides, their metrics, what else differs, and the devices whose state differed."""

    before: Side
    after: Side
    compared: Compared
    states: tuple[StateOfPlace, ...]


def compare_sides(store: Store, before: Side, after: Side) -> TwoSides:
    """Compares two sides. Raises UserError for the same run twice, or programs of different workloads."""
    if before.run_id == after.run_id:
        raise UserError(f"both sides are run {before.run_id}: name two runs from `suite history --runs`")
    keys = {side.workload_key for side in (before, after) if side.workload_key is not None}
    if len(keys) > 1:
        raise UserError(f"the programs are of different workloads, {' and '.join(sorted(keys))}: name two of the same")
    key = next(iter(keys), None)
    compared = StoreSource(store).compared(before.run_id, after.run_id)
    states = _states(store, before.run_id, after.run_id)
    if key is not None:
        kept = [metric for metric in compared.metrics if workload_key(metric.workload) == key]
        compared = replace(compared, metrics=kept)
        states = tuple(state for state in states if state.workload_key == key)
    return TwoSides(before, after, compared, states)


def _states(store: Store, before: str, after: str) -> tuple[StateOfPlace, ...]:
    then, now = _measurement_ids(store, before), _measurement_ids(store, after)
    both = [place for place in now if place in then]
    facts = provenance_of(store, [ids[place] for ids in (then, now) for place in both])
    found = [
        StateOfPlace(*place, state_differences(device_state(facts[then[place]]), device_state(facts[now[place]])))
        for place in both
    ]
    return tuple(state for state in found if state.differences)


def _measurement_ids(store: Store, run_id: str) -> Mapping[_Place, int]:
    """Returns the run's measurement ids by device and workload."""
    table, device = schema.measurement, schema.device
    statement = (
        select(device.c.name, table.c.workload_key, table.c.id)
        .select_from(table.join(device))
        .where(table.c.run_id == run_id, table.c.role == "measured")
        .order_by(table.c.id)
    )
    with store.database.reading() as connection:
        return {(name, key): measurement_id for name, key, measurement_id in connection.execute(statement)}


_COLUMNS = ("", "device", "workload", "metric", "before", "after", "ratio", "95 %", "p")
_ORDER = ("worse", "better", "same", "insufficient", "missing")
_CHANGED = ("worse", "better")
_MARKS = {"worse": "✗", "better": "✓", "same": "=", "insufficient": "?", "missing": "-"}


@click.command()
@click.argument("before", metavar="A", shell_complete=complete_run)
@click.argument("after", metavar="B", shell_complete=complete_run)
@click.option(
    "--changed/--all",
    "changed",
    default=True,
    show_default=True,
    help="List only what got worse or better, or every metric.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document, with every metric.")
@inventory_option
def compare(before: str, after: str, changed: bool, as_json: bool, inventory_path: Path) -> int:
    """Compare B with the earlier A: which metrics changed, how many did not, and what else differs.

    A and B are runs (ids or the start of one), tags (`suite tag`), `latest`, `previous`, dates (the night of that
    day) or hashes of programs. The comparison finds whether numbers differ, not why: for that, `suite nightly`
    measures both in turn.

    \b
    suite compare previous latest
    suite compare 2026-11-20 2026-11-22
    suite compare v1.2 latest --all
    """
    home = Home.locate(inventory_path)
    with open_store(inventory_path) as store:
        found = compare_sides(store, find_side(store, before), find_side(store, after))
        sides = found.compared
        page = page_or_reason(lambda: build_comparison(StoreSource(store), home.reports, sides.before, sides.after))
    if as_json:
        print_json(_document(found, page), finite=True)
        require_written(page)
    else:
        _print(found, changed=changed)
        print_plain(f"report: {require_written(page)}")
    return ExitCode.OK


def _print(found: TwoSides, *, changed: bool) -> None:
    compared = found.compared
    print_line(f"{found.before} -> {found.after}")
    listed = _changes(compared.metrics) if changed else compared.metrics
    _print_metrics(compared.metrics, listed)
    if any(metric.outcome == "insufficient" for metric in listed):
        print_line(
            f"insufficient: one number per run, or fewer than {MIN_SESSIONS} sessions on a side; no test is possible"
        )
    for state in found.states:
        words = "; ".join(str(difference) for difference in state.differences)
        print_line(f"not the same state: {state.device} {state.workload_key}: {words}")
    for name, then, now in compared.differences:
        print_line(f"not the same: {name}: {then or 'unknown'} -> {now or 'unknown'}")


def _changes(metrics: Sequence[ComparedMetric]) -> Sequence[ComparedMetric]:
    """Returns the metrics that got worse or better, or all if none could be tested, as between two short runs."""
    if any(metric.outcome in (*_CHANGED, "same") and metric.p is not None for metric in metrics):
        return [metric for metric in metrics if metric.outcome in _CHANGED]
    return metrics


def _print_metrics(metrics: Sequence[ComparedMetric], listed: Sequence[ComparedMetric]) -> None:
    """Prints the `listed` metrics and counts all."""
    if not metrics:
        print_line("No metric was measured on both sides.")
        return
    shared, own = shared_parts([workload_key(metric.workload) for metric in metrics])
    if listed:
        if shared:
            print_line(f"all of them: {shared}")
        print_table(_table(listed, own))
    counts = Counter(metric.outcome for metric in metrics)
    words = ", ".join(f"{counts[word]} {word}" for word in _ORDER if counts[word])
    left_out = len(metrics) - len(listed)
    print_line(f"{words}; --all lists the {left_out} that are neither worse nor better" if left_out else words)


def _table(metrics: Sequence[ComparedMetric], names: Mapping[str, str]) -> TextTable:
    table = TextTable(pads=True)
    for name in _COLUMNS:
        table.add_column(name, overflow="fold")
    for metric in sorted(metrics, key=lambda one: _ORDER.index(one.outcome)):
        table.add_texts(_row(metric, names))
    return table


def _row(metric: ComparedMetric, names: Mapping[str, str]) -> tuple[str, ...]:
    interval = "" if metric.low is None or metric.high is None else f"{metric.low:.3f} to {metric.high:.3f}"
    return (
        f"{_MARKS[metric.outcome]} {metric.outcome}",
        f"{metric.device}{' (emulated)' if metric.emulated else ''}",
        names[workload_key(metric.workload)],
        metric.metric,
        _value(metric.metric, metric.before),
        _value(metric.metric, metric.after),
        "" if metric.ratio is None else f"{metric.ratio:.3f}",
        interval,
        "" if metric.p is None else f"{metric.p:.2g}",
    )


def _value(metric: str, stored: float | None) -> str:
    return "" if stored is None else format_value(metric, stored)


def _document(found: TwoSides, page: str | Unavailable) -> dict[str, Json]:
    return {
        "before": found.compared.before,
        "after": found.compared.after,
        "before_named": found.before.named or None,
        "after_named": found.after.named or None,
        "report": as_document(page),
        "metrics": [
            dataclasses.asdict(metric) | {"series": f"{metric.device}/{workload_key(metric.workload)}/{metric.metric}"}
            for metric in found.compared.metrics
        ],
        "states": [dataclasses.asdict(state) for state in found.states],
        "differences": [{"what": name, "before": then, "after": now} for name, then, now in found.compared.differences],
    }
