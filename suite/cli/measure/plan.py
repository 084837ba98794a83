"""`suite plan check`: prints what a plan file amounts to, device by device, before anything runs."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import click

from foundation.text import format_duration, format_rounded
from suite.cli.options import inventory_option, open_inventory
from suite.cli.output import TextTable, print_json, print_line, print_table
from suite.cli.workload_options import check_inputs
from suite.errors import ExitCode
from suite.planning import forecast as demands
from suite.planning.forecast import Forecast, forecast
from suite.planning.plan import Plan, RunPlan
from suite.planning.plan_file import load_plan_file

_COLUMNS = ("model", "shape", "settings", "devices", "sessions", "steps", "time on a device")


@click.group("plan")
def plan_group() -> None:
    """Check plan files, which `suite run --plan` and `suite nightly` measure."""


@plan_group.command("check")
@click.argument("path", metavar="FILE", type=click.Path(path_type=Path), default=Path("nightly.yaml"))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@inventory_option
def check_plan(path: Path, as_json: bool, inventory_path: Path) -> int:
    """Explain a plan file: each workload, its devices, and about how long it takes.

    \b
    suite plan check nightly.yaml
    """
    inventory, _ = open_inventory(inventory_path)
    plan = load_plan_file(path, inventory)
    obstacles = demands.check(plan, inventory)
    check_inputs(plan)
    readers = demands.power_readers(inventory)
    forecasts = [(part, forecast(part, of_part, readers)) for part, of_part in zip(plan.plans, obstacles, strict=True)]
    seconds = {name: sum(found.device_seconds.get(name, 0.0) for _, found in forecasts) for name in plan.devices}
    if as_json:
        documents = [{"plan": part.document(), "forecast": dataclasses.asdict(found)} for part, found in forecasts]
        devices = {name: {"seconds": value} for name, value in seconds.items()}
        print_json({"plans": documents, "devices": devices, "budget_minutes": plan.budget_minutes})
        return ExitCode.OK
    table = TextTable(pads=True)
    for name in _COLUMNS:
        table.add_column(name, overflow="fold")
    for part, found in forecasts:
        table.add_texts(_row(part, found))
    print_table(table)
    for part, found in forecasts:
        for line in found.left_out_lines(part):
            print_line(line)
    for name, value in seconds.items():
        print_line(f"{name}: about {format_duration(value)} if it is like a two-core desktop{_against(plan, value)}")
    print_line(
        f"export: about {format_duration(sum(found.export_seconds for _, found in forecasts))} for what is not cached"
    )
    return ExitCode.OK


def _row(part: Plan, found: Forecast) -> tuple[str, ...]:
    return (
        part.model,
        part.shape,
        ", ".join(item.quant for item in found.settings) or "none",
        ", ".join(part.devices),
        str(part.sessions),
        str(part.steps),
        " to ".join(dict.fromkeys(format_duration(ends(found.device_seconds.values())) for ends in (min, max))),
    )


def _against(plan: RunPlan, seconds: float) -> str:
    """Formats how the estimate compares with the plan's budget."""
    if plan.budget_minutes is None:
        return ""
    share = seconds / 60 / plan.budget_minutes
    if share <= 1:
        return f", {100 * share:.0f} % of its budget of {plan.budget_minutes:g} min"
    over = f"{format_rounded(share)} times its budget of {plan.budget_minutes:g} min"
    return f", {over}: the last sessions would be left out"
