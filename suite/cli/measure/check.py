"""`suite check`: measures the suite itself; `suite selftest`: tests its rules on simulated numbers.

The simulation is not part of the installed package: a checkout has it among its benchmarks (docs/regression.md).
"""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from foundation.errors import UserError
from suite.cli.options import inventory_option, one_device, one_device_option, open_inventory
from suite.cli.output import print_json, print_plain
from suite.cli.workload_options import check_inputs, plan_of, shape_options
from suite.display import Display
from suite.errors import ExitCode
from suite.home import in_use
from suite.planning import forecast
from suite.planning.plan import RunPlan
from workloads.method import METHODS
from workloads.quantize.settings import DEFAULT_SETTINGS

if TYPE_CHECKING:
    from suite.checks import GradientQuality, Overhead

_SIZES = "1e-1,3e-2,1e-2,3e-3,1e-3"
_CHECKOUT = Path(__file__).parents[3]


def _numbers(_context: click.Context, _parameter: click.Parameter, value: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in value.split(","))
    except ValueError:
        raise click.BadParameter(f"'{value}' is not a list of numbers, such as 1e-2,1e-3.") from None


@click.command()
@shape_options
@click.option("--overhead", is_flag=True, help="What the sampler costs: sessions with and without it, in turn.")
@click.option(
    "--gradient", is_flag=True, help="How well projected gradients agree with the exact derivative, for each eps."
)
@one_device_option("One device of the inventory.")
@click.option("--quant", help="Setting whose steps are timed, int8-dynamic by default; for --gradient a list.")
@click.option("--sessions", default=5, show_default=True, help="Sessions with the sampler, and as many without.")
@click.option("--steps", default=10, show_default=True, help="Measured steps of such a session.")
@click.option(
    "--perturbations", default=64, show_default=True, help="Perturbations for each setting and eps, at least."
)
@click.option("--eps", "sizes", default=_SIZES, show_default=True, callback=_numbers, help="Sizes of perturbations.")
@click.option(
    "--adapter",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="A PEFT adapter at which to take gradients, such as that of a training in progress; default: zero.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@inventory_option
def check(
    overhead: bool,
    gradient: bool,
    selection: str,
    quant: str | None,
    perturbations: int,
    sizes: Sequence[float],
    adapter: Path | None,
    as_json: bool,
    inventory_path: Path,
    **settings: Any,
) -> int:
    """Check what the suite itself costs, or what a setting does to the gradient.

    \b
    suite check --overhead --device local --quant nf4
    suite check --gradient --device jetson --quant fp16,int8 --eps 1e-2,1e-3
    suite check --gradient --device jetson --quant fp16 --adapter FOLDER
    """
    if overhead == gradient:
        raise UserError("One check at a time: give either --overhead or --gradient.")
    if adapter is not None and not gradient:
        raise UserError("--adapter is for --gradient: leave it out, or check gradients.")
    if perturbations < 3:
        raise UserError(f"--perturbations is {perturbations}, but a correlation needs 3: give 3 or more.")
    inventory, home = open_inventory(inventory_path)
    entry = one_device(inventory, selection)
    default = ",".join(DEFAULT_SETTINGS) if gradient else "int8-dynamic"
    quants = tuple(part.strip() for part in (quant or default).split(","))
    if overhead and len(quants) != 1:
        raise UserError(f"--overhead times the steps of one setting, but {len(quants)} are named: name one.")
    plan = plan_of((entry.name,), {**settings, "quants": quants, "method": METHODS[0]})
    for eps in sizes:
        dataclasses.replace(plan, eps=eps)  # refuses what no program can compute with
    forecast.check(RunPlan((plan,)), inventory)
    check_inputs(RunPlan((plan,)))
    from suite import checks  # takes more than a second to load

    with in_use(home):
        if overhead:
            return _print_overhead(checks.sampler_overhead(plan, entry, home, Display()), as_json)
        found = checks.check_gradients(plan, sizes, perturbations, adapter, entry, home, Display())
        return _print_gradients(found, quants, as_json)


def _print_overhead(cost: Overhead, as_json: bool) -> int:
    if as_json:
        print_json(dataclasses.asdict(cost))
    else:
        print_plain(str(cost))
    return ExitCode.OK


def _print_gradients(qualities: Iterable[GradientQuality], quants: Sequence[str], as_json: bool) -> int:
    """Prints a line for each quality as it arrives, or one document at the end.

    Returns the exit code: incomplete unless there is a quality for each setting.
    """
    found: list[GradientQuality] = []
    for quality in qualities:
        found.append(quality)
        if not as_json:
            print_plain(str(quality))
    if as_json:
        print_json([dataclasses.asdict(quality) for quality in found])
    complete = {quality.quant for quality in found} == set(quants)
    return ExitCode.OK if complete else ExitCode.INCOMPLETE


@click.group("selftest")
def selftest_group() -> None:
    """Test the suite's rules on simulated numbers."""


@selftest_group.command(context_settings={"ignore_unknown_options": True}, add_help_option=False)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def regression(arguments: tuple[str, ...]) -> int:
    """Count false alerts, caught steps and spent sessions, and compare them with the rules of public tools.

    The same as `python -m benchmarks.regression` in a checkout of the project; its --help lists the options.
    """
    if not (_CHECKOUT / "benchmarks" / "regression").is_dir():
        raise UserError(
            "the simulation is not part of the installed package: run `python -m benchmarks.regression` in a checkout"
        )
    return subprocess.run([sys.executable, "-m", "benchmarks.regression", *arguments], cwd=_CHECKOUT).returncode
