"""What the console script `suite` and `python -m suite` start.

Loading all commands takes a second: Ctrl-C during it ends without a traceback, as it does later.
"""

from __future__ import annotations

import sys


def main() -> None:
    """Loads the commands, runs the requested one and exits with its code."""
    try:
        from suite.cli.main import main as run
    except KeyboardInterrupt:
        sys.exit(130)  # suite.errors.ExitCode.INTERRUPTED, without loading more
    run()


if __name__ == "__main__":
    main()
