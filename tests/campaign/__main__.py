"""`python -m tests.campaign`: makes tries until the time is up, and prints a table of their outcomes.

The exit code is 1 if a try failed, or nothing could be tried.

A kind and a seed repeat a try: `python -m tests.campaign --only KIND --seed SEED --tries 1`.
"""

from __future__ import annotations

import argparse
import shlex
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch

from tests.campaign import runner_files
from tests.campaign.damage import damage
from tests.campaign.inputs import FORMATS, warm_up
from tests.campaign.kills import Bench, fill_disk, kill, limit_files, make_bench
from tests.campaign.limits import NotHere, Outcome
from tests.campaign.requests import ask

_KINDS_OF_RUNS = (*runner_files.FILES, "kill", "full disk", "limited files")


@dataclass
class Tally:
    """Outcomes of the tries of one kind; only those with an effect or a fault count."""

    codes: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    spent: float = 0.0
    """Seconds, including what is done before and after the try itself."""
    slowest: float = 0.0
    faults: int = 0
    without_effect: int = 0
    not_here: str | None = None
    """Why nothing of this kind can be tried on this machine."""

    @property
    def begun(self) -> int:
        """All tries, including those without effect."""
        return self.codes.total() + self.without_effect

    def add(self, outcome: Outcome) -> None:
        """Counts a try."""
        if outcome.fault is None and not outcome.had_effect:
            self.without_effect += 1
            return
        self.codes["fault" if outcome.fault else str(outcome.ended.code)] += 1
        self.seconds += outcome.ended.seconds
        self.slowest = max(self.slowest, outcome.ended.seconds)
        self.faults += outcome.fault is not None


Trial = Callable[[int], Outcome]


def trials(folder: Path, names: list[str], home: Path | None) -> dict[str, Trial]:
    """Returns, for each of the named kinds, a function that makes the try with a given seed."""
    good: dict[str, Path] = {}
    found: dict[str, Trial] = {
        name: lambda seed, name=name: damage(name, seed, folder, good)  # type: ignore[misc]
        for name in FORMATS
    }
    found["request to serve"] = lambda seed: ask(seed, folder / "site")
    if any(name in names for name in _KINDS_OF_RUNS):
        bench: Bench = make_bench(folder / "bench", home)
        found |= runner_files.trials(bench.home, folder / "jobs")
        found["kill"] = lambda seed: kill(bench, seed)
        found["full disk"] = lambda seed: fill_disk(bench, seed)
        found["limited files"] = lambda seed: limit_files(bench, seed)
    return {name: found[name] for name in names}


def carry_out(chosen: dict[str, Trial], seed: int, seconds: float, tries: int | None) -> dict[str, Tally]:
    """Tries all kinds until the time is up, or each of them `tries` times; prints faults at once.

    The kind that has taken the least time so far is next, so that cheap kinds are tried more often.
    """
    tallies = {name: Tally() for name in chosen}
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        here = [name for name in chosen if tallies[name].not_here is None]
        open_ones = [name for name in here if tries is None or tallies[name].begun < tries]
        if not open_ones:
            break
        name = min(open_ones, key=lambda one: tallies[one].spent)
        tally, began = tallies[name], time.monotonic()
        number = seed + tally.begun
        try:
            outcome = chosen[name](number)
        except NotHere as reason:
            tally.not_here = str(reason)
            continue
        tally.add(outcome)
        tally.spent += time.monotonic() - began
        if outcome.fault is not None:
            again = ["python", "-m", "tests.campaign", "--only", name, "--seed", str(number), "--tries", "1"]
            print(f"{name}, seed {number}: {outcome.fault}\n  again: {shlex.join(again)}", flush=True)
    return tallies


def table(tallies: dict[str, Tally]) -> str:
    """Formats tries, outcomes and times, a row for each kind; a kind that was not tried has no numbers."""
    lines = [f"{'kind':28} {'tries':>6} {'faults':>6} {'mean s':>7} {'max s':>7}  exit codes"]
    for name, tally in tallies.items():
        count = tally.codes.total()
        if not count:
            lines.append(f"{name:28} not tried: {_why_not(tally)}")
            continue
        codes = ", ".join(f"{code}: {times}" for code, times in sorted(tally.codes.items()))
        codes += f"; {tally.without_effect} more without effect" if tally.without_effect else ""
        mean = tally.seconds / count
        lines.append(f"{name:28} {count:6} {tally.faults:6} {mean:7.2f} {tally.slowest:7.2f}  {codes}")
    tries = sum(tally.codes.total() for tally in tallies.values())
    return "\n".join([*lines, f"{tries} tries, {sum(tally.faults for tally in tallies.values())} faults"])


def _why_not(tally: Tally) -> str:
    if tally.not_here is not None:
        return tally.not_here
    return f"{tally.without_effect} had no effect" if tally.without_effect else "the time was over"


def main() -> int:
    """Runs the campaign; returns the exit code."""
    kinds = [*FORMATS, "request to serve", *_KINDS_OF_RUNS]
    parser = argparse.ArgumentParser(prog="python -m tests.campaign", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--tries", type=int, help="of each kind")
    parser.add_argument("--only", action="append", choices=kinds, metavar="KIND", help=", ".join(kinds))
    parser.add_argument("--home", type=Path, help="a home with runner and programs of tiny, instead of making one")
    given = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="suite-campaign-") as folder:
        warm_up()
        chosen = trials(Path(folder), given.only or kinds, given.home)
        tallies = carry_out(chosen, given.seed, given.minutes * 60, given.tries)
    print(table(tallies))
    tried = any(tally.codes for tally in tallies.values())
    return 0 if tried and not any(tally.faults for tally in tallies.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
