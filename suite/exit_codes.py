"""Exit codes of `suite`, one for each outcome."""

OK = 0
ERROR = 1
USAGE = 2
REGRESSION = 3
INCOMPLETE = 4
"""Inconclusive, or partly failed."""
INTERRUPTED = 130
"""As shells say it: 128 + SIGINT."""
