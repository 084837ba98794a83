"""What of a device's cache goes: what was not used lately, and what is over its limit."""

from __future__ import annotations

from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from devices.deployment.cache import Cached
from suite.retention import survey
from suite.retention.survey import Rules

NOW = datetime(2026, 11, 22, tzinfo=UTC)
RULES = Rules(30.0, NOW)


def used(days: float) -> datetime:
    return NOW - timedelta(days=days)


class Board:
    """A device with a cache of these folders, a megabyte each."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.present: list[Cached] = []
        self.removed: list[str] = []
        self.limit_mb: int | None = None

        @contextmanager
        def connect(entry, _locks):
            yield SimpleNamespace(
                transport=None, places=None, entry=SimpleNamespace(name=entry, cache_limit_mb=self.limit_mb)
            )

        monkeypatch.setattr(survey, "connect", connect)
        monkeypatch.setattr(survey, "cached", lambda *_: self.present)
        monkeypatch.setattr(survey, "remove", lambda _t, _p, items: self.removed.extend(item.name for item in items))

    def has(self, **days: float | None) -> None:
        self.present = [Cached(name, 10**6, None if ago is None else used(ago)) for name, ago in days.items()]

    def goes(self) -> dict[str, bool]:
        entry: Any = "board"
        return {item.name: item.goes for item in survey.survey_device(entry, Path(), RULES)}


@pytest.fixture
def board(monkeypatch):
    return Board(monkeypatch)


def test_what_was_not_used_lately_or_has_no_record_goes(board):
    board.has(unknown=None, old=31, lately=29)
    assert board.goes() == {"unknown": True, "old": True, "lately": False}
    whys = [item.why for item in survey.survey_device("board", None, RULES)]
    assert whys == ["no record of its use", "used 31 days ago", "used 29 days ago"]


def test_what_is_over_the_limit_goes_the_longest_unused_first(board):
    board.has(first=5, second=4, third=3)
    board.limit_mb = 2
    assert board.goes() == {"first": True, "second": False, "third": False}


def test_only_what_was_named_and_still_has_to_go_is_removed(board):
    board.has(old=40, used_since=1, not_named=50)
    freed = survey.clear_device("board", None, RULES, {"old", "used_since", "gone"})
    assert ([(item.name, item.size_bytes) for item in freed], board.removed) == ([("old", 10**6)], ["old"])
