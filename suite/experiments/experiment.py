"""Defines what an experiment is, and loads one by name.

An experiment NAME is plans/NAME.yaml, which lists what to measure, and answers/NAME.py, which has a function
`answer(material, device)` and, if more has to be measured depending on the results, `more_parts(material)`.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from devices.inventory.inventory_file import Inventory
from foundation.errors import unknown_name
from reports.model.experiment import Answer, PartKind
from suite.display import Display
from suite.experiments import EXPERIMENTS
from suite.experiments.material import Material
from suite.experiments.plan import PlannedExperiment, read_plan
from suite.home import Home

_FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Bench:
    """What the work of a part needs. `command` is stored with its results."""

    inventory: Inventory
    home: Home
    display: Display
    command: tuple[str, ...]


class Work(Protocol):
    """The work for a part of an experiment."""

    @property
    def kind(self) -> PartKind:
        """The kind of id that its result has: of a run, of trainings, of a profile, or its own."""

    def carry_out(self, bench: Bench, made_id: str, begun: Callable[[str], None]) -> bool:
        """Does the work, or what is left of it after an interrupted attempt, whose result has the id `made_id`.

        `made_id` is empty at first. If the result gets another id, calls `begun` with it before the long work starts.
        Returns whether all of the work was done, on every device. Raises UserError, which ends only this part, and
        StoreError.
        """


@dataclass(frozen=True)
class Definition:
    """An experiment's code: how it answers for a device, and what else it has to measure for that."""

    answer: Callable[[Material, str], Answer]
    more_parts: Callable[[Material], Mapping[str, Work]]


def load_definition(name: str) -> Definition:
    """Returns the experiment of that name. Raises UserError if there is none."""
    _require_known(name)
    module = importlib.import_module(f"suite.experiments.answers.{name.replace('-', '_')}")
    return Definition(module.answer, getattr(module, "more_parts", lambda _material: {}))


def planned(name: str, *, quick: bool) -> PlannedExperiment:
    """Reads the plan file of an experiment. Raises UserError for an unknown name."""
    _require_known(name)
    return read_plan(_FOLDER / "plans" / f"{name}.yaml", quick=quick)


def _require_known(name: str) -> None:
    if name not in EXPERIMENTS:
        raise unknown_name("experiment", name, EXPERIMENTS)
