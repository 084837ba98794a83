"""What may be the name of a run."""

from __future__ import annotations

import re

from foundation.errors import UserError
from foundation.text import printable

LONGEST = 64
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")
#: Words, dates, ids and hashes that the command line takes for a run already.
_TAKEN = re.compile(r"latest|previous|all|[0-9]+|[0-9]{4}-[0-9]{2}.*|[0-9a-f]{6,64}")


def checked_tag(name: str) -> str:
    """The name itself. UserError unless it can be told from run ids, dates, hashes and series."""
    shown = printable(name, 80)
    if _NAME.fullmatch(name) is None or len(name) > LONGEST:
        raise UserError(
            f"'{shown}' can be no tag: use letters, digits and . _ + -, beginning with a letter or digit, "
            f"{LONGEST} at most"
        )
    if _TAKEN.fullmatch(name) is not None:
        raise UserError(f"'{shown}' can be no tag, it reads like a run's id, date or hash: put a word before it")
    return name
