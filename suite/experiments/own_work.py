"""Work that no other command does: a long session, and the same steps in each power mode of a device.

The plan file has it in `own` parts: `plan` is a run's plan with one or several settings; `quants` lists settings that
are measured one by one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from reports.model.experiment import PartKind, share_name
from suite.endurance.modes import ModesPlan, take_modes
from suite.endurance.session import LongPlan, LongSession, read_long_session, take_long_session
from suite.experiments.experiment import Bench, Work, planned
from suite.experiments.material import Material
from suite.experiments.plan import plan_of
from suite.planning.plan import Fields, Plan
from suite.store.identity import new_run_id


class _Own(BaseModel):
    """The contents of `own` in a plan file. `rounds` is for power modes, the other fields are for a long session."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    plan: Fields
    quants: Annotated[tuple[str, ...], Field(min_length=1)]
    least_seconds: Annotated[float, Field(ge=0)] = 0.0
    memory_every: Annotated[int, Field(ge=0)] = 0
    rounds: Annotated[int, Field(ge=1)] = 1


@dataclass(frozen=True)
class LongSessionWork:
    """One long session on a device."""

    wanted: LongPlan
    kind: PartKind = "own"

    def carry_out(self, bench: Bench, made_id: str, begun: Callable[[str], None]) -> bool:
        """Measures the session, from the start after an interruption, since its results need it in one go."""
        session_id = made_id or new_run_id()
        (device,) = self.wanted.plan.devices
        entry = bench.inventory.devices[device]
        take_long_session(self.wanted, entry, bench.home, bench.display, session_id, lambda: begun(session_id))
        return True


@dataclass(frozen=True)
class PowerModesWork:
    """The same steps in each power mode of a device."""

    wanted: ModesPlan
    kind: PartKind = "own"

    def carry_out(self, bench: Bench, made_id: str, begun: Callable[[str], None]) -> bool:
        """Measures in each mode that has not been measured yet."""
        comparison_id = made_id or new_run_id()
        begun(comparison_id)
        taken = take_modes(self.wanted, bench.inventory, bench.home, bench.display, bench.command, comparison_id)
        return not taken.refused


def long_sessions(material: Material, part: str) -> dict[str, Work]:
    """Returns the sessions of a part: one on each device in each setting."""
    own = _own(material, part)
    return {
        share_name(part, device, plan.quants[0]): LongSessionWork(LongPlan(plan, own.least_seconds, own.memory_every))
        for device, plan in _plans(material, own)
    }


def power_modes(material: Material, part: str) -> dict[str, Work]:
    """Returns the comparisons of a part: one on each device in each setting."""
    own = _own(material, part)
    return {
        share_name(part, device, plan.quants[0]): PowerModesWork(ModesPlan(plan, own.rounds))
        for device, plan in _plans(material, own)
    }


def made_of(material: Material, part: str, device: str) -> Iterator[tuple[str, str]]:
    """Yields each setting of a part on a device that has a result, with the result's id."""
    for quant in _own(material, part).quants:
        found = material.experiment.part(share_name(part, device, quant))
        if found is not None and found.made_id and found.status in ("finished", "partial"):
            yield quant, found.made_id


def taken_sessions(material: Material, part: str, device: str) -> dict[str, LongSession]:
    """Returns a part's sessions on a device by setting. Raises UserError for one that can't be read."""
    return {quant: read_long_session(made, material.home) for quant, made in made_of(material, part, device)}


def _own(material: Material, part: str) -> _Own:
    experiment = material.experiment
    values: Fields | None = planned(experiment.name, quick=experiment.quick).parts[part].own
    return _Own.model_validate(values)


def _plans(material: Material, own: _Own) -> Iterator[tuple[str, Plan]]:
    for device in material.experiment.devices:
        for quant in own.quants:
            of_quant = {**own.plan, "quants": (quant,), "sessions": 1}
            yield device, plan_of(device, of_quant, material.experiment.model)
