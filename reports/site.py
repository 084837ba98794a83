"""Building the site: ``assets/``, ``runs/<run>/`` with its page and its data, ``index.html``.

Everything is written atomically and from the store alone, so building again gives the same bytes. Pages of runs
that the store no longer has stay where they are.
"""

from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment

from reports import downloads
from reports.atomic import write_text
from reports.errors import UnknownRun
from reports.escaping import file_name
from reports.index_page import index_pages
from reports.measured import measurements
from reports.rendering import environment, render, write_assets
from reports.run_page import run_page
from reports.source import ReportSource
from reports.traces import gather


def build(source: ReportSource, folder: Path, run_ids: Sequence[str] | None = None) -> Path:
    """Build the pages of ``run_ids`` (of all runs when None) and the index of all runs.

    Returns:
        The page to open: the run's when one run was asked for, otherwise the index.

    Raises:
        UnknownRun: the store has no such run; nothing was written.
        SiteNotWritable: a file can't be written; the files before it are whole.
    """
    runs = source.runs()
    known = [run.run_id for run in runs]
    wanted = known if run_ids is None else list(run_ids)
    for run_id in wanted:
        if run_id not in known:
            raise UnknownRun(run_id, known)
    assets, jinja = write_assets(folder), environment()
    for run_id in wanted:
        _write_run(source, folder, run_id, jinja, assets)
    pages = index_pages(runs, lambda run_id: _link(folder, run_id))
    for page in pages:
        write_text(folder / page.file, render(jinja, "index.html", {"page": page, "root": "", "assets": assets}))
    return run_path(folder, wanted[0]) if run_ids is not None and len(wanted) == 1 else folder / "index.html"


def run_path(folder: Path, run_id: str) -> Path:
    """Where the page of a run is."""
    return folder / "runs" / file_name(run_id) / "index.html"


def _link(folder: Path, run_id: str) -> str:
    path = run_path(folder, run_id)
    return path.relative_to(folder).as_posix() if path.is_file() else ""


def _write_run(source: ReportSource, folder: Path, run_id: str, jinja: Environment, assets: dict[str, str]) -> None:
    document = source.document(run_id)
    found = measurements(document)
    path = run_path(folder, run_id)
    with downloads.trace_files(run_id, path.parent) as rows:
        lines = gather(source, found, rows)
    write_text(path.parent / downloads.DOCUMENT, downloads.document_text(document))
    write_text(path.parent / downloads.MEASUREMENTS, downloads.measurements_text(run_id, found))
    page = run_page(run_id, document, found, lines)
    # The page comes last: whoever sees it finds its data there.
    write_text(path, render(jinja, "run.html", {"page": page, "root": "../../", "assets": assets}))
