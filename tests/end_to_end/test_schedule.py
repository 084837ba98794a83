"""`suite schedule` with recording stand-ins for systemctl, loginctl and crontab; and the night that they start."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from suite.schedule.timetable import schedule_name
from tests.support.end_to_end.suite_runs import Bench, wait_for

PLAN = "plans:\n  small: {devices: local, models: tiny, quants: [fp32]}\n"
SYSTEMCTL = """\
#!{python} -I
import sys
with open({folder!r} + "/calls", "a") as calls:
    print(*sys.argv[2:], file=calls)
if "show" in sys.argv:
    print("ActiveState=active\\nNextElapseUSecRealtime=Mon 2026-11-23 02:30:00 UTC")
"""
LOGINCTL = "#!{python} -I\nprint('Linger=no')\n"
CRONTAB = """\
#!{python} -I
import pathlib, sys
table = pathlib.Path({folder!r}, "table")
if sys.argv[1] == "-":
    table.write_text(sys.stdin.read())
elif table.exists():
    print(table.read_text(), end="")
else:
    sys.exit("no crontab for ada")
"""


@pytest.fixture
def tools(empty_bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the programs that are in PATH instead of the host's."""
    folder = empty_bench.folder / "tools"
    folder.mkdir()
    (empty_bench.folder / "nightly.yaml").write_text(PLAN)
    (empty_bench.folder / "runtime").mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(empty_bench.folder / "runtime"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(empty_bench.folder / "config"))
    monkeypatch.setenv("PATH", str(folder))
    return folder


def add(tools: Path, name: str, text: str) -> None:
    (tools / name).write_text(text.format(python=sys.executable, folder=str(tools)))
    (tools / name).chmod(0o755)


@pytest.fixture
def systemd(tools: Path) -> Path:
    add(tools, "systemctl", SYSTEMCTL)
    add(tools, "loginctl", LOGINCTL)
    return tools


@pytest.fixture
def cron(tools: Path) -> Path:
    add(tools, "crontab", CRONTAB)
    return tools


def unit_files(bench: Bench) -> list[str]:
    return sorted(path.name for path in bench.folder.glob("config/systemd/user/*"))


def test_a_timer_is_installed_reported_and_removed(systemd: Path, empty_bench: Bench) -> None:
    name = schedule_name(empty_bench.home)
    ran = empty_bench("schedule", "install", "--at", "03:15")
    assert ran.code == 0, ran.err
    assert unit_files(empty_bench) == [f"{name}.service", f"{name}.timer"]
    assert "OnCalendar=*-*-* *:15:00" in ran.out
    assert '"--if-due" "--at" "03:15"' in ran.out
    assert "loginctl enable-linger" in ran.out
    assert f"--user enable {name}.timer" in ran.out
    calls = (systemd / "calls").read_text().splitlines()
    assert calls[-3:] == ["daemon-reload", f"enable {name}.timer", f"restart {name}.timer"]
    status = empty_bench("schedule", "status")
    assert f"scheduled by systemd: {name}" in status.out
    assert re.search(r"next night: 20\d\d-\d\d-\d\dT03:15", status.out)
    assert "lingering is off" in status.out
    (service,) = empty_bench.folder.glob("config/systemd/user/*.service")
    service.write_text(service.read_text().replace('"--if-due" "--at" "03:15" ', ""))  # as an earlier version wrote it
    status = empty_bench("schedule", "status")
    assert "next night: Mon 2026-11-23 02:30:00 UTC" in status.out
    assert "skips the night when clocks go forward: run `suite schedule install` again" in status.out
    assert empty_bench("schedule", "remove").code == 0
    assert unit_files(empty_bench) == []
    assert (systemd / "calls").read_text().splitlines()[-2:] == [f"disable --now {name}.timer", "daemon-reload"]


@pytest.mark.parametrize("by", ["systemd", "cron"])
def test_a_dry_run_shows_all_and_writes_nothing(tools: Path, empty_bench: Bench, by: str) -> None:
    add(tools, "crontab", CRONTAB)
    ran = empty_bench("schedule", "install", "--dry-run", "--with", by)
    assert ran.code == 0, ran.err
    assert "suite.schedule" in ran.out
    assert unit_files(empty_bench) == []
    assert sorted(path.name for path in tools.iterdir()) == ["crontab"]
    assert not (empty_bench.home / "logs").exists()


def test_cron_takes_over_where_there_is_no_systemd(cron: Path, empty_bench: Bench) -> None:
    (cron / "table").write_text("0 4 * * * backup\n")
    ran = empty_bench("schedule", "install", "--at", "23:40")
    assert ran.code == 0, ran.err
    table = (cron / "table").read_text()
    assert table.startswith("0 4 * * * backup\n")
    assert "\n40 * * * * " in table
    document = empty_bench("schedule", "status", "--json").document
    assert document["by"] == "cron"
    assert "T23:40" in document["next"]
    assert document["last"]["meaning"] == "nothing was started since the installation"
    assert "last night: none yet; installed 20" in empty_bench("schedule", "status").out
    assert "scheduled by cron already" in empty_bench("schedule", "install", "--with", "systemd").sentence
    assert empty_bench("schedule", "remove").code == 0
    assert (cron / "table").read_text() == "0 4 * * * backup\n"


def test_busybox_may_have_no_crontab_yet(cron: Path, empty_bench: Bench) -> None:
    add(cron, "crontab", CRONTAB.replace("no crontab for ada", "crontab: can't open 'ada': No such file or directory"))
    assert empty_bench("schedule", "install", "--at", "23:40").code == 0
    assert (cron / "table").read_text().splitlines()[1].startswith("40 * * * * ")


def test_a_crontab_that_cannot_be_read_is_not_written(cron: Path, empty_bench: Bench) -> None:
    (cron / "table").write_text("0 4 * * * backup\n")
    refusing = CRONTAB.replace(
        "import", "import sys\nif '-l' in sys.argv:\n    sys.exit('you are not allowed')\nimport", 1
    )
    add(cron, "crontab", refusing)
    ran = empty_bench("schedule", "install")
    assert ran.code == 1
    assert "you are not allowed" in ran.sentence
    assert (cron / "table").read_text() == "0 4 * * * backup\n"


def test_a_schedule_that_could_not_run_is_refused(tools: Path, empty_bench: Bench) -> None:
    assert "This user has neither systemd nor `crontab`" in empty_bench("schedule", "install").sentence
    assert "write it as 02:30" in empty_bench("schedule", "install", "--at", "noon").sentence
    assert "there is nothing to remove" in empty_bench("schedule", "remove").sentence
    assert "other.yaml" in empty_bench("schedule", "install", "--plan", "other.yaml").sentence
    assert "`suite schedule install` schedules nights" in empty_bench("schedule", "status").out


def test_a_webhook_file_that_others_can_read_is_warned_about(tools: Path, empty_bench: Bench) -> None:
    secrets = empty_bench.folder / "config" / "edge-training-suite" / "nightly.env"
    secrets.parent.mkdir(parents=True)
    secrets.write_text("SUITE_WEBHOOK_URL='https://hooks.example/T0KEN'\n")
    secrets.chmod(0o644)
    out = empty_bench("schedule", "status").out
    assert f"others can read {secrets}" in out
    assert "T0KEN" not in out
    secrets.chmod(0o600)
    assert "others can read" not in empty_bench("schedule", "status").out


NIGHT = """\
import sys
import suite.schedule.__main__ as scheduled
scheduled._PROGRAM = (sys.executable, "-c", {child!r})
sys.exit(scheduled.main(sys.argv[1:]))
"""


def start(bench: Bench, child: str | None, *more: str) -> subprocess.Popen[str]:
    """Starts what timer and cron start, with another program in place of `suite nightly`."""
    how = ["-m", "suite.schedule"] if child is None else ["-c", NIGHT.format(child=child)]
    words = [*more, "--inventory", str(bench.folder / "inventory.yaml"), "--plan", str(bench.folder / "nightly.yaml")]
    environ = os.environ | {"SUITE_HOME": str(bench.home)}
    return subprocess.Popen([sys.executable, *how, *words], env=environ, stderr=subprocess.PIPE, text=True)


def last(bench: Bench) -> dict[str, object]:
    document: dict[str, object] = bench("schedule", "status", "--json").document["last"]
    return document


def test_a_scheduled_night_is_suite_nightly_with_its_output_in_a_log(tools: Path, empty_bench: Bench) -> None:
    (empty_bench.folder / "nightly.yaml").write_text("plans: {}\n")
    process = start(empty_bench, None)
    assert process.communicate(timeout=120)[1] == ""
    assert process.returncode == 2
    found = last(empty_bench)
    assert (found["exit_code"], str(found["meaning"])[:4]) == (2, "plan")
    log = Path(str(found["log"])).read_text()
    assert "nightly.yaml" in log
    assert log.endswith(f"ended with 2: {found['meaning']}\n")


def test_a_night_is_started_once_though_cron_asks_every_hour(tools: Path, empty_bench: Bench) -> None:
    child = f"open({str(empty_bench.folder / 'nights')!r}, 'a').write('.'); raise SystemExit(3)"
    codes = [start(empty_bench, child, "--if-due", "--at", "02:30").wait(120) for _ in range(2)]
    assert codes == [3, 0]
    assert (empty_bench.folder / "nights").read_text() == "."
    assert last(empty_bench)["meaning"] == "something regressed"


def test_a_night_that_a_signal_ended_is_recorded_with_a_shells_exit_code(tools: Path, empty_bench: Bench) -> None:
    assert start(empty_bench, "import os; os.kill(os.getpid(), 9)").wait(120) == 137
    found = last(empty_bench)
    assert (found["exit_code"], found["meaning"]) == (137, "a signal ended it")


def test_a_stop_reaches_the_night_and_is_waited_for(tools: Path, empty_bench: Bench) -> None:
    mark = empty_bench.folder / "going"
    child = (
        f"import pathlib, time; mark = pathlib.Path({str(mark)!r}); mark.touch()\n"
        "try:\n    time.sleep(300)\nexcept KeyboardInterrupt:\n    mark.write_text('stored')\n    raise SystemExit(130)"
    )
    process = start(empty_bench, child)
    wait_for(mark.exists, "the night's begin")
    second = start(empty_bench, child)  # a running night keeps another one from starting
    assert second.wait(120) == 0
    process.send_signal(signal.SIGTERM)
    assert process.wait(120) == 130
    assert mark.read_text() == "stored"
    assert last(empty_bench)["exit_code"] == 130


def test_a_night_whose_host_went_down_is_started_again_at_the_next_hour(tools: Path, empty_bench: Bench) -> None:
    (empty_bench.home / "logs").mkdir(parents=True)
    begun = {"started": "2999-01-01T02:30:00+00:00", "ended": None, "exit_code": None, "log": None}
    (empty_bench.home / "logs" / "last.json").write_text(json.dumps(begun))
    assert last(empty_bench)["meaning"] == "it did not end"
    assert start(empty_bench, "raise SystemExit(0)", "--if-due").wait(120) == 0
    assert last(empty_bench)["meaning"] == "nothing regressed"
