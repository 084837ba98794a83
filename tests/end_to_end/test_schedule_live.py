"""Nights that a real systemd or cron starts: at their time, made up for if they were missed, never twice at once."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from suite.home import Home
from suite.schedule.timetable import Started, schedule_name, write_record
from tests.support.end_to_end.suite_runs import Bench, wait_for
from tests.support.end_to_end.user_systemd import UserSystemd, need_user_systemd

PLAN = """\
defaults: {devices: local, models: tiny, steps: 12}
plans:
  small: {quants: [fp32], shapes: [{q: 2, b: 2, T: 32}], sessions: 3}
"""
UNUSABLE = "plans: {}\n"


@pytest.fixture
def systemd(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[UserSystemd]:
    need_user_systemd()
    made = UserSystemd(tmp_path_factory.mktemp("systemd"))
    for name, value in made.environ.items():
        monkeypatch.setenv(name, value)
    try:
        made.start()
        yield made
    finally:
        made.stop()


def last(bench: Bench) -> dict[str, Any]:
    document: dict[str, Any] = bench("schedule", "status", "--json").document["last"]
    return document


def logs(bench: Bench) -> list[Path]:
    return sorted((bench.home / "logs").glob("night-*.log"))


def forget_since(bench: Bench, when: float) -> None:
    """Makes the newest night, or the installation, look as if it had been at that time."""
    at = datetime.fromtimestamp(when).astimezone()
    write_record(Home(bench.home), Started(at, at, 0))


def in_time(condition: Callable[[], Any], seconds: float, what: str) -> None:
    """Like `wait_for`, for what takes longer than a minute."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"{what} did not come true within {seconds:.0f} s"
        time.sleep(0.2)


def test_a_missed_night_is_made_up_for_once_when_the_host_is_on_again(empty_bench: Bench, systemd: UserSystemd) -> None:
    name = schedule_name(empty_bench.home)
    plan = empty_bench.folder / "nightly.yaml"
    plan.write_text(PLAN)
    ran = empty_bench("schedule", "install", "--at", f"{datetime.now() - timedelta(hours=6):%H:%M}")
    assert ran.code == 0, ran.err
    plan.write_text(UNUSABLE)  # the night ends as soon as it has begun
    assert systemd.show(f"{name}.timer", "ActiveState") == "active"
    status = empty_bench("schedule", "status", "--json").document
    assert (status["by"], status["last"]["log"]) == ("systemd", None)  # nothing was missed before it was installed
    tomorrow = datetime.now() + timedelta(days=1, hours=-6)
    assert f"{tomorrow:%Y-%m-%dT%H:%M}" in status["next"]
    systemd.stop()
    status = empty_bench("schedule", "status", "--json").document
    assert status["next"] is None
    assert any("systemd does not answer" in note for note in status["notes"])
    two_days_ago = time.time() - 2 * 86400
    os.utime(systemd.stamp(f"{name}.timer"), (two_days_ago, two_days_ago))
    forget_since(empty_bench, two_days_ago)
    systemd.start()
    wait_for(lambda: last(empty_bench)["ended"] is not None and last(empty_bench)["log"], "the night's end")
    wait_for(lambda: systemd.show(f"{name}.service", "ActiveState") == "failed", "the service's end")
    found = last(empty_bench)
    assert found["exit_code"] == 2
    assert "nightly.yaml" in Path(found["log"]).read_text()
    systemd.stop()
    systemd.start()  # made up for already
    assert systemd.show(f"{name}.timer", "ActiveState") == "active"
    assert logs(empty_bench) == [Path(found["log"])]


def test_a_removed_timer_is_gone_and_the_logs_are_not(empty_bench: Bench, systemd: UserSystemd) -> None:
    name = schedule_name(empty_bench.home)
    plan = empty_bench.folder / "nightly.yaml"
    plan.write_text(PLAN)
    assert empty_bench("schedule", "install").code == 0
    plan.write_text(UNUSABLE)
    systemd.systemctl("start", f"{name}.service")
    assert logs(empty_bench) == []  # none is due
    forget_since(empty_bench, time.time() - 2 * 86400)
    systemd.systemctl("start", "--no-block", f"{name}.service")
    wait_for(lambda: last(empty_bench)["exit_code"] == 2, "the night's end")
    assert empty_bench("schedule", "remove").code == 0
    assert systemd.show(f"{name}.timer", "LoadState") == "not-found"
    assert len(logs(empty_bench)) == 1
    status = empty_bench("schedule", "status")
    assert "nothing is scheduled" in status.out
    assert "with 2" in status.out


@pytest.mark.full
def test_a_night_begins_at_its_time_and_a_second_one_only_after_it(bench: Bench, systemd: UserSystemd) -> None:
    name = schedule_name(bench.home)
    (bench.folder / "nightly.yaml").write_text(PLAN)
    begins = (datetime.now() + timedelta(seconds=70)).replace(second=0, microsecond=0)
    assert bench("schedule", "install", "--at", f"{begins:%H:%M}").code == 0
    in_time(lambda: last(bench)["log"], 90, "the night's begin")
    assert datetime.fromisoformat(last(bench)["started"]).replace(tzinfo=None) >= begins
    systemd.systemctl("start", "--no-block", f"{name}.service")  # as if the timer came again
    in_time(lambda: last(bench)["ended"], 300, "the night's end")
    wait_for(lambda: systemd.show(f"{name}.service", "ActiveState") == "inactive", "the service's end")
    assert systemd.show(f"{name}.service", "Result") == "success"
    assert (last(bench)["exit_code"], len(logs(bench))) == (0, 1)
    assert bench.rows("SELECT purpose, status FROM run") == [("nightly", "finished")]
    assert "report:" in logs(bench)[0].read_text()
    assert "nothing regressed" in bench("schedule", "status").out


@pytest.fixture
def cron(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of a running cron's tables."""
    busybox = shutil.which("busybox")
    if busybox is None or os.geteuid() != 0:
        pytest.skip("busybox, whose cron runs as root with tables of its own, is not there: install it and use sudo")
    folder = tmp_path_factory.mktemp("cron")
    tools, tables = folder / "tools", folder / "tables"
    tools.mkdir()
    tables.mkdir()
    (tools / "crontab").write_text(f'#!/bin/sh\nexec {busybox} crontab -c {shlex.quote(str(tables))} "$@"\n')
    (tools / "crontab").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(folder / "config"))
    process = subprocess.Popen([busybox, "crond", "-f", "-c", tables, "-L", folder / "log"])
    yield tables
    process.terminate()
    process.wait(30)


@pytest.mark.full
def test_the_line_of_the_crontab_starts_a_night_at_its_time(empty_bench: Bench, cron: Path) -> None:
    plan = empty_bench.folder / "nightly.yaml"
    plan.write_text(PLAN)
    begins = (datetime.now() + timedelta(seconds=70)).replace(second=0, microsecond=0)
    ran = empty_bench("schedule", "install", "--with", "cron", "--at", f"{begins:%H:%M}")
    assert ran.code == 0, ran.err
    plan.write_text(UNUSABLE)
    in_time(lambda: last(empty_bench)["exit_code"], 240, "the night's end")
    assert datetime.fromisoformat(last(empty_bench)["started"]).replace(tzinfo=None) >= begins
    assert last(empty_bench)["exit_code"] == 2
    assert "nightly.yaml" in logs(empty_bench)[0].read_text()
    assert empty_bench("schedule", "remove").code == 0
    assert all(not path.read_text() for path in cron.iterdir() if path.name != "cron.update")
