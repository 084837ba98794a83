"""The texts of the systemd units: a oneshot service, and the timer that starts it.

Quoting follows systemd.syntax(7) and systemd.service(5): words in double quotes with C escapes, `%` doubled since it
begins a specifier. The `:` before the command turns substitution of variables off, so that `$` is only a character.
The program's own path may not hold quotes or backslashes there, so a shell is started that becomes the program.
"""

from __future__ import annotations

from suite import exit_codes
from suite.schedule.scheduled import Schedule

#: A night that is told to stop finishes the step under way and stores the session.
STOP_SECONDS = 600


def service_unit(schedule: Schedule) -> str:
    """The service. Oneshot, so that systemd never starts it twice at once."""
    command = " ".join([":/bin/sh", *map(quoted, ["-c", 'exec "$0" "$@"', *schedule.words()])])
    environment = "\n".join(f"Environment={quoted(f'{key}={value}')}" for key, value in schedule.environment().items())
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
SuccessExitStatus={exit_codes.REGRESSION} {exit_codes.INCOMPLETE}
KillMode=mixed
TimeoutStartSec=infinity
TimeoutStopSec={STOP_SECONDS}
"""


def timer_unit(schedule: Schedule) -> str:
    """The timer. Persistent: a night that was missed while the host was off is made up for when it is on again."""
    return f"""\
# Written by `suite schedule install`; `suite schedule remove` takes it away.
[Unit]
Description=Edge training suite: a night at {schedule.clock}

[Timer]
OnCalendar=*-*-* {schedule.clock}:00
Persistent=true
AccuracySec=1s
RandomizedDelaySec=0
Unit={schedule.name}.service

[Install]
WantedBy=timers.target
"""


def quoted(word: str) -> str:
    """One word of a command line or an assignment, whatever printable characters it holds."""
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{escaped}"'
