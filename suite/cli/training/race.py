"""`suite race`: ways of training against each other: cost to an accuracy, accuracy under a budget, the Pareto front."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from foundation.errors import UserError
from foundation.unavailable import Unavailable, as_document
from reports.model.race import Budget, Contender, Estimate, Race
from reports.model.reading import Interval, Number
from reports.model.training import Training
from suite import exit_codes
from suite.cli.open_inventory import open_inventory
from suite.cli.options import inventory_option
from suite.cli.output import (
    TextTable,
    print_json,
    print_line,
    print_plain,
    print_table,
    require_written,
    typeable,
)
from suite.cli.training.options import training_fields, training_options
from suite.cli.training.train import write_report
from suite.cli.workload_options import listed, shape_options
from suite.results.race import races
from suite.results.race_winners import amount
from suite.rounding import format_rounded
from workloads.method import METHODS
from workloads.quantize.settings import QUANTIZATION_SETTINGS


@click.command()
@click.option("--device", "selection", metavar="NAME[,NAME]", help="Devices of the inventory, by name.")
@listed("--methods", "methods", ("prge", "mezo-lora-fa"), f"Methods, of {', '.join(METHODS)}.")
@listed("--quants", "quants", ("fp32",), f"Quantization settings, of {', '.join(QUANTIZATION_SETTINGS)}.")
@click.option("--seeds", default=3, show_default=True, help="Trainings of each contender; an interval needs 3.")
@shape_options
@training_options
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@inventory_option
def race(
    selection: str | None,
    methods: tuple[str, ...],
    quants: tuple[str, ...],
    seeds: int,
    as_json: bool,
    inventory_path: Path,
    **settings: Any,
) -> int:
    """Train with every method and setting, and say which is best, by how much, or that it can't be told.

    \b
    suite race --device jetson --methods prge,mezo-lora-fa --quants fp16,nf4 --target 0.8
    suite race --device jetson --quants fp32,int8,nf4 --methods prge --budget-minutes 30
    suite race --device local --model tiny --methods prge,mezo-lora-fa --seeds 3 --steps 40 --eval-every 10
    suite train --resume     goes on with a race that was interrupted
    """
    from suite.display import Display
    from suite.training import conduct
    from suite.training.plan import race_plans

    inventory, home = open_inventory(inventory_path)
    if selection is None:
        raise UserError(f"No device is named: add --device with one or more of {', '.join(inventory.devices)}.")
    devices = tuple(entry.name for entry in inventory.select(selection))
    own = training_fields(settings)
    plans = race_plans(devices, methods, quants, seeds, settings, own)
    words: Sequence[str] = click.get_current_context().find_object(tuple) or ()
    trained = conduct.begin(plans, inventory, home, Display(), ["suite", *words])
    return print_races(races(trained), trained, write_report(home, trained), as_json)


def print_races(found: Sequence[Race], trained: Sequence[Training], report: str | Unavailable, as_json: bool) -> int:
    """Prints the races; returns the exit code: incomplete unless every training finished."""
    if as_json:
        documents = {"races": [one.document() for one in found], "trainings": [one.document() for one in trained]}
        print_json({"group_id": trained[0].group_id, "report": as_document(report), **documents}, finite=True)
        require_written(report)
    else:
        for one in found:
            _print_race(one)
        for training in trained:
            if training.status != "finished":
                name = f"{training.workload['method']} {training.workload['quant']}, seed {training.seed}"
                print_line(
                    f"{training.device} {name}: {training.status}: {training.reason or 'no reason was recorded'}"
                )
        print_plain(f"report: {require_written(report)}")
    complete = all(one.status == "finished" for one in trained)
    return exit_codes.OK if complete else exit_codes.INCOMPLETE


def _print_race(one: Race) -> None:
    print_table(race_table(one))
    for contender in one.contenders:
        for words in (*(contender.cost.missed if contender.cost else ()), *contender.quality.remarks):
            print_line(f"{one.device} {contender.name}: {words}")
    if one.why_no_energy:
        print_line(f"{one.device}: the Pareto front is over seconds, as energy is unavailable: {one.why_no_energy}")
    for words in one.winners:
        print_line(typeable(f"{one.device}: {words}"))


def race_table(one: Race) -> TextTable:
    """Lists a race, a row per contender: value and 95 % interval, or the range of fewer than 3 seeds in brackets."""
    table = TextTable()
    table.add_column("device")
    table.add_column("contender")
    costs = one.target is not None
    if costs:
        for name in (f"reached\n{one.target:g}", "steps", "all steps\ns", "energy\nJ", "peak\nMiB"):
            table.add_column(name, justify="right")
    if isinstance(one.budget, Budget):
        table.add_column(typeable(f"accuracy after\n{amount(one.budget)}"), justify="right")
    table.add_column("accuracy\nat end", justify="right")
    table.add_column("Pareto\nfront")
    for contender in one.contenders:
        table.add_texts([one.device, *_row(one, contender)])
    return table


def _row(one: Race, contender: Contender) -> list[str]:
    cells = [contender.name]
    if (cost := contender.cost) is not None:
        seeds = len(contender.seeds)
        cells += [f"{seeds - len(cost.missed)} of {seeds}", _estimate(cost.steps), _estimate(cost.seconds)]
        cells += [_estimate(cost.energy_mj, 1e-3), _estimate(cost.peak_memory_kib, 1 / 1024)]
    if isinstance(one.budget, Budget):
        cells.append(_estimate(contender.quality.accuracy, accuracy=True))
    end: Number = contender.outcome.accuracy
    cells.append("-" if isinstance(end, Unavailable) else f"{end:.3f}")
    return [*cells, "yes" if contender.outcome.in_front else "no"]


def _estimate(found: Estimate | Unavailable, factor: float = 1.0, *, accuracy: bool = False) -> str:
    if isinstance(found, Unavailable):
        return "-"

    def write(value: float) -> str:
        return f"{value:.3f}" if accuracy else format_rounded(value * factor)

    ends = found.interval
    if isinstance(ends, Interval):
        return f"{write(found.value)} {write(ends.low)}-{write(ends.high)}"
    return f"{write(found.value)} [{write(found.least)}-{write(found.most)}, n={found.seeds}]"
