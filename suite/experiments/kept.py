"""Experiments on disk: `experiments/<id>/experiment.json` in the home, with the page beside it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from foundation.errors import UserError
from foundation.unavailable import Json
from reports.model.experiment import Experiment
from reports.pages.experiment import experiment_page
from reports.site.writing import write_page_alone
from suite.home import EXPERIMENT, Home
from suite.kept import RESUME, choose_id, keep_document, read_document, read_or_none

_PAGE = "experiment.html"


def keep_experiment(found: Experiment, home: Home) -> None:
    """Writes the document atomically. Raises StoreError."""
    path = home.experiment_folder(found.experiment_id) / EXPERIMENT
    keep_document(path, found.document(), "the experiment", RESUME)


def own_path(experiment_id: str, part: str, home: Home) -> Path:
    """Returns the path of the results of an `own` part named `part`."""
    return home.experiment_folder(experiment_id) / f"{part}.json"


def keep_own(path: Path, document: Json) -> None:
    """Writes the results of an `own` part. Raises StoreError."""
    keep_document(path, document, "the results of a part", RESUME)


def read_own(path: Path) -> Json:
    """Returns what `keep_own` wrote, or None if it can't be read."""
    return read_or_none(path, lambda found: found)


def read_experiment(name: str, home: Home) -> Experiment:
    """Returns an experiment by its id, or the latest one. Raises UserError if it can't be read."""
    nothing = "There is no experiment yet: start one with `suite experiment NAME`."
    chosen = choose_id(name, home.experiment_ids(), "experiment's id", nothing)
    path = home.experiment_folder(chosen) / EXPERIMENT
    return read_document(path, Experiment.from_document, "The experiment", "carry it out again")


def kept_experiments(home: Home) -> Iterator[Experiment]:
    """Yields the experiments that can be read, newest first."""
    for name in reversed(home.experiment_ids()):
        try:
            yield read_experiment(name, home)
        except UserError:
            continue


def open_experiment(name: str | None, home: Home) -> Experiment:
    """Returns the newest interrupted experiment, of that name if one is given. Raises UserError if there is none."""
    for found in kept_experiments(home):
        if found.status in ("running", "interrupted") and name in (None, found.name):
            return found
    which = "experiment" if name is None else f"experiment {name}"
    raise UserError(f"There is no interrupted {which} to resume: start one with `suite experiment {name or 'NAME'}`.")


def write_experiment_page(found: Experiment, home: Home) -> Path:
    """Writes the page as one self-contained file. Raises SiteNotWritable."""
    return write_page_alone(experiment_page(found), home.experiment_folder(found.experiment_id) / _PAGE)
