"""Reads and writes the user's crontab by `crontab`: a line in a block of comments that identifies it.

The user's other lines are not changed.
"""

from __future__ import annotations

import re
import shlex
import shutil

from foundation.errors import UserError
from foundation.text import printable
from suite.errors import SuiteError
from suite.schedule.timetable import Schedule, program_output, run_program, secrets_file

#: Cron refuses longer commands (MAX_COMMAND of Vixie cron).
LONGEST = 990
_AT = re.compile(r"--at (\d\d:\d\d) ")


def entry(schedule: Schedule) -> str:
    """Returns the block. Raises UserError if cron could not read it."""
    secrets = shlex.quote(str(secrets_file()))
    assignments = "; ".join(f"{key}={shlex.quote(value)}" for key, value in schedule.environment().items())
    words = shlex.join(schedule.words())
    command = f'set -a; f={secrets}; [ ! -f "$f" ] || . "$f"; {assignments}; exec {words}'
    if "\\" in command:
        raise UserError("a path or PATH has a backslash, which cron can't handle: use systemd, or other paths")
    escaped = command.replace("%", "\\%")
    if len(escaped.encode()) > LONGEST:
        raise UserError(
            f"the line for cron has {len(escaped.encode())} bytes, but at most {LONGEST} are allowed: shorten PATH"
        )
    return f"{_begin(schedule.name)}\n{schedule.at.minute} * * * * {escaped}\n{_end(schedule.name)}\n"


def without(name: str, table: str) -> str:
    """Returns the table without the block of this name."""
    block = rf"^{re.escape(_begin(name))}\n.*?^{re.escape(_end(name))}(?:\n|\Z)"
    return re.sub(block, "", table, flags=re.MULTILINE | re.DOTALL)


def with_entry(schedule: Schedule, table: str) -> str:
    """Returns the table with the block, replacing an earlier one."""
    rest = without(schedule.name, table)
    return f"{rest}{'' if rest.endswith(chr(10)) or not rest else chr(10)}{entry(schedule)}"


def clock_in(name: str, table: str) -> str | None:
    """Returns the time of day in the block, or None without a block."""
    if without(name, table) == table:
        return None
    block = table[table.index(_begin(name)) :]
    found = _AT.search(block)
    return found[1] if found else None


def _begin(name: str) -> str:
    return f"# {name}: written by `suite schedule install`"


def _end(name: str) -> str:
    return f"# {name}: end"


#: What `crontab -l` prints without a table: Debian's cron, cronie and dcron; busybox.
_NONE_YET = ("no crontab for", "No such file or directory")


def is_available() -> bool:
    """Returns whether `crontab` is installed."""
    return shutil.which("crontab") is not None


def install(schedule: Schedule) -> None:
    """Adds the line, or replaces an earlier one of the same suite home."""
    program_output(["crontab", "-"], with_entry(schedule, _table()))


def clock(name: str) -> str | None:
    """Returns when the nights of the line start, or None without a line."""
    return clock_in(name, _table()) if is_available() else None


def remove(name: str) -> None:
    """Removes the line."""
    program_output(["crontab", "-"], without(name, _table()))


def _table() -> str:
    """Returns the current crontab. Raises SuiteError if it cannot be read, as writing would then lose it."""
    found = run_program(["crontab", "-l"])
    if found.returncode == 0:
        return found.stdout
    if any(words in found.stderr for words in _NONE_YET):
        return ""
    raise SuiteError(f"crontab -l ended with {found.returncode}: {printable(found.stderr.strip(), 200)}")
