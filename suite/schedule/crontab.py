"""The line for cron, in a block of comments by which it is found again; other lines of the user stay as they are.

Cron knows nothing of missed nights, so the line comes every hour, at the minute of the night, and the command does
nothing unless a night is due.
"""

from __future__ import annotations

import re
import shlex

from foundation.errors import UserError
from suite.schedule.scheduled import Schedule, secrets_file

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
