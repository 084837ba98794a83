"""`suite selftest`: tries the suite's own rules on simulated numbers.

The simulation is not part of the installed package: it is among the benchmarks of a checkout (docs/regression.md).
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import click

from foundation.errors import UserError

_CHECKOUT = Path(__file__).parents[3]


@click.group("selftest")
def selftest_group() -> None:
    """Try the suite's own rules on simulated numbers."""


@selftest_group.command(context_settings={"ignore_unknown_options": True}, add_help_option=False)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def regression(arguments: tuple[str, ...]) -> int:
    """Count false alerts, steps caught and sessions spent, beside the rules of public tools.

    The same as `python -m benchmarks.regression` in a checkout of the project, which has the options (--help).
    """
    if not (_CHECKOUT / "benchmarks" / "regression").is_dir():
        raise UserError(
            "the simulation is not part of the installed package: run `python -m benchmarks.regression` in a checkout"
        )
    return subprocess.run([sys.executable, "-m", "benchmarks.regression", *arguments], cwd=_CHECKOUT).returncode
