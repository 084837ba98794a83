"""Points in time as the pages show them: UTC, to the minute or second, the unreadable ones as they came."""

from datetime import UTC, datetime

from reports.numbers import lasted


def parsed(iso: str | None) -> datetime | None:
    """The moment in UTC (a text without an offset is taken as UTC), or None when it can't be read."""
    try:
        moment = datetime.fromisoformat(iso or "")
    except ValueError:
        return None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def shown(iso: str | None) -> str:
    """``2026-03-01 02:15 UTC``; an unreadable text unchanged; nothing for None."""
    moment = parsed(iso)
    return moment.strftime("%Y-%m-%d %H:%M UTC") if moment else iso or ""


def duration(begin: str | None, end: str | None) -> str | None:
    """How long it took, or None when either end is unknown or the end lies before the beginning."""
    first, last = parsed(begin), parsed(end)
    if first is None or last is None or last < first:
        return None
    return lasted((last - first).total_seconds())


def sort_key(iso: str | None) -> str:
    """A text that sorts as the moments do."""
    moment = parsed(iso)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%f") if moment else iso or ""
