"""Runs the regression rules on simulated numbers: `python -m benchmarks.regression` or `suite selftest regression`."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import sys
from collections.abc import Callable, Iterator
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks.regression import selftest, speed
from benchmarks.regression.results import Share
from suite.cli.output import TextTable, print_line, print_table
from suite.errors import ExitCode
from suite.stats import DEFAULT_SEED

DEFAULT_SERIES = 20_000

#: With fewer series, there are too few steps to estimate the share that is caught.
LEAST_SERIES = 500


@click.command()
@click.option("--seed", default=DEFAULT_SEED, show_default=True, help="The same seed gives the same figures.")
@click.option(
    "--series",
    type=click.IntRange(min=LEAST_SERIES),
    default=DEFAULT_SERIES,
    show_default=True,
    help="Simulated series for each scenario.",
)
@click.option(
    "--speed", "speed_only", is_flag=True, help="Measure how long 10,000 series of 365 nights take to judge instead."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def regression(seed: int, series: int, speed_only: bool, as_json: bool) -> int:
    """Count false alerts, steps caught and sessions spent, beside the rules of public tools.

    Exits with 0 if every bound is kept, 1 if one is broken, 4 if more series are needed to decide.

    \b
    python -m benchmarks.regression
    python -m benchmarks.regression --series 100000 --seed 7
    python -m benchmarks.regression --speed
    """
    return _speed(seed, as_json) if speed_only else _rules(seed, series, as_json)


def _rules(seed: int, series: int, as_json: bool) -> int:
    with _progress(selftest.parts()) as on_part:
        found = selftest.run(seed, series, on_part)
    if as_json:
        click.echo(json.dumps(_document(found), indent=1))
    else:
        _print_results(found)
    return ExitCode.OK if found.passed else ExitCode.ERROR if found.broken else ExitCode.INCOMPLETE


def _speed(seed: int, as_json: bool) -> int:
    with _progress(3) as on_part:
        found = speed.measure(seed, on_part=on_part)
    kept = found.total_s < speed.LIMIT_SECONDS
    if as_json:
        click.echo(json.dumps({**dataclasses.asdict(found), "total_s": found.total_s, "kept": kept}, indent=1))
    else:
        print_line(_speed_sentence(found, speed.LIMIT_SECONDS))
    return ExitCode.OK if kept else ExitCode.ERROR


def _speed_sentence(found: speed.Speed, limit_s: float) -> str:
    parts = f"screen {found.screen_s:.1f}, drift {found.drift_s:.1f}, change points {found.change_points_s:.1f}"
    word = "kept" if found.total_s < limit_s else "broken"
    return (
        f"{found.series} series of {found.nights} nights: {found.total_s:.1f} s of one core ({parts}; "
        f"{found.clock_s:.1f} s by the clock), limit: under {limit_s:g} s: {word}"
    )


def _document(found: selftest.SelfTest) -> dict[str, Any]:
    return {**dataclasses.asdict(found), "passed": found.passed}


def _print_results(found: selftest.SelfTest) -> None:
    print_line(f"{found.series} series of each scenario, seed {found.seed}; per 1000 series-nights where it says /1000")
    print_table(_scenario_table(found))
    print_line("The same numbers under the rules of public tools, reduced to what decides (docs/regression.md)")
    print_table(_rule_table(found))
    for check in found.checks:
        print_line(check.sentence)
    outcome = "every bound is kept" if found.passed else "a bound is broken" if found.broken else "not decided yet"
    advice = "" if found.passed or found.broken else f": run it with --series {4 * found.series}"
    print_line(f"Outcome: {outcome}{advice}.")


def _scenario_table(found: selftest.SelfTest) -> TextTable:
    table = TextTable()
    table.add_column("scenario")
    for name in (
        "false alerts /1000",
        "inconclusive /1000",
        "caught in 5 nights",
        "at some time",
        "alerted",
        "device blamed",
        "drift seen",
        "suspects /1000",
        "sessions /1000",
    ):
        table.add_column(name, justify="right")
    for result in found.results:
        table.add_texts(
            (
                result.scenario.name,
                _per_1000(result.false_alerts),
                _per_1000(result.undecided),
                "" if result.caught is None else _format_share(result.caught),
                "" if result.caught_later is None else f"{result.caught_later.value:.3f}",
                f"{result.alerted.value:.1%}",
                f"{result.blamed.value:.1%}",
                f"{result.drifting.value:.1%}",
                f"{result.suspects_per_1000:.1f}",
                f"{result.sessions_per_1000:.0f}",
            )
        )
    return table


def _rule_table(found: selftest.SelfTest) -> TextTable:
    table = TextTable()
    table.add_column("rule")
    scenarios = list(found.rules[0].false_alerts)
    for name in scenarios:
        table.add_column(f"{name}, false /1000", justify="right")
    table.add_column("5 % step caught in 5 nights", justify="right")
    for row in found.rules:
        rates = (_per_1000(row.false_alerts[name]) for name in scenarios)
        table.add_texts((row.rule, *rates, _format_share(row.caught)))
    return table


def _per_1000(found: Share) -> str:
    """Formats the rate, or its upper bound if nothing was found."""
    return f"{1000 * found.value:.2g}" if found.count else f"< {1000 * found.high:.2g}"


def _format_share(found: Share) -> str:
    return f"{found.value:.3f} ({found.low:.3f} to {found.high:.3f})"


@contextlib.contextmanager
def _progress(parts: int) -> Iterator[Callable[[str], None]]:
    """Shows a progress bar on a terminal, nothing in a pipe."""
    console = Console(stderr=True, highlight=False)
    if not console.is_terminal:
        yield lambda _name: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("simulating", total=parts)
        yield lambda name: progress.update(task, advance=1, description=name)


def main(arguments: list[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    try:
        code: int = regression.main(args=arguments, prog_name="python -m benchmarks.regression", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return ExitCode.USAGE
    except click.Abort:
        return ExitCode.INTERRUPTED
    return code


if __name__ == "__main__":
    sys.exit(main())
