"""The systemd units: accepted by systemd, whatever the paths hold."""

from __future__ import annotations

import re
import shutil
import subprocess
import time as clock
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from pathlib import Path

import pytest

from foundation.errors import UserError
from suite.schedule import systemd
from suite.schedule.systemd import STOP_SECONDS, quote_word, service_unit, timer_unit
from suite.schedule.timetable import Schedule, Started, absolute_entries, clock_time, is_due, schedule_name

HOSTILE = """two  words %h 100% "quoted" it's $HOME ${PATH} back\\slash ;#&|<>*?[a] é"""


@pytest.fixture
def schedule(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Schedule:
    """In a folder with a hostile name, with a program of the same kind."""
    runtime = tmp_path / "runtime"
    runtime.mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))  # systemd-analyze --user wants one
    folder = tmp_path / HOSTILE
    folder.mkdir()
    python = folder / "py thon%"
    python.symlink_to("/bin/true")
    return Schedule(time(2, 30), python, folder / "home", folder / "inventory.yaml", folder / "nightly.yaml", "/bin")


def test_systemd_accepts_the_units_of_a_hostile_folder(schedule: Schedule, tmp_path: Path) -> None:
    assert shutil.which("systemd-analyze"), "install Debian's package systemd"
    systemd.verify(schedule)
    for path, text in systemd.units(schedule).items():
        (tmp_path / path.name).write_text(text)
    paths = [str(tmp_path / path.name) for path in systemd.units(schedule)]
    strict = ["systemd-analyze", "--user", "--recursive-errors=no", "verify", *paths]
    done = subprocess.run(strict, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_units_that_systemd_refuses_are_not_written(schedule: Schedule, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(systemd, "service_unit", lambda one: service_unit(one).replace("/bin/sh", "/bin/no shell"))
    with pytest.raises(UserError, match="systemd does not accept the units"):
        systemd.verify(schedule)


def test_a_word_is_quoted_so_that_nothing_in_it_is_special() -> None:
    assert quote_word('50% "a" \\ $x') == '"50%% \\"a\\" \\\\ $x"'


def test_the_service_never_runs_twice_at_once_and_substitutes_nothing(schedule: Schedule) -> None:
    text = service_unit(schedule)
    assert "Type=oneshot" in text
    assert "ExecStart=:/bin/sh " in text
    assert "SuccessExitStatus=3 4" in text


def test_a_stop_goes_to_the_night_alone_which_gets_time_to_store_its_session(schedule: Schedule) -> None:
    text = service_unit(schedule)
    assert "KillMode=mixed\n" in text
    assert "TimeoutStartSec=infinity\n" in text
    assert f"TimeoutStopSec={STOP_SECONDS}\n" in text and STOP_SECONDS >= 600


def test_the_timer_makes_up_for_missed_nights(schedule: Schedule) -> None:
    assert "Persistent=true" in timer_unit(schedule)


ZONES = ("Europe/Berlin", "Australia/Lord_Howe", "America/Havana", "UTC")
"""Clocks go forward at 2:00, at 2:00 by half an hour, at 0:00, and never."""


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("at", [time(0, 15), time(2, 15), time(2, 30), time(23, 45)])
def test_no_night_is_lost_or_comes_twice_when_clocks_change(
    schedule: Schedule, monkeypatch: pytest.MonkeyPatch, zone: str, at: time
) -> None:
    """A night begins at the first time after it is due that systemd comes, as systemd itself lists these times."""
    monkeypatch.setenv("TZ", zone)
    clock.tzset()
    try:
        text = timer_unit(replace(schedule, at=at))
        (calendar,) = re.findall("OnCalendar=(.*)", text)
        begin = datetime(2026, 3, 1, 23, 50).astimezone()
        last, nights = Started(begin, begin, 0), []
        for comes in _times(calendar, f"{begin:%Y-%m-%d %H:%M:%S}", 24 * 250):
            if is_due(last, at, comes):
                nights.append(comes)
                last = Started(comes, comes + timedelta(minutes=5), 0)
    finally:
        monkeypatch.undo()
        clock.tzset()
    days = [night.date() for night in nights]
    assert len(set(days)) == len(days) == (days[-1] - days[0]).days + 1
    on_time = sum(night.time() == at for night in nights)
    assert on_time >= len(nights) - 1


def _times(calendar: str, base: str, count: int) -> Iterator[datetime]:
    command = ["systemd-analyze", "calendar", f"--iterations={count}", f"--base-time={base}", calendar]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    local = re.findall(
        r"(?:Next elapse|Iter\. #\d+): \w+ (\S+ \S+) (\S+)\n(?: +\(in UTC\): \w+ (\S+ \S+) UTC)?", done.stdout
    )
    assert len(local) == count
    for here, zone, in_utc in local:
        assert in_utc or zone == "UTC"
        yield datetime.fromisoformat(in_utc or here).replace(tzinfo=UTC).astimezone()


def test_the_clock_of_an_installed_service_is_found_and_that_of_an_earlier_version_is_unknown(
    schedule: Schedule, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert systemd.clock(schedule.name) is None
    service = next(path for path in systemd.units(schedule) if path.suffix == ".service")
    service.parent.mkdir(parents=True)
    service.write_text(service_unit(schedule))
    assert systemd.clock(schedule.name) == "02:30"
    service.write_text(service_unit(schedule).replace('"--if-due" "--at" "02:30" ', ""))
    assert systemd.clock(schedule.name) is None


def test_the_webhooks_url_is_never_written(schedule: Schedule, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUITE_WEBHOOK_URL", "https://hooks.example/T0KEN")
    assert "T0KEN" not in service_unit(schedule) + timer_unit(schedule)
    assert "EnvironmentFile=-%E/edge-training-suite/nightly.env" in service_unit(schedule)


def test_a_path_with_a_newline_is_refused() -> None:
    with pytest.raises(UserError, match="has control characters"):
        Schedule(time(2), Path("/bin/true"), Path("/a\nExecStart=/bin/evil"), Path("/i"), Path("/p"), "/bin")


def test_each_home_has_a_name_of_its_own() -> None:
    homes = (Path("/a"), Path("/b"), Path("/a/.suite"), Path("/b/.suite"))
    assert len({schedule_name(home) for home in homes}) == len(homes)


def test_relative_and_repeated_entries_of_path_are_left_out() -> None:
    assert absolute_entries("/usr/bin::.:bin:/bin:/usr/bin") == "/usr/bin:/bin"


@pytest.mark.parametrize("text", ["25:00", "noon", "2:99", "", "02:30:10"])
def test_what_is_no_time_of_day_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="write it as 02:30"):
        clock_time(text)
