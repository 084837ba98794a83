"""Experiments on disk: `experiments/<id>/experiment.json` in the home, and beside it the page."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

from foundation.atomic import write_atomic
from foundation.errors import UserError, unknown_name
from foundation.foreign_files import DAMAGED
from foundation.unavailable import Json
from reports.model.experiment import Experiment
from reports.pages.experiment import experiment_page
from reports.site.writing import Site, write_single_file
from suite.errors import StoreError
from suite.home import EXPERIMENT, Home

LATEST = "latest"
_PAGE = "experiment.html"


def keep_experiment(found: Experiment, home: Home) -> None:
    """Writes the document, whole or not at all. Raises StoreError."""
    _write(home.experiment_folder(found.experiment_id) / EXPERIMENT, found.document(), "the experiment")


def _write(path: Path, document: Json, what: str) -> None:
    try:
        write_atomic(path, json.dumps(document, indent=1).encode())
    except OSError as error:
        raise StoreError(
            f"{what} cannot be written to {path} ({error.strerror}, error {error.errno}): free space or make "
            "the folder writable, then go on with --resume."
        ) from error


def own_path(experiment_id: str, part: str, home: Home) -> Path:
    """Returns where a part of the experiment's own kind keeps what it found; `part` is what it calls itself."""
    return home.experiment_folder(experiment_id) / f"{part}.json"


def keep_own(path: Path, document: Json) -> None:
    """Writes what a part of the experiment's own kind found. Raises StoreError."""
    _write(path, document, "what a part found")


def read_own(path: Path) -> Json:
    """Returns what `keep_own` wrote, None if there is nothing that can be read."""
    try:
        found: Json = json.loads(path.read_bytes())
    except (OSError, *DAMAGED):
        return None
    return found


def read_experiment(name: str, home: Home) -> Experiment:
    """Returns an experiment by its id, or the latest one. Raises UserError if there is none that can be read."""
    known = home.experiment_ids()
    if not known:
        raise UserError("No experiment was made yet: make one with `suite experiment NAME`.")
    chosen = known[-1] if name == LATEST else name
    if chosen not in known:
        raise unknown_name("experiment's id", name, [*known, LATEST])
    path = home.experiment_folder(chosen) / EXPERIMENT
    try:
        return Experiment.from_document(json.loads(path.read_bytes()))
    except (OSError, *DAMAGED) as error:
        raise UserError(
            f"The experiment {path} can't be read ({type(error).__name__}: {error}): it is damaged or of another "
            "version of the suite; make it again."
        ) from error


def kept_experiments(home: Home) -> Iterator[Experiment]:
    """Yields the experiments that can be read, the newest first."""
    for name in reversed(home.experiment_ids()):
        try:
            yield read_experiment(name, home)
        except UserError:
            continue


def open_experiment(name: str | None, home: Home) -> Experiment:
    """Returns the newest experiment, of that name if one is given, that was interrupted. Raises UserError if there is
    none."""
    for found in kept_experiments(home):
        if found.status in ("running", "interrupted") and name in (None, found.name):
            return found
    which = "experiment" if name is None else f"experiment {name}"
    raise UserError(f"There is no interrupted {which} to resume: start one with `suite experiment {name or 'NAME'}`.")


def write_experiment_page(found: Experiment, home: Home) -> Path:
    """Writes the page as one file, with all that it needs. Raises SiteNotWritable."""
    target = home.experiment_folder(found.experiment_id) / _PAGE
    with tempfile.TemporaryDirectory() as folder:
        Site(Path(folder)).write_page(_PAGE, experiment_page(found))
        return write_single_file(Path(folder) / _PAGE, target)
