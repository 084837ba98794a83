"""`suite bench peers`: compares the suite's steps with other programs that do the same work on this host."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from foundation.text import format_rounded
from foundation.unavailable import Unavailable
from reports.model.reading import Interval
from reports.text.numbers import format_count
from suite import stats
from suite.cli.completion import complete_model, complete_peers
from suite.cli.options import inventory_option, is_given, one_device, one_device_option, open_inventory
from suite.cli.output import TextTable, print_json, print_line, print_table
from suite.cli.workload_options import check_inputs, listed
from suite.display import Display
from suite.errors import ExitCode
from suite.home import in_use
from suite.peers.peer import PEERS, select_peers
from suite.planning import forecast
from suite.planning.plan import Plan, RunPlan
from workloads.quantize.settings import DEFAULT_SETTINGS, QUANTIZATION_SETTINGS

if TYPE_CHECKING:
    from suite.peers.comparison import PeerComparison, Row

_EVERY = "*"
_QUICK: Mapping[str, object] = {"model": "tiny", "sessions": 1, "steps": 3, "energy_window_s": 0.0}


@click.group("bench")
def bench_group() -> None:
    """Compare the suite with other programs."""


@bench_group.command()
@one_device_option("This host as a device; its `threads` and `cpus` apply to every program.")
@click.option(
    "--model",
    default="smollm2-135m",
    show_default=True,
    shell_complete=complete_model,
    help="A named model, or a Hugging Face folder or GGUF file of your own.",
)
@listed("--quant", "quants", DEFAULT_SETTINGS, f"The suite's own settings, from {', '.join(QUANTIZATION_SETTINGS)}.")
@click.option("-q", "q", default=4, show_default=True, help="Queries of a step, of 2 forward passes each.")
@click.option("-b", "b", default=4, show_default=True, help="Rows of a batch.")
@click.option("-T", "T", default=64, show_default=True, help="Tokens of a row.")
@click.option(
    "--peers",
    "patterns",
    metavar="NAME,..",
    default=_EVERY,
    show_default=True,
    shell_complete=complete_peers,
    help=f"Names, or patterns such as llama-*, from {', '.join(PEERS)}.",
)
@click.option(
    "--rounds",
    "sessions",
    type=click.IntRange(1),
    default=5,
    show_default=True,
    help="Processes of each, one per round.",
)
@click.option(
    "--steps",
    type=click.IntRange(1),
    default=5,
    show_default=True,
    help="Measured steps of a process, after two that warm up.",
)
@click.option("--quick", is_flag=True, help="A single round of three steps with the model tiny, without intervals.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@inventory_option
def peers(selection: str, patterns: str, quick: bool, as_json: bool, inventory_path: Path, **settings: Any) -> int:
    """Measure PyTorch, transformers and llama.cpp doing the work of a training step, and compare the suite with them.

    All use the same model, shape and threads, each in its own processes. A peer's logits prove which work it does
    (docs/peers.md).

    \b
    suite bench peers
    suite bench peers --quant fp32,bf16,int8-dynamic --peers 'torch-*,products-*'
    suite bench peers --quick --peers torch-fp32
    """
    if quick:
        settings |= {name: value for name, value in _QUICK.items() if not is_given(name)}
    chosen = select_peers([part.strip() for part in patterns.split(",") if part.strip()])
    inventory, home = open_inventory(inventory_path)
    entry = one_device(inventory, selection)
    plan = Plan(devices=(entry.name,), **settings)
    forecast.check(RunPlan((plan,)), inventory)
    check_inputs(RunPlan((plan,)))
    from suite.peers.rounds import compare_with_peers  # takes more than a second to load

    with in_use(home):
        found = compare_with_peers(plan, chosen, entry, home, Display())
    if as_json:
        print_json(found.document(), finite=True)
    else:
        _print(found)
    asked = patterns != _EVERY and bool(found.missing)
    return ExitCode.INCOMPLETE if found.failed or asked else ExitCode.OK


def _print(found: PeerComparison) -> None:
    words = found.workload
    print_line(
        f"{words['model']}, q={words['q']} b={words['b']} T={words['T']}: {found.forward_tokens} forward tokens, "
        f"{format_count(found.threads, 'thread')}; x: how many times as long the suite's step takes"
    )
    print_table(_table(found))
    unknown = {row.name: row.joules.reason for row in found.rows if isinstance(row.joules, Unavailable)}
    everywhere = len(unknown) == len(found.rows)
    unknown = {"J": next(iter(unknown.values()))} if everywhere else unknown
    for reasons in (unknown, found.missing, found.failed):
        for reason in dict.fromkeys(reasons.values()):
            print_line(f"{', '.join(name for name, one in reasons.items() if one == reason)}: {reason}")


def _table(found: PeerComparison) -> TextTable:
    result = TextTable()
    for name in ("peer", "work", "type"):
        result.add_column(name)
    for name in ("s (95 %)", "tokens/s", "peak MiB", "J", "logits off by", *(f"x {row.setting}" for row in found.own)):
        result.add_column(name, justify="right")
    for row in found.rows:
        result.add_texts((row.name, row.work, row.dtype, *_numbers(found, row)))
    return result


def _numbers(found: PeerComparison, row: Row) -> list[str]:
    peak, joules, error = row.peak_memory_kib, row.joules, row.logits_error
    return [
        _spanned(row.seconds, stats.session_interval(row.round_s)),
        format_rounded(found.forward_tokens / row.seconds),
        "" if peak is None else format_rounded(peak / 1024),
        "" if isinstance(joules, Unavailable) else format_rounded(joules),
        "" if error is None else f"{error:.1e}",
        *("" if own is row else _spanned(*found.ratio(own, row)) for own in found.own),
    ]


def _spanned(value: float, interval: Interval | Unavailable) -> str:
    if isinstance(interval, Unavailable):
        return f"{value:.3g}"
    return f"{value:.3g} ({interval.low:.3g}-{interval.high:.3g})"
