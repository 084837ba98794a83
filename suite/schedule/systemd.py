"""Installs a oneshot service and its timer in the user's systemd, as files in ~/.config/systemd/user.

Everything else is done by systemctl.
"""

from __future__ import annotations

import getpass
import re
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from foundation.atomic import write_atomic
from foundation.errors import UserError
from foundation.text import printable
from suite.errors import ExitCode, SuiteError
from suite.schedule.timetable import Schedule, configuration, program_output, run_program

#: A night that is asked to stop finishes the current step and stores the session.
STOP_SECONDS = 600


def service_unit(schedule: Schedule) -> str:
    """Returns the service unit. It is oneshot, so that systemd never runs it twice at the same time."""
    command = " ".join([":/bin/sh", *map(quote_word, ["-c", 'exec "$0" "$@"', *schedule.words()])])
    variables = [f"{key}={value}" for key, value in schedule.environment().items()]
    environment = "\n".join(f"Environment={quote_word(variable)}" for variable in variables)
    return f"""\
# Written by `suite schedule install`; `suite schedule remove` takes it away.
[Unit]
Description=Edge training suite: measure and judge a night

[Service]
Type=oneshot
ExecStart={command}
{environment}
# SUITE_WEBHOOK_URL=... may stand there; the file is yours, and it need not exist.
EnvironmentFile=-%E/edge-training-suite/nightly.env
# A regression or an inconclusive series is an outcome of a night, not a failure of the service.
SuccessExitStatus={ExitCode.REGRESSION} {ExitCode.INCOMPLETE}
KillMode=mixed
TimeoutStartSec=infinity
TimeoutStopSec={STOP_SECONDS}
"""


def timer_unit(schedule: Schedule) -> str:
    """Returns the timer unit. It is hourly, and persistent to make up for a night missed while the host was off.

    With a time of day, systemd would skip the whole night when clocks skip that time.
    """
    return f"""\
# Written by `suite schedule install`; `suite schedule remove` takes it away.
[Unit]
Description=Edge training suite: a night at {schedule.clock}

[Timer]
OnCalendar=*-*-* *:{schedule.at:%M}:00
Persistent=true
AccuracySec=1s
RandomizedDelaySec=0
Unit={schedule.name}.service

[Install]
WantedBy=timers.target
"""


def quote_word(word: str) -> str:
    """Quotes one word of a command line or an assignment, whatever printable characters it contains."""
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{escaped}"'


_AT = re.compile(r'"--at" "(\d\d:\d\d)"')
_SYSTEMCTL = ("systemctl", "--user")


def is_available() -> bool:
    """Returns whether this user's systemd answers."""
    return (
        shutil.which("systemctl") is not None
        and run_program([*_SYSTEMCTL, "show", "--property=Version"]).returncode == 0
    )


def units(schedule: Schedule) -> dict[Path, str]:
    """Returns the text of each unit file, by path."""
    service, timer = _files(schedule.name)
    return {service: service_unit(schedule), timer: timer_unit(schedule)}


def verify(schedule: Schedule) -> None:
    """Raises UserError if `systemd-analyze verify` is available and rejects the units."""
    if shutil.which("systemd-analyze") is None:
        return
    with tempfile.TemporaryDirectory() as folder:
        paths = []
        for path, text in units(schedule).items():
            paths.append(Path(folder) / path.name)
            paths[-1].write_text(text)
        found = run_program(["systemd-analyze", "--user", "verify", *map(str, paths)])
    if found.returncode != 0:
        raise UserError(f"systemd does not accept the units: {printable(found.stderr.strip(), 400)}")


def install(schedule: Schedule) -> None:
    """Writes the units and starts the timer, replacing an existing one."""
    verify(schedule)
    for path, text in units(schedule).items():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(path, text.encode())
        except OSError as error:
            raise SuiteError(f"{path} cannot be written ({error.strerror}): make its folder writable") from error
    program_output([*_SYSTEMCTL, "daemon-reload"])
    program_output([*_SYSTEMCTL, "enable", _timer(schedule.name)])
    program_output([*_SYSTEMCTL, "restart", _timer(schedule.name)])


def is_installed(name: str) -> bool:
    """Returns whether the timer's file exists."""
    return _files(name)[1].exists()


def clock(name: str) -> str | None:
    """Returns when the nights of the service start, or None for an earlier version's, which starts them immediately."""
    try:
        found = _AT.search(_files(name)[0].read_text())
    except OSError:
        return None
    return found[1] if found else None


def remove(name: str) -> None:
    """Stops the timer and removes the units. A night in progress finishes."""
    program_output([*_SYSTEMCTL, "disable", "--now", _timer(name)])
    for path in _files(name):
        path.unlink(missing_ok=True)
    program_output([*_SYSTEMCTL, "daemon-reload"])


def timer_says(name: str) -> Mapping[str, str]:
    """Returns the timer's `ActiveState`, `NextElapseUSecRealtime` and `LastTriggerUSec`, as systemd formats them.

    Empty if this user's systemd does not answer, such as while the user is not logged in.
    """
    wanted = "--property=ActiveState,NextElapseUSecRealtime,LastTriggerUSec"
    found = run_program([*_SYSTEMCTL, "show", _timer(name), wanted])
    lines = found.stdout.splitlines() if found.returncode == 0 else []
    return dict(line.split("=", 1) for line in lines if "=" in line)


def lingers() -> bool | None:
    """Returns whether the user's timers run while nobody is logged in, or None if unknown."""
    found = run_program(["loginctl", "show-user", getpass.getuser(), "--property=Linger"])
    answer = found.stdout.strip().partition("=")[2]
    return {"yes": True, "no": False}.get(answer) if found.returncode == 0 else None


def _files(name: str) -> tuple[Path, Path]:
    folder = configuration("systemd", "user")
    return folder / f"{name}.service", folder / _timer(name)


def _timer(name: str) -> str:
    return f"{name}.timer"
