"""`suite data`: exports runs as tables or for other labs, and imports theirs.

`suite trace` writes a run for ui.perfetto.dev; `suite store rebuild` rebuilds the store from its journal.
"""

from __future__ import annotations

from pathlib import Path

import click

from foundation.errors import listed
from suite.cli.completion import complete_run, complete_runs
from suite.cli.options import inventory_option, open_store
from suite.cli.output import print_line
from suite.errors import ExitCode
from suite.exchange.dump import export_documents, export_tables
from suite.exchange.importing import check_lab, import_run, read_document
from suite.exchange.perfetto import write_trace
from suite.home import Home
from suite.recovery.rebuild import Rebuilt, rebuild
from suite.store.run_contents import chosen_runs
from suite.store.store import Store


@click.group("data")
def data_group() -> None:
    """Export measurements from the store, or import another lab's."""


@data_group.command("export")
@click.argument("selection", metavar="RUN|all", shell_complete=complete_runs)
@click.option(
    "--format",
    "file_format",
    type=click.Choice(("csv", "json", "parquet")),
    default="csv",
    show_default=True,
    help="csv and parquet: five tables over all runs; json: a file per run, which another lab can import.",
)
@click.option(
    "--to",
    "folder",
    type=click.Path(path_type=Path),
    default=Path("export"),
    show_default=True,
    help="Folder for the files.",
)
@inventory_option
def export_data(selection: str, file_format: str, folder: Path, inventory_path: Path) -> int:
    """Write measurements, sessions, steps, samples and verdicts to files.

    \b
    suite data export all --format parquet --to tables
    suite data export latest --format json
    """
    with open_store(inventory_path, nothing="nothing to export") as store:
        runs = chosen_runs(store, selection, own_only=file_format == "json")
        if file_format == "json":
            written = export_documents(store, runs, folder)
        else:
            written = export_tables(store, runs, file_format, folder)
    for path in written:
        print_line(str(path))
    return ExitCode.OK


@data_group.command("import")
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--from", "lab", required=True, metavar="LAB", help="Who measured them; becomes a prefix of its devices' names."
)
@inventory_option
def import_data(files: tuple[Path, ...], lab: str, inventory_path: Path) -> int:
    """Import runs that another lab exported as JSON into the store, kept apart from your own.

    \b
    suite data import 2026-11-22T14-03-22-ab12.json --from bonn
    """
    check_lab(lab)
    home = Home.locate(inventory_path)
    store: Store | None = None
    try:
        for path in files:
            document = read_document(path)  # before the store is created, so that a wrong file leaves nothing behind
            store = store or Store.open(home.store_path)
            found = import_run(store, document, lab, path.name)
            if found.new:
                print_line(f"{found.run_id}: {found.measurements} measurements, {found.sessions} sessions of {lab}")
            else:
                print_line(f"{found.run_id} is in the store already; nothing was changed")
    finally:
        if store is not None:
            store.close()
    return ExitCode.OK


@click.command()
@click.argument("run", metavar="RUN", shell_complete=complete_run)
@click.option(
    "--to",
    "path",
    type=click.Path(path_type=Path),
    help="The file; compressed if its name ends in .gz. Default: trace-RUN.json, with .gz if it is large.",
)
@inventory_option
def trace(run: str, path: Path | None, inventory_path: Path) -> int:
    """Write the steps and sensors of a run as a trace that https://ui.perfetto.dev opens.

    \b
    suite trace latest
    suite trace 2026-11-22T14-03-22-ab12 --to run.json.gz
    """
    with open_store(inventory_path, nothing="no run yet") as store:
        print_line(str(write_trace(store, run, path)))
    return ExitCode.OK


_NAMES = {
    **{"tag": "tags", "acceptance": "acceptances", "annotation": "remarks", "run": "runs", "training": "trainings"},
    "finding_note": "notes on findings",
}


@click.group("store")
def store_group() -> None:
    """Maintain the store of all measurements."""


@store_group.command("rebuild")
@inventory_option
def rebuild_store(inventory_path: Path) -> int:
    """Rebuild a damaged or missing store from the journal beside it.

    The damaged file is kept under another name; an intact store is not changed.

    \b
    suite store rebuild
    """
    found = rebuild(Home.locate(inventory_path))
    for line in _lines(found):
        print_line(line)
    return ExitCode.INCOMPLETE if any(found.lost.values()) or found.unusable else ExitCode.OK


def _lines(found: Rebuilt) -> list[str]:
    counts = ", ".join(f"{count} {name}s" for name, count in found.counts.items())
    lines = [f"the store was rebuilt from its journal: {counts}"]
    if found.aside is not None:
        lines.append(f"the damaged file was renamed to {found.aside}")
    for name, lost in found.lost.items():
        if lost:
            what = f"{len(lost)} {_NAMES[name]}" + (f" ({listed(lost)})" if name in ("run", "training") else "")
            lines.append(f"not in the journal, as they are older than it: {what}")
    if any(found.lost.values()):
        lines.append("only a copy of the store would have those; the raw output of runs is in runs/")
    if found.unusable:
        lines.append(
            f"{found.unusable} lines or transactions of the journal are damaged, or refer to what is not in it"
        )
    return lines
