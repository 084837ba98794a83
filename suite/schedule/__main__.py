"""Carries out one night in its own process, with its output in a log. Started by timer or cron."""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from filelock import FileLock, Timeout

from foundation.errors import UserError
from suite.errors import ExitCode, SuiteError
from suite.home import Home
from suite.schedule.timetable import Started, clock_time, is_due, new_log, read_record, write_record

_PROGRAM = (sys.executable, "-P", "-c", "from suite.cli.main import main; main()")


def main(arguments: Sequence[str] | None = None) -> int:
    """Carries out a night and returns its exit code; returns 0 if none is due or one is already in progress."""
    parser = argparse.ArgumentParser(prog="python -m suite.schedule", description=__doc__)
    parser.add_argument("--inventory", type=Path, required=True)
    parser.add_argument("--plan", type=Path, required=True)
    parser.add_argument("--at", default="02:30", help="when nights start")
    parser.add_argument("--if-due", action="store_true", help="do nothing unless a night is due since then")
    given = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    words = ["nightly", "--inventory", str(given.inventory), "--plan", str(given.plan)]
    try:
        home = Home.locate(given.inventory)
        with FileLock(home.locks / "schedule.lock", timeout=0):
            if given.if_due and not is_due(read_record(home), clock_time(given.at), _now()):
                return ExitCode.OK
            return _night(home, words)
    except Timeout:
        return ExitCode.OK
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED
    except (SuiteError, UserError) as error:
        print(f"suite: {error}", file=sys.stderr)
        return error.exit_code


def _night(home: Home, words: Sequence[str]) -> int:
    started = _now()
    path = new_log(home, started)
    write_record(home, Started(started, log=str(path)))
    with path.open("ab") as log:
        code = _carried_out([*_PROGRAM, *words], log.fileno())
        ended = Started(started, _now(), code, str(path))
        log.write(f"ended with {code}: {ended.meaning}\n".encode())
    write_record(home, ended)
    return code


def _carried_out(command: Sequence[str], log: int) -> int:
    """Runs the night and returns its exit code. A stop is passed on and awaited, as the night stores its session."""
    # In its own session, so that Ctrl-C reaches it only from here, and only once.
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
    )
    while True:
        try:
            code = process.wait()
            break
        except KeyboardInterrupt:
            os.kill(process.pid, signal.SIGINT)
    return code if code >= 0 else 128 - code


def _now() -> datetime:
    return datetime.now().astimezone()


if __name__ == "__main__":
    sys.exit(main())
