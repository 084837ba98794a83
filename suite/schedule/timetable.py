"""What is scheduled: when, with which files, in which environment. Every path is absolute.

Also runs the host's scheduling programs; what they refuse becomes one sentence.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, time
from pathlib import Path

from foundation.errors import UserError
from foundation.text import printable
from suite.errors import SuiteError

TIMEOUT_S = 60


def run_program(command: Sequence[str], given: str | None = None) -> subprocess.CompletedProcess[str]:
    """Runs a program with `given` on its standard input, whatever its exit code. SuiteError if it cannot be run."""
    try:
        return subprocess.run(command, input=given, capture_output=True, text=True, timeout=TIMEOUT_S, errors="replace")
    except OSError as error:
        raise SuiteError(f"{command[0]} cannot be run ({error.strerror}): install it") from error
    except subprocess.TimeoutExpired:
        raise SuiteError(f"{command[0]} did not answer within {TIMEOUT_S} s: try again") from None


def program_output(command: Sequence[str], given: str | None = None) -> str:
    """Returns a program's output. SuiteError with its message if it exits with another code than 0."""
    found = run_program(command, given)
    if found.returncode != 0:
        words = printable(found.stderr.strip() or found.stdout.strip() or "it said nothing", 300)
        raise SuiteError(f"{' '.join(command[:4])} ended with {found.returncode}: {words}")
    return found.stdout


@dataclass(frozen=True)
class Schedule:
    """A night each day `at` (the host's local time), measuring `plan` on the devices of `inventory` into `home`.

    Timer and cron come every hour at its minute, and the command does nothing unless a night is due
    (`last_night.is_due`): a time of day that clocks skip in spring would never come.
    `path` is its PATH, since a timer does not get that of a login. UserError for a path with control
    characters, which neither systemd nor cron takes.
    """

    at: time
    python: Path
    home: Path
    inventory: Path
    plan: Path
    path: str

    def __post_init__(self) -> None:
        for value in (*map(str, (self.python, self.home, self.inventory, self.plan)), self.path):
            if not value.isprintable():
                raise UserError(f"'{printable(value, 80)}' holds control characters: a schedule can't name it")

    @property
    def name(self) -> str:
        """Name of units and crontab entries, one for each suite home."""
        return schedule_name(self.home)

    @property
    def clock(self) -> str:
        """`02:30`."""
        return f"{self.at:%H:%M}"

    def words(self) -> list[str]:
        """The command, word by word; -P prevents importing a folder that happens to be called `suite`."""
        program = [str(self.python), "-P", "-m", "suite.schedule", "--if-due", "--at", self.clock]
        return [*program, "--inventory", str(self.inventory), "--plan", str(self.plan)]

    def environment(self) -> dict[str, str]:
        """What the command needs; none of it is secret."""
        return {"SUITE_HOME": str(self.home), "PATH": self.path}


def schedule_name(home: Path) -> str:
    """Returns `edge-training-nightly-1a2b3c4d`, with digits derived from the home's path."""
    return f"edge-training-nightly-{hashlib.sha256(str(home).encode()).hexdigest()[:8]}"


def configuration(*parts: str) -> Path:
    """Returns a path in the user's configuration: `$XDG_CONFIG_HOME`, else ~/.config."""
    chosen = os.environ.get("XDG_CONFIG_HOME", "")
    return (Path(chosen) if Path(chosen).is_absolute() else Path.home() / ".config").joinpath(*parts)


def secrets_file() -> Path:
    """Returns the file with `SUITE_WEBHOOK_URL=…`, created by the user; the suite itself never writes or reads it."""
    return configuration("edge-training-suite", "nightly.env")


def absolute_entries(path: str) -> str:
    """Returns PATH without duplicates and without relative entries, which depend on where the timer starts."""
    return os.pathsep.join(dict.fromkeys(entry for entry in path.split(os.pathsep) if Path(entry).is_absolute()))


def clock_time(text: str) -> time:
    """Parses `02:30` as a time. UserError for anything else."""
    try:
        return datetime.strptime(text, "%H:%M").time()
    except ValueError:
        raise UserError(f"'{printable(text, 40)}' is no time of day: write it as 02:30") from None
