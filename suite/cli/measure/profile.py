"""`suite profile`: finds where the time of a training step goes on a device."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from foundation.unavailable import as_document
from reports.files import page_or_reason
from reports.model.profile import Profile, SettingProfile
from reports.tables.profile_lines import profile_lines, profile_sentence
from suite.cli.completion import complete_profile
from suite.cli.options import inventory_option, one_device, one_device_option, open_inventory
from suite.cli.output import TextTable, print_json, print_line, print_plain, print_table, require_written, typeable
from suite.cli.workload_options import check_inputs, plan_of, refuse_settings, workload_options
from suite.display import Display
from suite.errors import ExitCode
from suite.home import Home, in_use
from suite.planning import forecast
from suite.planning.plan import RunPlan

_WITH_SHOW = ("profile_id", "as_json", "inventory_path")
_QUICK_STEPS = 3


@click.command()
@one_device_option("One device.")
@workload_options
@click.option("--steps", default=10, show_default=True, help="Profiled steps, and as many without profiling.")
@click.option("--seed", default=7, show_default=True, help="Seed of noise and batches.")
@click.option("--quick", is_flag=True, help=f"{_QUICK_STEPS} steps of each kind.")
@click.option(
    "--show",
    "profile_id",
    metavar="ID|latest|list",
    shell_complete=complete_profile,
    help="Print an earlier profile, or the ids of all.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@inventory_option
def profile(
    selection: str, quick: bool, profile_id: str | None, as_json: bool, inventory_path: Path, **settings: Any
) -> int:
    """Profile training steps: the time, operations and bytes of each operator, inside and outside of delegates.

    \b
    suite profile --device local --quant fp32,nf4
    suite profile --device pi5 --model tiny --quant int8-dynamic --quick
    suite profile --show latest
    """
    if profile_id is not None:
        refuse_settings("--show prints an earlier profile", _WITH_SHOW)
        return _print_kept(profile_id, Home.locate(inventory_path), as_json)
    inventory, home = open_inventory(inventory_path)
    entry = one_device(inventory, selection)
    if quick:
        settings["steps"] = _QUICK_STEPS
    plan = plan_of((entry.name,), settings)
    forecast.check(RunPlan((plan,)), inventory)
    check_inputs(RunPlan((plan,)))
    from suite.profiling.session import take_profile  # takes more than a second to load

    with in_use(home):
        return _print_profile(take_profile(plan, entry, home, Display()), home, as_json)


def _print_kept(name: str, home: Home, as_json: bool) -> int:
    from suite.profiling.kept import read_profile  # takes seconds to load, for the page

    if name != "list":
        return _print_profile(read_profile(name, home), home, as_json)
    ids = home.profile_ids()
    if as_json:
        print_json(ids)
    else:
        print_plain("\n".join(ids) or "There is no profile yet: make one with `suite profile --device NAME`.")
    return ExitCode.OK


def _print_profile(found: Profile, home: Home, as_json: bool) -> int:
    """Rewrites the page, prints the profile and returns the exit code."""
    from suite.profiling.kept import write_profile_page

    page = page_or_reason(lambda: write_profile_page(found, home))
    if as_json:
        print_json({**found.document(), "page": as_document(page)}, finite=True)
        require_written(page)
    else:
        for one in found.settings:
            print_line(f"{one.setting}: {typeable(profile_sentence(one))}")
            print_table(_table(one))
        for quant, reason in found.failed.items():
            print_line(f"{quant} has no profile: {reason}")
        print_plain(f"profile {found.profile_id}: {require_written(page)}")
    return ExitCode.INCOMPLETE if found.failed else ExitCode.OK


def _table(found: SettingProfile) -> TextTable:
    result = TextTable()
    for name in (f"{found.setting}: for what", "operator"):
        result.add_column(name)
    for name in ("calls", "ms", "%", "GFLOP/s", "GB/s"):
        result.add_column(name, justify="right")
    for line in profile_lines(found):
        result.add_texts((line.group if not line.name else "", line.name, *map(typeable, line.numbers)))
    return result
