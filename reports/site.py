"""Building the site: pages of runs, nights, series, devices and workloads, and the overview that leads to them.

Everything is written atomically and from the store alone, so building again gives the same bytes; a page is built anew
only when what it shows has changed (freshness.py). Pages of what the store no longer has stay where they are.
"""

from collections.abc import Sequence
from pathlib import Path

from reports import downloads, subjects
from reports.atomic import write_text
from reports.comparison_page import COMPARISON_CSV, comparison_csv, comparison_page
from reports.errors import UnknownRun
from reports.freshness import digest
from reports.index_page import index_file, index_pages
from reports.measured import measurements
from reports.places import comparison_place, night_place, run_place
from reports.run_page import run_page
from reports.source import ReportSource, RunSummary
from reports.traces import gather
from reports.writing import Site


def build(source: ReportSource, folder: Path, run_ids: Sequence[str] | None = None) -> Path:
    """Build the pages of ``run_ids`` with those of their series, devices and workloads (every page when None), and the
    overview. The page of a night comes first: it is what people wait for.

    Returns:
        The page to open: the run's (the night's, for a nightly run) when one was asked for, otherwise the overview.

    Raises:
        UnknownRun: the store has no such run; nothing was written.
        SiteNotWritable: a file can't be written; the files before it are whole.
    """
    runs = source.runs()
    known = {run.run_id: run for run in runs}
    wanted = _known(known, list(known) if run_ids is None else run_ids)
    site = Site(folder, _expected(source, wanted, [None] if run_ids is None else run_ids))
    for run in wanted:
        if run.purpose == "nightly":
            subjects.write_night(source, site, run)
    for run in wanted:
        _write_run(source, site, run)
    for run_id in [None] if run_ids is None else run_ids:
        subjects.write_all(source, site, run_id)
    _write_index(source, site, runs)
    if run_ids is not None and len(wanted) == 1:
        return page_of(folder, wanted[0])
    return folder / index_file(1)


def build_night(source: ReportSource, folder: Path, run_id: str) -> Path:
    """Build the page of a night alone, and give its path; raises as :func:`build` does."""
    (run,) = _known({run.run_id: run for run in source.runs()}, [run_id])
    site = Site(folder, {index_file(1)} | subjects.places(source, run_id))
    subjects.write_night(source, site, run)
    return folder / night_place(run_id)


def build_comparison(source: ReportSource, folder: Path, a: str, b: str) -> Path:
    """Build the page that sets run ``b`` beside the earlier run ``a``, with the assets it needs, and give its path.

    The pages of both runs are not built by this. Raises as :func:`build` does.
    """
    before, after = _known({run.run_id: run for run in source.runs()}, [a, b])
    site, place = Site(folder), comparison_place(a, b)
    made_from = digest(before.stamp, after.stamp)
    if not site.is_fresh(place, made_from):
        compared = source.compared(a, b)
        site.write_beside(place, COMPARISON_CSV, comparison_csv(compared.metrics))
        site.write_page(place, comparison_page(before, after, compared), made_from)
    return folder / place


def page_of(folder: Path, run: RunSummary) -> Path:
    """The page to open for a run: a night's verdicts come before its measurements."""
    return folder / (night_place if run.purpose == "nightly" else run_place)(run.run_id)


def _known(known: dict[str, RunSummary], wanted: Sequence[str]) -> list[RunSummary]:
    for run_id in wanted:
        if run_id not in known:
            raise UnknownRun(run_id, known)
    return [known[run_id] for run_id in wanted]


def _expected(source: ReportSource, wanted: Sequence[RunSummary], run_ids: Sequence[str | None]) -> set[str]:
    """The places of all pages that a build writes."""
    places = {index_file(1)} | {run_place(run.run_id) for run in wanted}
    places |= {night_place(run.run_id) for run in wanted if run.purpose == "nightly"}
    return places.union(*(subjects.places(source, run_id) for run_id in run_ids))


def _write_run(source: ReportSource, site: Site, run: RunSummary) -> None:
    place, made_from = run_place(run.run_id), digest(run.stamp)
    if site.is_fresh(place, made_from):
        return
    document = source.document(run.run_id)
    found = measurements(document)
    path = site.folder / place
    with downloads.trace_files(run.run_id, path.parent) as rows:
        lines = gather(source, found, rows)
    write_text(path.parent / downloads.DOCUMENT, downloads.document_text(document))
    write_text(path.parent / downloads.MEASUREMENTS, downloads.measurements_text(run.run_id, found))
    page = run_page(run.run_id, document, found, lines, night_place(run.run_id) if run.purpose == "nightly" else "")
    # The page comes last: whoever sees it finds its data there.
    site.write(place, "run.html", page, made_from)


def _write_index(source: ReportSource, site: Site, runs: Sequence[RunSummary]) -> None:
    pages = index_pages(runs, source.devices(), source.workloads(), site.built)
    for number, page in enumerate(pages, 1):
        site.write_page(index_file(number), page)
