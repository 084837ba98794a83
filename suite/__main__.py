"""Starts the command line, for the console script `suite` and `python -m suite`.

Loading all commands takes a second; Ctrl-C during that time ends without a traceback, as it does later. Others may have
packages with the same names as ours, so before one is loaded, this module checks that Python finds ours.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

_PACKAGES = ("foundation", "devices", "workloads", "reports")
_HERE = Path(__file__).resolve().parents[1]


def main() -> None:
    """Loads the commands, runs the requested one and exits with its code."""
    if stranger := _stranger():
        print(f"suite: {stranger}", file=sys.stderr)
        sys.exit(1)  # suite.errors.ExitCode.ERROR, without loading more
    try:
        from suite.cli.main import main as run
    except KeyboardInterrupt:
        sys.exit(130)  # suite.errors.ExitCode.INTERRUPTED, without loading more
    run()


def _stranger() -> str:
    """Returns a sentence about the first package that is found instead of ours; empty if there is none."""
    for name in _PACKAGES:
        spec = find_spec(name)
        found = None if spec is None or spec.origin is None else Path(spec.origin).resolve()
        if found != _HERE / name / "__init__.py":
            where = "is missing" if found is None else f"comes from {found.parent}"
            return (
                f"the package `{name}` {where} instead of {_HERE / name}: install edge-training-suite into an "
                "environment of its own, or take the other folder off PYTHONPATH"
            )
    return ""


if __name__ == "__main__":
    main()
