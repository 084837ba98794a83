"""`make bundle`: builds the runner for boards and phones ahead of the first run that needs it."""

from __future__ import annotations

import sys

from devices.bundle import BUNDLE_MACHINE, build_bundle
from foundation.errors import UserError
from suite import exit_codes
from suite.home import Home


def main() -> int:
    """Prints the bundle's folder and size; exit code 2 and a sentence when the user has something to mend."""
    try:
        bundle = build_bundle(BUNDLE_MACHINE, Home.locate().runner, print)
    except UserError as error:
        print(error, file=sys.stderr)
        return exit_codes.USAGE
    print(f"{bundle.folder}: {len(bundle.files)} files, {bundle.size_bytes / 1e6:.1f} MB, for {bundle.machine}")
    return exit_codes.OK


if __name__ == "__main__":
    sys.exit(main())
