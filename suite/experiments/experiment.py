"""What an experiment is, and which there are.

An experiment NAME is plans/NAME.yaml, which says what is measured for it, and answers/NAME.py, which has a function
`answer(material, device)` and, where what is measured depends on what was found, `more_parts(material)`.
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
    """What the work of a part is done with. `command` is kept with what it makes."""

    inventory: Inventory
    home: Home
    display: Display
    command: tuple[str, ...]


class Work(Protocol):
    """What is done for a part of an experiment."""

    @property
    def kind(self) -> PartKind:
        """Where what it makes is found: by the id of a run, of trainings, of a profile, or by its own."""

    def carry_out(self, bench: Bench, made_id: str, begun: Callable[[str], None]) -> bool:
        """Does the work, or what is left of it if `made_id` is not empty: what an interrupted attempt made.

        Calls `begun` with the id of what it makes, if that is another one, before it takes long. Returns whether all of
        it was done, on every device. Raises the packages' UserErrors, which cost this part alone, and StoreError.
        """


@dataclass(frozen=True)
class Definition:
    """An experiment's code: how it answers for a device, and what else has to be measured for that."""

    answer: Callable[[Material, str], Answer]
    more_parts: Callable[[Material], Mapping[str, Work]]


def load_definition(name: str) -> Definition:
    """Returns the experiment of that name. Raises UserError if there is none."""
    _require_known(name)
    module = importlib.import_module(f"suite.experiments.answers.{name.replace('-', '_')}")
    return Definition(module.answer, getattr(module, "more_parts", lambda _material: {}))


def planned(name: str, *, quick: bool) -> PlannedExperiment:
    """Returns what the plan file of an experiment says. Raises UserError for an unknown name."""
    _require_known(name)
    return read_plan(_FOLDER / "plans" / f"{name}.yaml", quick=quick)


def _require_known(name: str) -> None:
    if name not in EXPERIMENTS:
        raise unknown_name("experiment", name, EXPERIMENTS)
