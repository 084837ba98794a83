"""Who types: kept beside what a person decides (acceptances, remarks, tags)."""

from __future__ import annotations

import getpass

from foundation.text import printable


def author() -> str:
    """`$USER`, else what the system says, else `unknown`."""
    try:
        return printable(getpass.getuser(), 80)
    except (KeyError, OSError):
        return "unknown"
