"""The line for cron: it means the same to cron and the shell whatever the paths hold, and other lines stay."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from datetime import time
from pathlib import Path

import pytest

from foundation.errors import UserError
from suite.schedule.cron import clock_in, entry, with_entry, without
from suite.schedule.timetable import Schedule

HOSTILE = """a  %h "q" it's $HOME `id` ;#&|<>*?[a] é"""
OTHERS = "MAILTO=ada\n0 4 * * * /usr/bin/backup 100\\% # mine\n"
TELL = (
    "#!{python}\nimport json, os, sys\nkeys = ('SUITE_HOME', 'PATH', 'SUITE_WEBHOOK_URL')\n"
    "print(json.dumps([sys.argv[1:], {{key: os.environ.get(key) for key in keys}}]))\n"
)


def schedule_in(folder: Path, at: time = time(2, 30)) -> Schedule:
    return Schedule(at, folder / "py", folder / "home", folder / "inventory.yaml", folder / "n.yaml", "/usr/bin:/bin")


def as_cron_runs_it(block: str, environ: dict[str, str]) -> str:
    """What the line prints when it is run as crontab(5) says: five fields, `\\%` is `%`, another `%` ends the command,
    which is for /bin/sh."""
    (line,) = (line for line in block.splitlines() if not line.startswith("#"))
    command = re.split(r"(?<!\\)%", line.split(" ", 5)[5])[0].replace("\\%", "%")
    done = subprocess.run(["/bin/sh", "-c", command], capture_output=True, text=True, env=environ, check=True)
    return done.stdout


def test_every_word_and_variable_arrives_whole_from_a_hostile_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / HOSTILE
    secrets = folder / "edge-training-suite" / "nightly.env"
    secrets.parent.mkdir(parents=True)
    secrets.write_text("SUITE_WEBHOOK_URL='https://hooks.example/?a=1&b=$2'\n")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(folder))
    (folder / "py").write_text(TELL.format(python=sys.executable))
    (folder / "py").chmod(0o755)
    schedule = schedule_in(folder)
    words, environment = json.loads(as_cron_runs_it(entry(schedule), {"HOME": "/", "PATH": "/bin"}))
    assert words == schedule.words()[1:]
    assert words[3:6] == ["--if-due", "--at", "02:30"]
    assert environment == schedule.environment() | {"SUITE_WEBHOOK_URL": "https://hooks.example/?a=1&b=$2"}


def test_the_line_comes_every_hour_at_the_minute_of_the_night(tmp_path: Path) -> None:
    assert entry(schedule_in(tmp_path, time(23, 5))).splitlines()[1].startswith("5 * * * * ")


def test_other_lines_stay_when_it_is_added_replaced_and_removed(tmp_path: Path) -> None:
    first, second = schedule_in(tmp_path), schedule_in(tmp_path, time(4, 15))
    table = with_entry(second, with_entry(first, OTHERS))
    assert table == OTHERS + entry(second)
    assert clock_in(first.name, table) == "04:15"
    assert without(first.name, table) == OTHERS
    assert clock_in(first.name, OTHERS) is None


def test_a_table_without_a_last_newline_keeps_its_last_line_apart(tmp_path: Path) -> None:
    assert with_entry(schedule_in(tmp_path), "0 4 * * * true").startswith("0 4 * * * true\n#")


def test_two_homes_have_a_line_each(tmp_path: Path) -> None:
    one, two = schedule_in(tmp_path / "a"), schedule_in(tmp_path / "b", time(3))
    table = with_entry(two, with_entry(one, ""))
    assert (clock_in(one.name, table), clock_in(two.name, table)) == ("02:30", "03:00")
    assert without(one.name, table) == entry(two)


def test_what_cron_cannot_hold_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="backslash"):
        entry(schedule_in(tmp_path / "back\\slash"))
    with pytest.raises(UserError, match=r"\d+ bytes, but at most 990 are allowed"):
        entry(schedule_in(tmp_path / ("a" * 250)))
    with pytest.raises(UserError, match=r"\d+ bytes, but at most 990 are allowed"):
        entry(schedule_in(Path("/") / ("\N{LATIN SMALL LETTER E WITH ACUTE}" * 110)))
    assert len(entry(schedule_in(Path("/") / ("e" * 110)))) > 700
