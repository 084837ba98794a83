"""Numbers and points in time in the form that people read.

Numbers have a fitting unit and three significant digits, intervals the unit of their value. Times are in the host's
zone, to the minute or second; unreadable ones are unchanged.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

NBSP = "\u00a0"


@dataclass(frozen=True)
class Unit:
    """``displayed value = stored value * factor``."""

    name: str
    factor: float


_RAISED = str.maketrans("-0123456789", "\u207b\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079")
_MS = ((1_000.0, Unit("ms", 1.0)), (600_000.0, Unit("s", 1e-3)), (math.inf, Unit("min", 1 / 60_000)))
_KIB = ((1_024.0, Unit("KiB", 1.0)), (10_240_000.0, Unit("MiB", 1 / 1_024)), (math.inf, Unit("GiB", 1 / 1_048_576)))
_MJ = ((1_000.0, Unit("mJ", 1.0)), (math.inf, Unit("J", 1e-3)))
_MW = ((1_000.0, Unit("mW", 1.0)), (math.inf, Unit("W", 1e-3)))
_SCALES = {"ms": _MS, "KiB": _KIB, "mJ": _MJ, "mW": _MW}


def unit_for(stored: float, stored_unit: str) -> Unit:
    """Returns the unit in which a value in ``ms``, ``KiB``, ``mJ`` or ``mW`` reads best; others are kept."""
    scale = _SCALES.get(stored_unit, ((math.inf, Unit(stored_unit, 1.0)),))
    return next((unit for below, unit in scale if abs(stored) < below), scale[-1][1])


def decimals(value: float, significant: int = 3) -> int:
    """Returns the decimal places that give ``significant`` digits, at most 6."""
    if value == 0:
        return 0
    # Rounded first, so that 9.996 counts as 10.0 and gets one place fewer.
    exponent = math.floor(math.log10(float(f"{abs(value):.{significant - 1}e}")))
    return max(0, min(6, significant - 1 - exponent))


def plain(value: float, places: int) -> str:
    """Formats a number, with digits in groups of three from 10,000 on and a true minus sign."""
    grouped = "," if abs(value) >= 10_000 else ""
    text = f"{value:{grouped}.{places}f}"
    return text.replace("-", "\u2212")


def quantity(stored: float, stored_unit: str) -> str:
    """``1234.5, "ms"`` is ``1.23 s``."""
    unit = unit_for(stored, stored_unit)
    value = stored * unit.factor
    return f"{plain(value, decimals(value))}{NBSP}{unit.name}"


def span(low: float, high: float, stored_unit: str, like: float) -> str:
    """Formats an interval with the unit and decimal places of its value ``like``: ``1.21-1.27 s``.

    Uses one more place than the value if the ends would look the same otherwise.
    """
    unit = unit_for(like, stored_unit)
    places = decimals(like * unit.factor)
    ends = [plain(end * unit.factor, places) for end in (low, high)]
    if ends[0] == ends[1] and low != high:
        ends = [plain(end * unit.factor, min(6, places + 1)) for end in (low, high)]
    return f"{ends[0]}\u2013{ends[1]}{NBSP}{unit.name}"


def times(ratio: float) -> str:
    """``0.482`` is ``0.48x`` (with the multiplication sign)."""
    return f"{plain(ratio, max(2, decimals(ratio)) if ratio < 10 else 1)}\u00d7"


def times_span(low: float, high: float) -> str:
    """Formats the interval of a ratio, both ends with the same places."""
    places = max(2, decimals(high)) if high < 10 else 1
    return f"{plain(low, places)}\u2013{plain(high, places)}\u00d7"


def scientific(value: float) -> str:
    """``3.2e-06`` is ``3.2 x 10^-6``, with raised digits; 0 is 0."""
    if value == 0:
        return "0"
    digits, _, exponent = f"{value:.1e}".partition("e")
    return f"{digits}{NBSP}\u00d7{NBSP}10{str(int(exponent)).translate(_RAISED)}"


def format_count(count: int, word: str, plural: str = "") -> str:
    """``1, "session"`` is ``1 session``; ``2`` is ``2 sessions``."""
    return f"{count:,}{NBSP}{word if count == 1 else plural or word + 's'}"


def format_list(words: list[str]) -> str:
    """``a, b and c``."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}" if words else ""


def number_ranges(numbers: Iterable[int]) -> str:
    """``0, 1, 2, 5`` is ``0-2,5``, as the kernel writes lists of CPUs."""
    runs: list[list[int]] = []
    for one in sorted(set(numbers)):
        if runs and one == runs[-1][1] + 1:
            runs[-1][1] = one
        else:
            runs.append([one, one])
    return ",".join(f"{first}" if first == last else f"{first}-{last}" for first, last in runs)


def format_duration(seconds: float) -> str:
    """Formats a duration: ``42 s``, ``12 min 5 s``, ``3 h 20 min``."""
    whole = round(seconds)
    hours, minutes, rest = whole // 3600, whole % 3600 // 60, whole % 60
    if hours:
        return f"{hours}{NBSP}h {minutes}{NBSP}min"
    return f"{minutes}{NBSP}min {rest}{NBSP}s" if minutes else f"{rest}{NBSP}s"


def parse_moment(iso: str | None) -> datetime | None:
    """Parses a moment as UTC (a text without an offset counts as UTC), None if it can't be read."""
    try:
        moment = datetime.fromisoformat(iso or "")
    except ValueError:
        return None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def moment_text(iso: str | None) -> str:
    """Formats a moment as ``2026-03-01 02:15 CET``, in the host's zone as dates on the command line are; an unreadable
    text is unchanged, None is empty."""
    moment = parse_moment(iso)
    return _local(moment).strftime("%Y-%m-%d %H:%M %Z") if moment else iso or ""


def moment_of_text(text: str) -> datetime | None:
    """Parses what :func:`moment_text` wrote in this zone, as UTC; None for another zone."""
    when, _, zone = text.rpartition(" ")
    try:
        plain_moment = datetime.strptime(when, "%Y-%m-%d %H:%M")
    except ValueError:
        return None
    # One hour a year occurs twice; the name of the zone says which one is meant.
    both = (plain_moment.replace(fold=fold).astimezone() for fold in (0, 1))
    return next((one.astimezone(UTC) for one in both if one.strftime("%Z") == zone), None)


def day_and_time(iso: str | None) -> str:
    """Formats a moment as :func:`moment_text` does, without the name of the zone."""
    moment = parse_moment(iso)
    return _local(moment).strftime("%Y-%m-%d %H:%M") if moment else iso or ""


def _local(moment: datetime) -> datetime:
    try:
        return moment.astimezone()
    except (OverflowError, OSError):  # at the ends of the calendar
        return moment


def duration(begin: str | None, end: str | None) -> str | None:
    """Formats the time between two moments, None if either is unknown or the end precedes the start."""
    first, last = parse_moment(begin), parse_moment(end)
    if first is None or last is None or last < first:
        return None
    return format_duration((last - first).total_seconds())


def sort_key(iso: str | None) -> str:
    """Returns a text that sorts like the moments themselves."""
    moment = parse_moment(iso)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%f") if moment else iso or ""


def percent_change(ratio: float) -> str:
    """``1.052`` is ``+5.2 %``, with a true minus sign."""
    change = 100 * (ratio - 1)
    return f"{'+' if change >= 0 else ''}{plain(change, 1)}\u00a0%"


def percent_span(low: float, high: float) -> str:
    """Formats the interval of a ratio as changes: ``+3.1 to +7.0 %``."""
    return f"{percent_change(low).removesuffix(chr(0xA0) + '%')} to {percent_change(high)}"
