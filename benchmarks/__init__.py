"""Figures that are reported and never asserted: they depend on the machine (docs/developing.md).

The servers and stores they run against are those of the tests.
"""

import sys
from pathlib import Path

_TESTS = Path(__file__).parents[1] / "tests"
sys.path[:0] = [str(_TESTS / folder) for folder in ("devices", "twins", "reports")]
