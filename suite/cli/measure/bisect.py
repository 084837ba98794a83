"""`suite bisect`: finds the program, of those between two nights, with which a series changed."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import click

from foundation.unavailable import Json
from suite.cli.completion import complete_run, complete_series
from suite.cli.options import inventory_option, open_inventory, open_store
from suite.cli.output import print_json, print_line
from suite.display import Display
from suite.errors import ExitCode
from suite.nightly.bisecting import Answer, Bisection, Step, Version, open_bisection, versions_of
from suite.regression.confirmation import CONFIRM_PAIRS
from suite.store.finding import find_run, find_series


@click.command()
@click.argument("name", metavar="SERIES", shell_complete=complete_series)
@click.option("--good", metavar="RUN", shell_complete=complete_run, help="Default: the night before it regressed.")
@click.option("--bad", metavar="RUN", shell_complete=complete_run, help="Default: the newest night.")
@click.option("--dry-run", is_flag=True, help="List the programs in between; measure nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@inventory_option
def bisect(name: str, good: str | None, bad: str | None, dry_run: bool, as_json: bool, inventory_path: Path) -> int:
    """Find the program with which a series changed.

    The suite home keeps the programs that nights measured. Those between the good night and the bad one are measured
    in turn with the good one, on the device of the series, until only one is left that can have brought the change.

    \b
    suite bisect jetson/int8/latency
    suite bisect int8/latency --good 2026-11-03 --bad 2026-11-12
    """
    inventory, home = open_inventory(inventory_path)
    words: Sequence[str] = click.get_current_context().find_object(tuple) or ()
    with open_store(inventory_path, read_only=False) as store:
        series = find_series(store, name)
        first, last = (None if text is None else find_run(store, text) for text in (good, bad))
        with open_bisection(series, first, last, store, home) as bisection:
            if dry_run:
                _print_versions(bisection, as_json)
                return ExitCode.OK
            answer = bisection.carry_out(inventory, Display(), ["suite", *words], _printer(as_json))
    if as_json:
        print_json(_document(series.name, answer), finite=True)
    else:
        print_line(answer.sentence)
    return ExitCode.OK


def _printer(as_json: bool) -> Callable[[Step], None]:
    return (lambda _: None) if as_json else (lambda step: print_line(step.sentence))


def _print_versions(bisection: Bisection, as_json: bool) -> None:
    versions = versions_of(bisection.nights)
    kept = [bisection.open_version(version) is not None for version in versions]
    if as_json:
        print_json([{**_version(version), "kept": is_kept} for version, is_kept in zip(versions, kept, strict=True)])
        return
    for version, is_kept in zip(versions, kept, strict=True):
        print_line(version.name + ("" if is_kept else "; no longer on this host"))
    steps = 1 + math.ceil(math.log2(max(1, len(versions) - 1)))
    print_line(
        f"at most {steps} of them {'is' if steps == 1 else 'are'} measured, in {CONFIRM_PAIRS} pairs of sessions each"
    )


def _document(series: str, answer: Answer) -> dict[str, Json]:
    return {
        "series": series,
        "sentence": answer.sentence,
        "good": _version(answer.good),
        "bad": _version(answer.bad),
        "culprits": [_version(version) for version in answer.culprits],
        "steps": [
            {
                **_version(step.version),
                "changed": step.changed,
                "ratio": step.confirmation.ratio,
                "p": step.confirmation.p,
                "pairs": [list(dataclasses.astuple(pair)) for pair in step.confirmation.pairs],
            }
            for step in answer.steps
        ],
    }


def _version(version: Version) -> dict[str, Json]:
    return {
        "artifact": version.artifact_hash,
        "runner": version.runner_hash,
        "first_run": version.first.run_id,
        "last_run": version.last.run_id,
    }
