"""Running the programs of the host that schedule things; what they refuse becomes one sentence."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence

from foundation.text import printable
from suite.errors import SuiteError

TIMEOUT_S = 60


def asked(command: Sequence[str], given: str | None = None) -> subprocess.CompletedProcess[str]:
    """Runs a program with `given` on its standard input, whatever it ends with. SuiteError when it can't be run."""
    try:
        return subprocess.run(command, input=given, capture_output=True, text=True, timeout=TIMEOUT_S, errors="replace")
    except OSError as error:
        raise SuiteError(f"{command[0]} cannot be run ({error.strerror}): install it") from error
    except subprocess.TimeoutExpired:
        raise SuiteError(f"{command[0]} did not answer within {TIMEOUT_S} s: try again") from None


def done(command: Sequence[str], given: str | None = None) -> str:
    """Its output. SuiteError with what it said when it ends with another code than 0."""
    found = asked(command, given)
    if found.returncode != 0:
        said = printable(found.stderr.strip() or found.stdout.strip() or "it said nothing", 300)
        raise SuiteError(f"{' '.join(command[:4])} ended with {found.returncode}: {said}")
    return found.stdout
