"""The user's crontab, read and written by `crontab`: one line in a block of comments by which it is found again.

Other lines of the user stay as they are.
"""

from __future__ import annotations

import re
import shlex
import shutil

from foundation.errors import UserError
from foundation.text import printable
from suite.errors import SuiteError
from suite.schedule.timetable import Schedule, asked, done, secrets_file

#: Cron refuses longer commands (MAX_COMMAND of Vixie cron).
LONGEST = 990
_AT = re.compile(r"--at (\d\d:\d\d) ")


def entry(schedule: Schedule) -> str:
    """The block. UserError where cron could not read it."""
    secrets = shlex.quote(str(secrets_file()))
    assignments = "; ".join(f"{key}={shlex.quote(value)}" for key, value in schedule.environment().items())
    words = shlex.join(schedule.words("--if-due", "--at", schedule.clock))
    command = f'set -a; f={secrets}; [ ! -f "$f" ] || . "$f"; {assignments}; exec {words}'
    if "\\" in command:
        raise UserError("a path or PATH holds a backslash, which cron can't keep: use systemd, or other paths")
    escaped = command.replace("%", "\\%")
    if len(escaped.encode()) > LONGEST:
        raise UserError(
            f"the line for cron has {len(escaped.encode())} bytes, {LONGEST} are allowed: shorten PATH for this command"
        )
    return f"{_begin(schedule.name)}\n{schedule.at.minute} * * * * {escaped}\n{_end(schedule.name)}\n"


def without(name: str, table: str) -> str:
    """The table without the block of this name."""
    block = rf"^{re.escape(_begin(name))}\n.*?^{re.escape(_end(name))}(?:\n|\Z)"
    return re.sub(block, "", table, flags=re.MULTILINE | re.DOTALL)


def entered(schedule: Schedule, table: str) -> str:
    """The table with the block, in the place of an earlier one."""
    rest = without(schedule.name, table)
    return f"{rest}{'' if rest.endswith(chr(10)) or not rest else chr(10)}{entry(schedule)}"


def clock_in(name: str, table: str) -> str | None:
    """The time of day of the block, None where there is none."""
    if without(name, table) == table:
        return None
    block = table[table.index(_begin(name)) :]
    found = _AT.search(block)
    return found[1] if found else None


def _begin(name: str) -> str:
    return f"# {name}: written by `suite schedule install`"


def _end(name: str) -> str:
    return f"# {name}: end"


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
