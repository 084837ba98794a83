"""Runs that are killed at any moment, or whose disk is full: nothing stored is lost, and the next run works."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import sqlite3
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from suite.cli.main import run_command
from tests.campaign.limits import Ended, NotHere, Outcome, attempt, fault_of

_RUN = (
    *("run", "--device", "local", "--model", "tiny", "-T", "32", "-b", "2", "-q", "2"),
    *("--quick", "--quant", "nf4,fp32"),
)
_DOCUMENTED = frozenset({0, 1, 2, 4})
_SECONDS = 300.0


@dataclass
class Bench:
    """A folder with an inventory, a home that has the runner, programs and one run, and how long such a run takes."""

    folder: Path
    seconds: float

    @property
    def home(self) -> Path:
        """The home."""
        return self.folder / "home"


def make_bench(folder: Path, home: Path | None) -> Bench:
    """Makes the bench; exports the programs and builds the runner, unless `home` has them."""
    folder.mkdir()
    (folder / "inventory.yaml").write_text("devices:\n  local:\n    kind: local\n")
    bench = Bench(folder, 0.0)
    bench.home.mkdir()
    if home is not None:
        for name in ("artifacts", "runner"):
            shutil.copytree(home / name, bench.home / name)
    for _ in range(2):
        ended = _carry_out(bench, _RUN, seconds=1800.0)
        if ended.code:
            raise SystemExit(
                f"the run that all others are compared with ended with {ended.code}:\n{ended.err}{ended.out}"
            )
    bench.seconds = ended.seconds
    return bench


def _carry_out(bench: Bench, words: Sequence[str], **limits: float) -> Ended:
    def work() -> int:
        os.environ["SUITE_HOME"] = str(bench.home)
        return run_command(words)

    return attempt(work, bench.folder, **{"seconds": _SECONDS, **limits})  # type: ignore[arg-type]


def _sessions(home: Path) -> set[str]:
    """Returns the ids of all stored sessions, each with a digest of its numbers."""
    with contextlib.closing(sqlite3.connect(home / "store.sqlite")) as connection:
        if connection.execute("PRAGMA integrity_check").fetchall() != [("ok",)]:
            raise sqlite3.DatabaseError("the store is damaged")
        return {f"{row}" for row in connection.execute("SELECT id, status, median_ms, events FROM session")}


def _lost(bench: Bench, before: set[str], ended: Ended) -> str | None:
    """Returns what is missing of what was stored before or reported as measured by the run."""
    try:
        after = _sessions(bench.home)
    except sqlite3.Error as error:
        return f"lost: {error}"
    if missing := before - after:
        return f"lost: {len(missing)} sessions that were stored before"
    reported = sum("ms a step" in line for line in ended.err.splitlines())
    if reported > len(after - before):
        return f"lost: {reported} sessions were reported and {len(after - before)} are stored"
    return None


def _goes_on(bench: Bench, words: Sequence[str], codes: frozenset[int]) -> str | None:
    before = _sessions(bench.home)
    ended = _carry_out(bench, words)
    return fault_of(ended, codes) or _lost(bench, before, ended)


def kill(bench: Bench, seed: int) -> Outcome:
    """Kills a run at a random moment and resumes it; at times the store is deleted and rebuilt in between.

    There is no effect if the run had ended before.
    """
    random_ = random.Random(f"kill {seed}")
    before = _sessions(bench.home)
    ended = _carry_out(bench, _RUN, kill_after_s=random_.uniform(0.0, 1.1 * bench.seconds))
    fault = fault_of(ended, frozenset({0, 4, -9})) or _lost(bench, before, ended)
    if fault is None and random_.random() < 0.5:
        stored = _sessions(bench.home)
        for file in bench.home.glob("store.sqlite*"):
            file.unlink()
        rebuilt = _carry_out(bench, ("store", "rebuild"))
        fault = fault_of(rebuilt, frozenset({0})) or _lost(bench, stored, rebuilt)
    # There is nothing to resume if it had not begun, or had ended.
    fault = fault or _goes_on(bench, ("run", "--resume"), frozenset({0, 2}))
    return Outcome(ended, fault, had_effect=ended.code == -signal.SIGKILL)


def limit_files(bench: Bench, seed: int) -> Outcome:
    """Runs with no room for large files; a run that succeeds did not need it, so there was no effect."""
    before = _sessions(bench.home)
    ended = _carry_out(bench, _RUN, file_bytes=_room(seed))
    return Outcome(ended, fault_of(ended, _DOCUMENTED) or _lost(bench, before, ended), had_effect=ended.code != 0)


def _room(seed: int) -> int:
    return int(2 ** random.Random(f"disk {seed}").uniform(10, 22))


def fill_disk(bench: Bench, seed: int) -> Outcome:
    """Runs on an almost full disk; once there is space again, the next run must work.

    A run that succeeds had all the space that it needed: there was no effect. Raises NotHere if nothing can be
    mounted.
    """
    with _small_disk(bench) as small:
        before = _sessions(small.home)
        free = shutil.disk_usage(small.home).free
        filler = small.home / "filler"
        filler.write_bytes(bytes(max(0, free - _room(seed))))
        ended = _carry_out(small, _RUN)
        filler.unlink()  # first: SQLite makes files beside a store that it reads
        fault = fault_of(ended, _DOCUMENTED) or _lost(small, before, ended)
        return Outcome(ended, fault or _goes_on(small, _RUN, frozenset({0})), had_effect=ended.code != 0)


@contextlib.contextmanager
def _small_disk(bench: Bench) -> Iterator[Bench]:
    """Yields a bench with a copy of the home on a file system of its own. Raises NotHere where that isn't allowed."""
    folder = bench.folder.with_name("small")
    folder.mkdir(exist_ok=True)
    shutil.copy(bench.folder / "inventory.yaml", folder)
    home = folder / "home"
    home.mkdir(exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", "size=256m", "tmpfs", str(home)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True, check=False).returncode:
        raise NotHere("no file system can be mounted here")
    try:
        for entry in bench.home.iterdir():
            if entry.name == "runner":
                (home / "runner").symlink_to(entry)
            elif entry.name not in ("device", "reports"):
                (shutil.copytree if entry.is_dir() else shutil.copy)(entry, home / entry.name)
        yield Bench(folder, bench.seconds)
    finally:
        subprocess.run(["umount", "--lazy", str(home)], check=False)
