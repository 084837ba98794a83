"""`python -m tests.campaign`: tries until the time is over, a table of their outcomes, exit code 1 if one failed.

Every try has a kind and a seed, which repeat it: `python -m tests.campaign --only KIND --seed SEED --tries 1`.
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
from tests.campaign.kills import Bench, fill_disk, kill, make_bench
from tests.campaign.limits import Ended
from tests.campaign.requests import ask

_KINDS_OF_RUNS = (*runner_files.FILES, "kill", "full disk", "limited files")


@dataclass
class Tally:
    """Outcomes of the tries of one kind."""

    codes: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    spent: float = 0.0
    """Seconds, with what is done before and after the try itself."""
    slowest: float = 0.0
    faults: int = 0

    def add(self, ended: Ended, fault: str | None) -> None:
        """Counts a try."""
        self.codes["fault" if fault else str(ended.code)] += 1
        self.seconds += ended.seconds
        self.slowest = max(self.slowest, ended.seconds)
        self.faults += fault is not None


Trial = Callable[[int], tuple[Ended, str | None]]


def trials(folder: Path, names: list[str], home: Path | None) -> dict[str, Trial]:
    """Returns what tries each of the named kinds with a seed."""
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
        found["limited files"] = lambda seed: fill_disk(bench, seed, limit_files=True)
    return {name: found[name] for name in names}


def carry_out(chosen: dict[str, Trial], seed: int, seconds: float, tries: int | None) -> dict[str, Tally]:
    """Tries all kinds until the time is over, or so many times each; faults are printed at once.

    The kind that took the least time so far is next, so that what is cheap is tried more often.
    """
    tallies = {name: Tally() for name in chosen}
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        open_ones = [name for name in chosen if tries is None or tallies[name].codes.total() < tries]
        if not open_ones:
            break
        name = min(open_ones, key=lambda one: tallies[one].spent)
        tally, began = tallies[name], time.monotonic()
        number = seed + tally.codes.total()
        ended, fault = chosen[name](number)
        tally.add(ended, fault)
        tally.spent += time.monotonic() - began
        if fault is not None:
            again = ["python", "-m", "tests.campaign", "--only", name, "--seed", str(number), "--tries", "1"]
            print(f"{name}, seed {number}: {fault}\n  again: {shlex.join(again)}", flush=True)
    return tallies


def table(tallies: dict[str, Tally]) -> str:
    """Formats tries, outcomes and times, a row for each kind."""
    lines = [f"{'kind':28} {'tries':>6} {'faults':>6} {'mean s':>7} {'max s':>7}  exit codes"]
    for name, tally in tallies.items():
        count = tally.codes.total()
        codes = ", ".join(f"{code}: {times}" for code, times in sorted(tally.codes.items()))
        mean = tally.seconds / max(1, count)
        lines.append(f"{name:28} {count:6} {tally.faults:6} {mean:7.2f} {tally.slowest:7.2f}  {codes}")
    tries = sum(tally.codes.total() for tally in tallies.values())
    return "\n".join([*lines, f"{tries} tries, {sum(tally.faults for tally in tallies.values())} faults"])


def main() -> int:
    """Returns the exit code."""
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
    return 1 if any(tally.faults for tally in tallies.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
