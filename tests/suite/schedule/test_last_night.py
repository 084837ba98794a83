"""When a night is due, and what is kept of the last one."""

from __future__ import annotations

import json
import time as clock
from collections.abc import Iterator
from datetime import UTC, datetime, time, timedelta
from pathlib import Path

import pytest

from suite.home import Home
from suite.schedule.timetable import (
    LOGS_KEPT,
    Started,
    is_due,
    new_log,
    newest_time,
    next_time,
    read_record,
    write_record,
)

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


def test_a_night_that_took_more_than_a_day_makes_the_next_one_due() -> None:
    assert is_due(Started(on(21, 2, 30), on(22, 3, 10), 0), AT, on(22, 4, 0))


@pytest.fixture
def berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Clocks go back at 3:00 on the last Sunday of October and forward at 2:00 on that of March."""
    monkeypatch.setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3")
    clock.tzset()
    yield
    monkeypatch.undo()
    clock.tzset()


def utc(month: int, day: int, hour: int, minute: int = 0) -> datetime:
    return datetime(2026, month, day, hour, minute, tzinfo=UTC)


@pytest.mark.parametrize(
    ("now", "newest", "following"),
    [
        (utc(10, 24, 22), utc(10, 24, 0, 30), utc(10, 25, 0, 30)),  # midnight before clocks go back
        (utc(10, 25, 0, 45), utc(10, 25, 0, 30), utc(10, 26, 1, 30)),  # 2:45 for the first time
        (utc(10, 25, 1, 45), utc(10, 25, 0, 30), utc(10, 26, 1, 30)),  # 2:45 for the second time
        (utc(10, 26, 0), utc(10, 25, 0, 30), utc(10, 26, 1, 30)),
        (utc(3, 28, 23), utc(3, 28, 1, 30), utc(3, 29, 1, 30)),  # midnight before there is no 2:30
        (utc(3, 29, 12), utc(3, 29, 1, 30), utc(3, 30, 0, 30)),
        (utc(2, 28, 23, 30), utc(2, 28, 1, 30), utc(3, 1, 1, 30)),  # past midnight, the first of a month
        (utc(1, 1, 0), datetime(2025, 12, 31, 1, 30, tzinfo=UTC), utc(1, 1, 1, 30)),
    ],
)
def test_nights_begin_at_their_time_of_day_when_clocks_and_months_change(
    berlin: None, now: datetime, newest: datetime, following: datetime
) -> None:
    assert newest_time(AT, now) == newest
    assert next_time(AT, now) == following


@pytest.mark.parametrize("day", [utc(10, 24, 22), utc(3, 28, 23)])
def test_one_night_is_due_in_the_night_when_clocks_change(berlin: None, day: datetime) -> None:
    """As cron asks: every hour at half past."""
    last, nights = Started(day - timedelta(hours=21), day - timedelta(hours=20), 0), 0
    for hour in range(23):
        now = day + timedelta(hours=hour, minutes=30)
        if is_due(last, AT, now):
            last, nights = Started(now, now + timedelta(minutes=5), 0), nights + 1
    assert nights == 1


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
    whole = json.loads((home.logs / "last.json").read_text())
    for damaged in ('{"started": 5', *(json.dumps(whole | {name: [5]}) for name in whole)):
        (home.logs / "last.json").write_text(damaged)
        assert read_record(home) is None


def test_only_the_newest_logs_are_kept(tmp_path: Path) -> None:
    home = Home(tmp_path)
    for day in range(LOGS_KEPT + 5):
        new_log(home, on(1, 2, 30) + timedelta(days=day)).touch()
    kept = sorted(path.name for path in home.logs.glob("*.log"))
    assert len(kept) == LOGS_KEPT
    new_log(home, on(1, 2, 30) + timedelta(days=500))
    assert len(list(home.logs.glob("*.log"))) == LOGS_KEPT - 1  # room for the one that is made
    assert kept[0] == f"night-{on(1, 2, 30) + timedelta(days=5):%Y-%m-%dT%H-%M-%S}.log"
