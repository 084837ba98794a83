"""The list of runs, newest first, in pages of a size that stays light."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from reports.moments import duration, shown, sort_key
from reports.palette import setting_order, slot
from reports.source import RunSummary
from reports.status import Status, glossary, status

RUNS_ON_A_PAGE = 200


@dataclass(frozen=True)
class RunRow:
    """One run; ``link`` is empty when its page has not been built."""

    run_id: str
    link: str
    started: str
    started_sort: str
    lasted: str
    status: Status
    devices: Sequence[str]
    settings: Sequence[tuple[str, int]]
    measurements: int
    command: str


@dataclass(frozen=True)
class IndexPage:
    """One page of the list, ``number`` of ``count``; the first is index.html."""

    rows: Sequence[RunRow]
    total: int
    number: int
    count: int
    meanings: Sequence[Status]

    @property
    def file(self) -> str:
        """Its file name."""
        return index_file(self.number)


def index_file(number: int) -> str:
    """The file of the page ``number``, counted from 1."""
    return "index.html" if number == 1 else f"index-{number}.html"


def newest_first(runs: Sequence[RunSummary]) -> list[RunSummary]:
    """By their beginning, ties by name."""
    return sorted(runs, key=lambda run: (sort_key(run.started_at), run.run_id), reverse=True)


def index_pages(runs: Sequence[RunSummary], link_of: Callable[[str], str]) -> list[IndexPage]:
    """At least one page, also when there is no run; ``link_of`` gives the link of a run's page or nothing."""
    rows = [_row(run, link_of(run.run_id)) for run in newest_first(runs)]
    count = max(1, -(-len(rows) // RUNS_ON_A_PAGE))
    pages = []
    for number in range(1, count + 1):
        part = rows[(number - 1) * RUNS_ON_A_PAGE : number * RUNS_ON_A_PAGE]
        pages.append(IndexPage(part, len(rows), number, count, glossary({row.status.word for row in part})))
    return pages


def _row(run: RunSummary, link: str) -> RunRow:
    return RunRow(
        run_id=run.run_id,
        link=link,
        started=shown(run.started_at),
        started_sort=sort_key(run.started_at),
        lasted=duration(run.started_at, run.finished_at) or "not finished",
        status=status(run.status),
        devices=list(run.devices),
        settings=[(name, slot(name)) for name in sorted(run.settings, key=setting_order)],
        measurements=run.measurements,
        command=run.command,
    )
