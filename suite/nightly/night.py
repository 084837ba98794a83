"""Carries out a whole night: measures, judges, stores. Nights never overlap, and an interrupted one is resumed."""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Iterator, Mapping, Sequence

from filelock import FileLock, Timeout

from devices.inventory.inventory_file import Inventory
from foundation.errors import UserError
from reports.model.findings import Finding
from suite.display import Display
from suite.home import Home
from suite.measuring import orchestrate
from suite.measuring.run import Run
from suite.nightly.findings import record_findings
from suite.nightly.gaps import Gap, find_gaps
from suite.nightly.judging import JudgedSeries, Night, judge
from suite.planning.plan import RunPlan, describe_workload
from suite.report_data.source import StoreSource
from suite.store.identity import workload_key
from suite.store.store import Store, VerdictRow

PURPOSE = "nightly"


def carry_out(
    plan: RunPlan,
    inventory: Inventory,
    home: Home,
    display: Display,
    command: Sequence[str],
    label: str | None = None,
) -> Night:
    """Measures and judges a night, or resumes an interrupted one, which keeps its own plan.

    Raises UserError while another night is in progress, and what `orchestrate.begin` raises.
    """
    series: list[JudgedSeries] = []
    commands: dict[tuple[str, str], str] = {}
    gaps: list[Gap] = []
    findings: list[Finding] = []

    def afterwards(run: Run, devices: Inventory) -> None:
        commands.update(_commands(run))
        gaps.extend(find_gaps(run.store, run.run_id))
        series.extend(judge(run, devices.devices))
        # If the night is interrupted after this, it has its verdicts already.
        run.store.add_verdicts(
            [verdict_row(item, commands) for item in series if item.screened.series.tonight.verdict is None]
        )
        record_findings(run.store)
        findings.extend(StoreSource(run.store).findings(run.run_id))

    with _alone(home):
        if _is_open(home):
            outcome = orchestrate.resume(inventory, home, display, purpose=PURPOSE, afterwards=afterwards)
        else:
            outcome = orchestrate.begin(
                plan, inventory, home, display, command, purpose=PURPOSE, label=label, afterwards=afterwards
            )
    return Night(
        outcome.run_id, tuple(series), tuple(outcome.measurements), commands, outcome.report, tuple(gaps),
        tuple(findings),
    )  # fmt: skip


@contextlib.contextmanager
def _alone(home: Home) -> Iterator[None]:
    lock = FileLock(home.locks / "night.lock", timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise UserError("Another night is in progress in this suite home: let it finish, or end it first.") from None
    try:
        yield
    finally:
        lock.release()


def _is_open(home: Home) -> bool:
    store = Store.open(home.store_path)
    try:
        return bool(store.open_runs(PURPOSE))
    finally:
        store.close()


def verdict_row(item: JudgedSeries, commands: Mapping[tuple[str, str], str]) -> VerdictRow:
    """Returns the row for the store."""
    series, verdict = item.screened.series, item.verdict
    inputs = dict(verdict.inputs) | {
        "sentence": verdict.sentence,
        "cause": verdict.cause,
        "command": commands.get((series.device, series.workload_key)),
    }
    point = series.tonight
    rule = f"{verdict.rule} {verdict.version}"
    return VerdictRow(point.series_id, point.measurement_id, verdict.verdict, rule, inputs, verdict.numbers)


def _commands(run: Run) -> dict[tuple[str, str], str]:
    return {
        (device, workload_key(describe_workload(item.workload))): shlex.join(
            ["suite", "run", "--device", device, *item.plan.arguments(item.workload.quant)]
        )
        for item in run.preparation.prepared
        for device in item.plan.devices
    }
