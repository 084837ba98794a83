"""Passwords and passphrases: from the environment variable that the inventory names, else asked for on a terminal.

They are kept in memory for the life of the process, so that a connection that was lost can be made anew without asking.
"""

from __future__ import annotations

import getpass
import os
import sys
import threading

from devices.errors import AccessRefused
from foundation.text import printable

_ASKED: dict[str, str] = {}
_ASKING = threading.Lock()  # devices are connected side by side, and there is one terminal


def from_environment(variable: str, purpose: str) -> str:
    """The secret in that variable. Raises `AccessRefused` if it isn't set."""
    secret = os.environ.get(variable)
    if not secret:
        raise AccessRefused(
            f"{purpose} is to be in the environment variable {printable(variable)!r}, which is not set; set it first."
        )
    return secret


def asked(purpose: str) -> str | None:
    """What the user types without echo; None where there is no terminal to ask on, or nothing was typed."""
    with _ASKING:
        if purpose not in _ASKED:
            if not (sys.stdin and sys.stdin.isatty() and sys.stderr.isatty()):
                return None
            try:
                _ASKED[purpose] = getpass.getpass(f"{purpose[:1].upper()}{purpose[1:]}: ", sys.stderr)
            except EOFError:
                return None
        return _ASKED[purpose] or None


def forget(purpose: str) -> None:
    """What was typed is wrong: ask again next time."""
    with _ASKING:
        _ASKED.pop(purpose, None)
