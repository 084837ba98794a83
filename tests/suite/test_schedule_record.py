"""When a night is due, and what is kept of the last one."""

from __future__ import annotations

from datetime import datetime, time, timedelta
from pathlib import Path

import pytest

from suite.home import Home
from suite.schedule.record import LOGS_KEPT, Started, is_due, new_log, next_time, read_record, write_record

AT = time(2, 30)


def on(day: int, hour: int, minute: int = 0) -> datetime:
    return datetime(2026, 11, day, hour, minute).astimezone()


@pytest.mark.parametrize(
    ("started", "now", "due"),
    [
        (on(21, 2, 30), on(22, 2, 29), False),
        (on(21, 2, 30), on(22, 2, 30), True),
        (on(21, 2, 30), on(22, 17, 0), True),  # missed, and made up for
        (on(22, 17, 0), on(22, 18, 0), False),
        (on(22, 17, 0), on(23, 2, 30), True),
        (on(15, 2, 30), on(22, 1, 0), True),  # a week off: one night, not seven
    ],
)
def test_a_night_is_due_when_the_last_one_began_before_the_newest_time(
    started: datetime, now: datetime, due: bool
) -> None:
    assert is_due(Started(started, started + timedelta(minutes=5), 0), AT, now) is due


def test_a_night_that_never_ended_is_due_at_once() -> None:
    assert is_due(Started(on(22, 2, 30)), AT, on(22, 3, 30))


def test_a_failed_night_waits_for_the_next_one() -> None:
    assert not is_due(Started(on(22, 2, 30), on(22, 2, 31), 2), AT, on(22, 3, 30))


def test_the_next_night_is_the_next_time_of_day() -> None:
    assert next_time(AT, on(22, 2, 29)) == on(22, 2, 30)
    assert next_time(AT, on(22, 2, 30)) == on(23, 2, 30)


def test_a_record_is_read_as_it_was_written_and_a_damaged_one_is_none(tmp_path: Path) -> None:
    home = Home(tmp_path)
    assert read_record(home) is None
    record = Started(on(22, 2, 30), on(22, 4), 3, "/logs/night.log")
    write_record(home, record)
    assert read_record(home) == record
    assert record.meaning == "something regressed"
    (home.logs / "last.json").write_text('{"started": 5')
    assert read_record(home) is None


def test_only_the_newest_logs_are_kept(tmp_path: Path) -> None:
    home = Home(tmp_path)
    for day in range(LOGS_KEPT + 5):
        new_log(home, on(1, 2, 30) + timedelta(days=day)).touch()
    kept = sorted(path.name for path in home.logs.glob("*.log"))
    assert len(kept) == LOGS_KEPT
    assert kept[0] == f"night-{on(1, 2, 30) + timedelta(days=5):%Y-%m-%dT%H-%M-%S}.log"
