"""`suite run`: deploys, measures, reports, and prints a table of device x setting."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from devices.inventory.inventory_file import Inventory
from foundation.errors import UserError
from foundation.text import format_rounded
from foundation.unavailable import Json, Unavailable, as_document
from reports.model.measurement import Measurement, devices_of
from reports.model.reading import Number
from reports.tables.answers import busy_sentences, device_sentence
from suite.cli.options import devices_option, inventory_option, is_given, label_option, open_inventory
from suite.cli.output import (
    TextTable,
    print_json,
    print_line,
    print_plain,
    print_table,
    require_written,
    typeable,
)
from suite.cli.workload_options import OwnOrNumber, check_inputs, plan_of, refuse_settings, workload_options
from suite.errors import ExitCode
from suite.home import Home
from suite.planning import forecast as demands
from suite.planning.forecast import forecast
from suite.planning.plan import Plan, RunPlan, shapes_of_total
from suite.planning.plan_file import load_plan_file
from suite.store.identity import checked_tag

if TYPE_CHECKING:
    from suite.measuring.orchestrate import Outcome


_MARKS = {"ok": "✓", "unstable": "~", "unsupported": "-", "partial": "!", "failed": "✗", "invalid": "✗"}
_NUMBERS = (
    "step\nms",
    "95 %\ninterval\n(or range)",
    "peak\nMiB",
    "program\nMB",
    "energy\nmJ/step",
    "ratio to\n{reference}",
)


def results_table(measurements: Sequence[Measurement]) -> TextTable:
    """Returns the results, a row per setting: latency with its interval, peak memory, energy per step and ratio."""
    table = TextTable()
    table.add_column("device")
    table.add_column("setting")
    differing = _differing_keys(measurements)
    if differing:
        table.add_column("workload")
    reference = _reference(measurements)
    for name in _NUMBERS:
        table.add_column(name.format(reference=reference), justify="right")
    table.add_column("status")
    for item in measurements:
        device, setting, *rest = _row(item)
        words = [_own_words(item, differing)] if differing else []
        table.add_texts((device, setting, *words, *rest))
    return table


def _differing_keys(measurements: Sequence[Measurement]) -> list[str]:
    """Returns the workloads' keys that tell measurements of the same setting apart."""
    keys = dict.fromkeys(key for item in measurements for key in item.workload if key != "quant")
    return [key for key in keys if len({str(item.workload.get(key)) for item in measurements}) > 1]


def _own_words(item: Measurement, differing: Sequence[str]) -> str:
    return " ".join(_fact(name, item.workload.get(name)) for name in differing)


def _fact(name: str, found: Json) -> str:
    if isinstance(found, bool):
        found = "on" if found else "off"
    return str(found) if name in ("model", "method") else f"{name}={'default' if found is None else found}"


def reasons(measurements: Sequence[Measurement]) -> list[str]:
    """Returns a line for each measurement with a reason, and one for each device whose energy is unavailable."""
    differing = _differing_keys(measurements)
    names = [" ".join((item.device, item.setting, _own_words(item, differing))).rstrip() for item in measurements]
    lines = [
        f"{name}: {item.status}: {item.reason}" for name, item in zip(names, measurements, strict=True) if item.reason
    ]
    short = [item for item in measurements if item.energy.short is True]
    energy = {
        f"{item.device}: energy is unavailable: {gross.reason}": None
        for item in measurements
        if isinstance(gross := item.energy.gross_mj, Unavailable) and item.status in ("ok", "unstable")
    }
    windows = {
        f"{item.device}: short windows of energy: measure 10 s and more with --energy-window": None for item in short
    }
    return [*lines, *energy, *windows]


def findings(measurements: Sequence[Measurement]) -> list[str]:
    """Returns a sentence on each device's settings, preceded by warnings about busy devices."""
    sentences = {device: device_sentence(measurements, device) for device in devices_of(measurements)}
    return [
        *(f"{sentence}: these numbers are a first look" for sentence in busy_sentences(measurements)),
        *(f"{device}: {typeable(sentence)}" for device, sentence in sentences.items() if sentence),
    ]


def _reference(measurements: Sequence[Measurement]) -> str:
    """Returns the setting that the ratios refer to: fp32, or the one that stands in for it."""
    settings = {setting for item in measurements if isinstance(setting := item.ratio.setting, str)}
    return "/".join(sorted(settings)) or "fp32"


def _row(item: Measurement) -> list[str]:
    ratio = item.ratio.latency
    return [
        item.device,
        item.setting,
        _number(item.latency.median_ms),
        _spread(item),
        _number(item.peak_memory_kib, 1 / 1024),
        _number(item.program_bytes, 1e-6),
        _energy(item),
        "-" if isinstance(ratio, Unavailable) else f"{ratio:.2f}",
        f"{_MARKS.get(item.status, '?')} {item.status}",
    ]


def _spread(item: Measurement) -> str:
    """Formats the interval, or the range and number of sessions if they are too few for one."""
    ends, known = item.latency.ci95_ms, item.latency.range_ms
    if not isinstance(ends, Unavailable):
        return f"{format_rounded(ends.low)}-{format_rounded(ends.high)}"
    if known is None:
        return "-"
    between, count = known
    if count == 1:
        return "n = 1"
    return f"({format_rounded(between.low)}-{format_rounded(between.high)}, n = {count})"


def _energy(item: Measurement) -> str:
    """Formats net and gross energy, with a mark for a short window."""
    gross, net = item.energy.gross_mj, item.energy.net_mj
    if isinstance(gross, Unavailable):
        return "-"
    named = f"{format_rounded(gross)} gross"
    parts = [f"{named} only"] if isinstance(net, Unavailable) else [f"{format_rounded(net)} net", named]
    return ", ".join([*parts, *(["short window"] if item.energy.short is True else [])])


def _number(found: Number, factor: float = 1.0) -> str:
    """Formats the number times `factor`, or a dash if it is unavailable."""
    return "-" if isinstance(found, Unavailable) else format_rounded(found * factor)


_WITH_RESUME = ("resume", "as_json", "inventory_path")
_WITH_PLAN = ("plan_path", "tag", "label", "quick", "dry_run", "as_json", "inventory_path")


@click.command()
@devices_option
@workload_options
@click.option(
    "--total", type=int, metavar="N", help="Measure each power of two q with b = N / q, instead of one -q and -b."
)
@click.option(
    "--sessions", default=5, show_default=True, help="Sessions (processes) for each setting; an interval needs 3."
)
@click.option("--steps", default=10, show_default=True, help="Measured steps of a session.")
@click.option(
    "--energy-window",
    "energy_window_s",
    default=10.0,
    show_default=True,
    metavar="SECONDS",
    help="Minimum length of a session where power is read; 60 for a figure that others will quote.",
)
@click.option("--seed", default=7, show_default=True, help="Seed of noise and batches.")
@click.option("--lr", type=OwnOrNumber(), default="auto", show_default=True, help="Learning rate; auto: the setting's.")
@click.option(
    "--eps",
    type=OwnOrNumber(),
    default="auto",
    show_default=True,
    help="Size of the perturbations; auto: the setting's.",
)
@click.option("--plan", "plan_path", type=click.Path(path_type=Path), metavar="FILE", help="Measure a plan file.")
@click.option("--tag", metavar="NAME", help="A name for the run, which `suite compare` takes; `suite tag` lists them.")
@label_option
@click.option(
    "--quick", is_flag=True, help="One short session for each setting; options such as --sessions override it."
)
@click.option("--resume", is_flag=True, help="Continue the newest run that was interrupted or killed.")
@click.option(
    "--dry-run", is_flag=True, help="Print the plan with an estimate of time, memory and disk; measure nothing."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@inventory_option
def run(
    selection: str | None,
    plan_path: Path | None,
    tag: str | None,
    label: str | None,
    quick: bool,
    resume: bool,
    dry_run: bool,
    as_json: bool,
    inventory_path: Path,
    **settings: Any,
) -> int:
    """Measure training steps on devices and write the report.

    \b
    suite run --device local
    suite run --device local --model tiny --quant fp32,nf4 --quick
    suite run --device local --method mezo-lora-fa
    suite run --device local --total 16
    suite run --plan nightly.yaml
    suite run --resume
    """
    if tag is not None:
        checked_tag(tag)
    inventory, home = open_inventory(inventory_path)
    if resume:
        refuse_settings("--resume continues the plan of the interrupted run", _WITH_RESUME)
        return _print_outcome(_measure(None, inventory, home), as_json)
    if plan_path is not None:
        refuse_settings(f"--plan takes everything from {plan_path}", _WITH_PLAN)
        plan = load_plan_file(plan_path, inventory, check_inputs=dry_run)
    else:
        plan = RunPlan(_plans(inventory, selection, settings))
    plan = plan.quick(keeping=[name for name in settings if is_given(name)]) if quick else plan
    words: Sequence[str] = click.get_current_context().find_object(tuple) or ()
    if dry_run:
        return _print_forecast(plan, inventory, words, as_json)
    return _print_outcome(_measure(plan, inventory, home, ["suite", *words], tag, label), as_json)


def _measure(
    plan: RunPlan | None,
    inventory: Inventory,
    home: Home,
    command: Sequence[str] = (),
    tag: str | None = None,
    label: str | None = None,
) -> Outcome:
    """Carries out a new run, or resumes the interrupted one if there is no plan."""
    # Imported here because loading store, pages and transports takes longer than a dry run.
    from suite.display import Display
    from suite.measuring import orchestrate

    if plan is None:
        return orchestrate.resume(inventory, home, Display())
    return orchestrate.begin(plan, inventory, home, Display(), command, tag=tag, label=label)


def _plans(inventory: Inventory, selection: str | None, settings: dict[str, Any]) -> tuple[Plan, ...]:
    """Returns the plan that the options describe, or with --total one for each shape."""
    if selection is None:
        raise UserError(f"No device is named: add --device with one or more of {', '.join(inventory.devices)}.")
    devices, total = tuple(entry.name for entry in inventory.select(selection)), settings.pop("total")
    if total is None:
        return (plan_of(devices, settings),)
    given = [name for name in ("q", "b") if is_given(name)]
    if given:
        raise UserError(f"--total stands for q * b, but -{given[0]} is given too: leave out one of them.")
    shapes = shapes_of_total(total, settings["method"])
    return tuple(plan_of(devices, {**settings, "q": q, "b": b}) for q, b in shapes)


def _print_outcome(outcome: Outcome, as_json: bool) -> int:
    if as_json:
        documents = [item.document() for item in outcome.measurements]
        document = {"run_id": outcome.run_id, "report": as_document(outcome.report), "measurements": documents}
        print_json(document, finite=True)
        require_written(outcome.report)
    else:
        print_table(results_table(outcome.measurements))
        for line in (*reasons(outcome.measurements), *findings(outcome.measurements)):
            print_line(line)
        print_plain(f"report: {require_written(outcome.report)}")
    return ExitCode.OK if outcome.complete else ExitCode.INCOMPLETE


def _print_forecast(plan: RunPlan, inventory: Inventory, words: Sequence[str], as_json: bool) -> int:
    found = demands.check(plan, inventory)
    check_inputs(plan)
    readers = demands.power_readers(inventory)
    forecasts = [(part, forecast(part, of_part, readers)) for part, of_part in zip(plan.plans, found, strict=True)]
    if as_json:
        documents = [{"plan": part.document(), "forecast": dataclasses.asdict(found)} for part, found in forecasts]
        size_bytes = demands.files_bytes(plan, found)
        print_json({"plans": documents, "budget_minutes": plan.budget_minutes, "files_bytes": size_bytes})
    else:
        print_plain("\n\n".join("\n".join(found.lines(part)) for part, found in forecasts))
        if len(forecasts) > 1:
            size = format_rounded(demands.files_bytes(plan, found) / 1e6)
            print_plain(f"disk of all plans: {size} MB of programs and weights, shared files counted once")
        print_plain(f"to measure it: {shlex.join(['suite', *(word for word in words if word != '--dry-run')])}")
    return ExitCode.OK
