"""Defines what is scheduled (when, with which files, in which environment), and records the last started night.

The record has when the night started, how it ended, and its log, so that `is_due` can decide on the next one. Every
path is absolute. Also runs the host's scheduling programs, whose errors become one sentence.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path

from foundation.atomic import write_atomic
from foundation.errors import UserError
from foundation.foreign_files import DAMAGED
from foundation.text import printable
from suite.errors import ExitCode, SuiteError
from suite.home import Home

_TIMEOUT_S = 60
LOGS_KEPT = 60

_MEANINGS: dict[int, str] = {
    ExitCode.OK: "nothing regressed",
    ExitCode.ERROR: "it could not be carried out; see the log",
    ExitCode.USAGE: "plan, inventory or options are wrong, another night was in progress, or its pages could not be "
    "written; see the log",
    ExitCode.REGRESSION: "something regressed",
    ExitCode.INCOMPLETE: "something is inconclusive or failed",
    ExitCode.INTERRUPTED: "it was interrupted; the next night continues it",
}


def run_program(command: Sequence[str], given: str | None = None) -> subprocess.CompletedProcess[str]:
    """Runs a program with `given` on its standard input, with any exit code. Raises SuiteError if it cannot be run."""
    try:
        return subprocess.run(
            command, input=given, capture_output=True, text=True, timeout=_TIMEOUT_S, errors="replace"
        )
    except OSError as error:
        raise SuiteError(f"{command[0]} cannot be run ({error.strerror}): install it") from error
    except subprocess.TimeoutExpired:
        raise SuiteError(f"{command[0]} did not answer within {_TIMEOUT_S} s: try again") from None


def program_output(command: Sequence[str], given: str | None = None) -> str:
    """Returns a program's output. Raises SuiteError with its message if it does not exit with code 0."""
    found = run_program(command, given)
    if found.returncode != 0:
        words = printable(found.stderr.strip() or found.stdout.strip() or "it printed nothing", 300)
        raise SuiteError(f"{' '.join(command[:4])} ended with {found.returncode}: {words}")
    return found.stdout


@dataclass(frozen=True)
class Schedule:
    """A night every day `at` (the host's local time), measuring `plan` on the devices of `inventory` into `home`.

    Timer and cron start the command every hour at that minute, and it does nothing unless a night is due (`is_due`),
    since a time of day that clocks skip in spring would never come. `path` is the command's PATH, since a timer does
    not get that of a login. Raises UserError for a path with control characters, which neither systemd nor cron
    accepts.
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
                raise UserError(f"'{printable(value, 80)}' has control characters: a schedule can't contain it")

    @property
    def name(self) -> str:
        """The name of units and crontab entries, one for each suite home."""
        return schedule_name(self.home)

    @property
    def clock(self) -> str:
        """`02:30`."""
        return f"{self.at:%H:%M}"

    def words(self) -> list[str]:
        """The command, word by word. -P prevents importing a folder that happens to be called `suite`."""
        program = [str(self.python), "-P", "-m", "suite.schedule", "--if-due", "--at", self.clock]
        return [*program, "--inventory", str(self.inventory), "--plan", str(self.plan)]

    def environment(self) -> dict[str, str]:
        """The environment that the command needs. Nothing in it is secret."""
        return {"SUITE_HOME": str(self.home), "PATH": self.path}


def schedule_name(home: Path) -> str:
    """Returns `edge-training-nightly-1a2b3c4d`, with digits derived from the home's path."""
    return f"edge-training-nightly-{hashlib.sha256(str(home).encode()).hexdigest()[:8]}"


def configuration(*parts: str) -> Path:
    """Returns a path in the user's configuration: `$XDG_CONFIG_HOME`, or else ~/.config."""
    chosen = os.environ.get("XDG_CONFIG_HOME", "")
    return (Path(chosen) if Path(chosen).is_absolute() else Path.home() / ".config").joinpath(*parts)


def secrets_file() -> Path:
    """Returns the file with `SUITE_WEBHOOK_URL=…`, which the user creates. The suite never writes or reads it."""
    return configuration("edge-training-suite", "nightly.env")


def absolute_entries(path: str) -> str:
    """Returns PATH without duplicates and without relative entries, which depend on where the timer starts."""
    return os.pathsep.join(dict.fromkeys(entry for entry in path.split(os.pathsep) if Path(entry).is_absolute()))


def clock_time(text: str) -> time:
    """Parses `02:30` as a time. Raises UserError for anything else."""
    try:
        return datetime.strptime(text, "%H:%M").time()
    except ValueError:
        raise UserError(f"'{printable(text, 40)}' is not a time of day: write it as 02:30") from None


@dataclass(frozen=True)
class Started:
    """A night that was started. `ended` is None while it is in progress, and stays None if the host went down.

    `exit_code` and `log` are None for the entry that the installation writes, from which nights count.
    """

    started: datetime
    ended: datetime | None = None
    exit_code: int | None = None
    log: str | None = None

    @property
    def meaning(self) -> str:
        """The meaning of the exit code."""
        if self.exit_code is None:
            return "it did not end" if self.ended is None else "nothing was started since the installation"
        return _MEANINGS.get(self.exit_code, "a signal ended it" if self.exit_code > 128 else "unknown")


def read_record(home: Home) -> Started | None:
    """Reads the last night. Returns None if there was none or the file is damaged."""
    try:
        known = json.loads(_place(home).read_text())
        started, ended = datetime.fromisoformat(known["started"]), known["ended"]
        code, log = known["exit_code"], known["log"]
        if not (isinstance(code, int | None) and isinstance(log, str | None)):
            return None
        return Started(
            started.astimezone(), None if ended is None else datetime.fromisoformat(ended).astimezone(), code, log
        )
    except (OSError, *DAMAGED):
        return None


def write_record(home: Home, record: Started) -> None:
    """Replaces the record of the last night. Raises UserError if it cannot be written."""
    content = json.dumps(asdict(record), default=datetime.isoformat).encode()
    try:
        write_atomic(_place(home), content)
    except OSError as error:
        raise UserError(f"{_place(home)} cannot be written ({error.strerror}): free space there") from error


def is_due(last: Started | None, at: time, now: datetime) -> bool:
    """Returns whether a night is due: the last one started before the latest time `at`, or never ended.

    The caller holds the lock of the schedule, so a night that has not ended is not in progress.
    """
    return last is None or last.ended is None or last.started < newest_time(at, now)


def newest_time(at: time, now: datetime) -> datetime:
    """Returns the latest time that it was `at` o'clock, including `now`, in the host's local time.

    If clocks go back over that time, the first occurrence counts; if they skip it, an hour later counts.
    """
    day = now.astimezone().date()
    today = _local(day, at)
    return today if today <= now else _local(day - timedelta(days=1), at)


def next_time(at: time, now: datetime) -> datetime:
    """Returns the next time that it is `at` o'clock."""
    return _local(newest_time(at, now).date() + timedelta(days=1), at)


def new_log(home: Home, now: datetime) -> Path:
    """Returns the log for a night that starts now, and deletes the oldest logs so that 60 remain."""
    folder = home.logs
    for old in sorted(folder.glob("night-*.log"))[: -(LOGS_KEPT - 1)]:
        old.unlink(missing_ok=True)
    return folder / f"night-{now:%Y-%m-%dT%H-%M-%S}.log"


def _local(day: date, at: time) -> datetime:
    # Through the timestamp, as `astimezone` alone puts a skipped time an hour too early.
    return datetime.fromtimestamp(datetime.combine(day, at).timestamp(), UTC).astimezone()


def _place(home: Home) -> Path:
    return home.logs / "last.json"
