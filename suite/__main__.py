"""What the console script `suite` and `python -m suite` start.

Loading all commands takes a second: Ctrl-C in it ends as it does later, without a traceback.
"""

from __future__ import annotations

import sys


def main() -> None:
    """Load the commands and run the one that was asked for; leaves with its exit code."""
    try:
        from suite.cli.main import main as run
    except KeyboardInterrupt:
        sys.exit(130)  # suite.exit_codes.INTERRUPTED, without loading more
    run()


if __name__ == "__main__":
    main()
