"""`suite schedule`: starts nights by a timer."""

from __future__ import annotations

import os
import shlex
import sys
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

import click

from foundation.errors import UserError
from foundation.unavailable import Json
from suite.cli.options import inventory_option, night_plan_option, open_inventory
from suite.cli.output import print_json, print_line, print_plain
from suite.cli.workload_options import check_inputs
from suite.errors import ExitCode
from suite.home import Home
from suite.planning import forecast
from suite.planning.plan_file import load_plan_file
from suite.schedule import cron, systemd
from suite.schedule.cron import entry
from suite.schedule.timetable import (
    Schedule,
    Started,
    absolute_entries,
    clock_time,
    is_due,
    next_time,
    read_record,
    schedule_name,
    secrets_file,
    write_record,
)

By = Literal["systemd", "cron"]


@click.group("schedule")
def schedule_group() -> None:
    """Run `suite nightly` every night by a timer."""


@schedule_group.command("install")
@click.option("--at", default="02:30", show_default=True, metavar="HH:MM", help="When nights start, local time.")
@night_plan_option
@click.option(
    "--with",
    "chosen",
    type=click.Choice(["systemd", "cron"]),
    help="Default: systemd, or cron where there is no systemd.",
)
@click.option("--dry-run", is_flag=True, help="Print what would be written; write nothing.")
@inventory_option
def install(at: str, plan_path: Path, chosen: By | None, dry_run: bool, inventory_path: Path) -> int:
    """Start a night every day by a timer of the user's systemd, or by cron. Installing again replaces the timer.

    A night that was missed while the host was off is made up for. Logs are in logs/ of the suite home.

    \b
    suite schedule install --at 02:30
    suite schedule install --dry-run
    """
    inventory, home = open_inventory(inventory_path)
    plan = load_plan_file(plan_path, inventory)
    forecast.check(plan, inventory)
    check_inputs(plan)
    schedule = _schedule(at, home, inventory_path, plan_path)
    by = chosen or _best()
    _refuse_second(schedule.name, by)
    _print_schedule(schedule, by)
    if dry_run:
        print_line("nothing was written")
        return ExitCode.OK
    now = datetime.now().astimezone()
    if is_due(read_record(home), schedule.at, now):  # nights count from now on; none was missed before
        write_record(home, Started(now, now))
    (systemd.install if by == "systemd" else cron.install)(schedule)
    print_line(f"a night starts every day at {schedule.clock}; see `suite schedule status`")
    print_line(f"a webhook's URL goes into {secrets_file()} (chmod 600), as SUITE_WEBHOOK_URL='https://...'")
    print_line("so do SUITE_MAIL_TO='you@example.org' for mail and SUITE_METRICS_FILE for Prometheus (docs/nightly.md)")
    if by == "systemd" and systemd.lingers() is False:
        print_line("nights run only while you are logged in: `loginctl enable-linger` lets them run always")
    return ExitCode.OK


@schedule_group.command("status")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@inventory_option
def status(as_json: bool, inventory_path: Path) -> int:
    """Print when the next night starts, and how the last one ended."""
    home = Home.locate(inventory_path)
    found = _status(home)
    if as_json:
        print_json(found.document())
        return ExitCode.OK
    if found.by is None:
        print_line(f"nothing is scheduled for {home.root}: `suite schedule install` schedules nights")
    else:
        print_line(f"scheduled by {found.by}: {found.name}")
        print_line(f"next night: {found.next or 'unknown'}")
    last = found.last
    if last is not None and last.log is None and last.ended is not None:
        print_line(f"last night: none yet; installed {_moment(last.started)}")
    elif last is not None:
        ended = "did not end" if last.ended is None else f"ended {_moment(last.ended)}"
        code = "" if last.exit_code is None else f" with {last.exit_code}"
        print_line(f"last night: started {_moment(last.started)}, {ended}{code}: {last.meaning}")
        if last.log:
            print_line(f"log: {last.log}")
    for note in found.notes:
        print_line(f"note: {note}")
    return ExitCode.OK


@schedule_group.command("remove")
@inventory_option
def remove(inventory_path: Path) -> int:
    """Remove the timer or cron line; logs and measurements stay."""
    home = Home.locate(inventory_path)
    name = schedule_name(home.root)
    by = _installed(name)
    if by is None:
        raise UserError(f"Nothing is scheduled for {home.root}: there is nothing to remove.")
    (systemd.remove if by == "systemd" else cron.remove)(name)
    print_line(f"removed {name} from {by}; logs stay in {home.logs}")
    return ExitCode.OK


def _schedule(at: str, home: Home, inventory_path: Path, plan_path: Path) -> Schedule:
    # Not resolved: a virtual environment's interpreter is a link, and its name decides which environment it uses.
    python = Path(sys.executable)
    path = absolute_entries(os.environ.get("PATH", os.defpath))
    return Schedule(clock_time(at), python, home.root, inventory_path.resolve(), plan_path.resolve(), path)


def _best() -> By:
    if systemd.is_available():
        return "systemd"
    if cron.is_available():
        return "cron"
    raise UserError("This user has neither systemd nor `crontab`: install cron, or log in with systemd.")


def _installed(name: str) -> By | None:
    if systemd.is_installed(name):
        return "systemd"
    return "cron" if cron.clock(name) is not None else None


def _refuse_second(name: str, by: By) -> None:
    other = _installed(name)
    if other is not None and other != by:
        raise UserError(f"{name} is scheduled by {other} already: run `suite schedule remove` first.")


def _print_schedule(schedule: Schedule, by: By) -> None:
    if by == "cron":
        print_line("# added to the crontab; its other lines stay:")
        print_plain(entry(schedule))
        return
    for path, text in systemd.units(schedule).items():
        print_line(f"# {path}")
        print_plain(text)
    for words in (["daemon-reload"], ["enable", f"{schedule.name}.timer"], ["restart", f"{schedule.name}.timer"]):
        print_line(shlex.join(["systemctl", "--user", *words]))


@dataclass(frozen=True)
class _Status:
    """What is scheduled, when it starts next, how the last night ended, and what keeps nights from running."""

    name: str
    by: By | None
    next: str | None
    last: Started | None
    logs: Path
    notes: tuple[str, ...]

    def document(self) -> dict[str, Json]:
        last = None if self.last is None else _last_document(self.last)
        return vars(self) | {"last": last, "logs": str(self.logs)}


def _status(home: Home) -> _Status:
    name = schedule_name(home.root)
    by = _installed(name)
    return _Status(name, by, _next(name, by), read_record(home), home.logs, tuple(_notes(name, by)))


def _next(name: str, by: By | None) -> str | None:
    at = systemd.clock(name) if by == "systemd" else cron.clock(name)
    if by == "systemd":
        timer = systemd.timer_says(name)
        if at is None or timer.get("ActiveState") != "active":
            return timer.get("NextElapseUSecRealtime") or None
    return None if at is None else next_time(clock_time(at), datetime.now().astimezone()).isoformat(timespec="minutes")


def _last_document(last: Started) -> dict[str, Json]:
    return {
        "started": _moment(last.started),
        "ended": None if last.ended is None else _moment(last.ended),
        "exit_code": last.exit_code,
        "meaning": last.meaning,
        "log": last.log,
    }


def _moment(at: datetime) -> str:
    return at.isoformat(timespec="seconds")


def _notes(name: str, by: By | None) -> list[str]:
    notes = []
    if by == "systemd":
        state = systemd.timer_says(name).get("ActiveState")
        if state is None:
            notes.append("the user's systemd does not answer, so no night starts: log in, or see `systemctl --user`")
        elif state != "active":
            notes.append(f"the timer is {state}: `systemctl --user start {name}.timer`")
        if systemd.clock(name) is None:
            notes.append("the timer skips the night when clocks go forward: run `suite schedule install` again")
        if systemd.lingers() is not True:
            notes.append("lingering is off, so nights run only while you are logged in: `loginctl enable-linger`")
    secrets = secrets_file()
    if secrets.is_file() and secrets.stat().st_mode & 0o077:
        notes.append(f"others can read {secrets}: `chmod 600 {shlex.quote(str(secrets))}`")
    return notes
