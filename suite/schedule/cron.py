"""The user's crontab, read and written by `crontab`; lines of others stay as they are."""

from __future__ import annotations

import shutil

from foundation.text import printable
from suite.errors import SuiteError
from suite.schedule.crontab import clock_in, entered, without
from suite.schedule.programs import asked, done
from suite.schedule.scheduled import Schedule

#: What `crontab -l` says where there is no table yet: Debian's, cronie and dcron; busybox.
_NONE_YET = ("no crontab for", "No such file or directory")


def is_available() -> bool:
    """Whether there is a `crontab`."""
    return shutil.which("crontab") is not None


def install(schedule: Schedule) -> None:
    """Adds the line, or replaces an earlier one of the same suite home."""
    done(["crontab", "-"], entered(schedule, _table()))


def clock(name: str) -> str | None:
    """When the nights of the line begin; None when there is no line."""
    return clock_in(name, _table()) if is_available() else None


def remove(name: str) -> None:
    """Takes the line away."""
    done(["crontab", "-"], without(name, _table()))


def _table() -> str:
    """The crontab there is. SuiteError when it can't be read: what would be written then had lost it."""
    found = asked(["crontab", "-l"])
    if found.returncode == 0:
        return found.stdout
    if any(words in found.stderr for words in _NONE_YET):
        return ""
    raise SuiteError(f"crontab -l ended with {found.returncode}: {printable(found.stderr.strip(), 200)}")
