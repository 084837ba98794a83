"""The last night that was started: when, how it ended, its log; and whether the next one is due."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path

from foundation.atomic import write_atomic
from foundation.errors import UserError
from suite import exit_codes
from suite.home import Home

LOGS_KEPT = 60

MEANINGS = {
    exit_codes.OK: "nothing regressed",
    exit_codes.ERROR: "it could not be carried out; the log says why",
    exit_codes.USAGE: "plan, inventory or options are wrong, or another night was going on; the log says which",
    exit_codes.REGRESSION: "something regressed",
    exit_codes.INCOMPLETE: "something is inconclusive or failed",
    exit_codes.INTERRUPTED: "it was interrupted; the next night takes it up",
}


@dataclass(frozen=True)
class Started:
    """A night that was started. `ended` is None while it is in progress, and forever if the host went down.

    `exit_code` and `log` are None for the entry written by the installation, from which nights count.
    """

    started: datetime
    ended: datetime | None = None
    exit_code: int | None = None
    log: str | None = None

    @property
    def meaning(self) -> str:
        """What the exit code means."""
        if self.exit_code is None:
            return "it did not end" if self.ended is None else "nothing was started since the installation"
        return MEANINGS.get(self.exit_code, "a signal ended it" if self.exit_code > 128 else "unknown")


def read_record(home: Home) -> Started | None:
    """Reads the last night, None if there was none or the file is damaged."""
    try:
        known = json.loads(_place(home).read_text())
        started, ended = datetime.fromisoformat(known["started"]), known["ended"]
        return Started(
            started.astimezone(),
            None if ended is None else datetime.fromisoformat(ended).astimezone(),
            known["exit_code"],
            known["log"],
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


def write_record(home: Home, record: Started) -> None:
    """Replaces the record of the last night. UserError if it cannot be written."""
    content = json.dumps(asdict(record), default=datetime.isoformat).encode()
    try:
        write_atomic(_place(home), content)
    except OSError as error:
        raise UserError(f"{_place(home)} cannot be written ({error.strerror}): free space there") from error


def is_due(last: Started | None, at: time, now: datetime) -> bool:
    """Whether a night is due: the last one started before the latest time `at`, or never ended.

    The caller holds the lock of the schedule, so a night that has not ended is not in progress.
    """
    return last is None or last.ended is None or last.started < newest_time(at, now)


def newest_time(at: time, now: datetime) -> datetime:
    """Returns the latest time that it was `at` o'clock, `now` included, in the host's local time.

    If clocks go back over it, the first occurrence counts; if they skip it, an hour later does.
    """
    day = now.astimezone().date()
    today = _local(day, at)
    return today if today <= now else _local(day - timedelta(days=1), at)


def next_time(at: time, now: datetime) -> datetime:
    """Returns the next time that it is `at` o'clock."""
    return _local(newest_time(at, now).date() + timedelta(days=1), at)


def new_log(home: Home, now: datetime) -> Path:
    """Returns the log for a night that starts now; deletes the oldest so that 60 remain."""
    folder = home.logs
    for old in sorted(folder.glob("night-*.log"))[: -(LOGS_KEPT - 1)]:
        old.unlink(missing_ok=True)
    return folder / f"night-{now:%Y-%m-%dT%H-%M-%S}.log"


def _local(day: date, at: time) -> datetime:
    # Through the timestamp: `astimezone` alone puts a skipped time an hour too early.
    return datetime.fromtimestamp(datetime.combine(day, at).timestamp(), UTC).astimezone()


def _place(home: Home) -> Path:
    return home.logs / "last.json"
