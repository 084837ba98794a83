"""Runs, nights and devices for pages that are made by hand."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from reports.model.histories import DeviceSummary
from reports.tables.sections import Grid, Page
from tests.support.reports.report_fixtures import summary

WORKLOAD: dict[str, Any] = {"model": "tiny", "method": "prge", "quant": "int8", "backend": "xnnpack", "q": 4}


def at(night: int, hour: int = 2) -> str:
    return (datetime(2026, 1, 1, hour, tzinfo=UTC) + timedelta(days=night)).isoformat()


def night(number: int, **more: Any) -> Any:
    facts = {"started_at": at(number), "finished_at": at(number, 3), "purpose": "nightly"}
    return summary(f"n{number:03}", **(facts | {"verdicts": {"unchanged": 5}} | more))


def device(name: str, seen: int = 0, outcomes: dict[str, int] | None = None, **more: Any) -> DeviceSummary:
    return DeviceSummary(name, "jetson", False, f"n{seen:03}", at(seen, 3), outcomes or {"ok": 4}, **more)


def only_grid(page: Page, name: str) -> Grid:
    (grid,) = (grid for section in page.sections for grid in section.grids if grid.name == name)
    return grid


def attention_rows(section: Any) -> list[tuple[str, str]]:
    """Returns the name and state of each row that needs attention."""
    return [(row.cells[0].main, row.cells[1].main) for grid in section.grids for row in grid.rows]


def notes_of(grid: Grid) -> str:
    return " ".join(grid.notes).replace("\u00a0", " ")
