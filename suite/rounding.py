"""Numbers as people read them: three significant digits, never a bare 0 for a small value."""

from __future__ import annotations


def format_rounded(value: float) -> str:
    """Formats `value` with two decimals below 10, one below 100, none above: 1.27, 34.5, 812."""
    size = abs(value)
    # Compared with the rounded limits, so that 9.996 is 10.0 and not 10.00.
    decimals = 2 if size < 9.995 else 1 if size < 99.95 else 0
    return f"{value:.{decimals}f}"


def format_duration(seconds: float) -> str:
    """Formats seconds up to two minutes, then minutes, then hours."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
