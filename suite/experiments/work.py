"""The work of a plan file's parts: a run, trainings that compete, a profile."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from reports.model.experiment import PartKind, share_name
from suite.errors import SuiteError
from suite.experiments.experiment import Bench, Work
from suite.experiments.plan import PlannedExperiment
from suite.measuring import orchestrate
from suite.planning.plan import Plan, RunPlan
from suite.profiling.session import take_profile
from suite.training import conduct
from suite.training.plan import TrainingPlan


@dataclass(frozen=True)
class Measuring:
    """A run."""

    plan: RunPlan
    label: str
    kind: PartKind = "measure"

    def carry_out(self, bench: Bench, made_id: str, begun: Callable[[str], None]) -> bool:
        """Measures what has not been measured yet."""
        if made_id:
            return orchestrate.resume(bench.inventory, bench.home, bench.display, run_id=made_id).complete
        return orchestrate.begin(
            self.plan, bench.inventory, bench.home, bench.display, bench.command, label=self.label, begun=begun
        ).complete


@dataclass(frozen=True)
class Training:
    """Trainings, as in a race."""

    plans: tuple[TrainingPlan, ...]
    kind: PartKind = "train"

    def carry_out(self, bench: Bench, made_id: str, begun: Callable[[str], None]) -> bool:
        """Trains what has not finished yet, each training from its last checkpoint."""
        with_bench = (bench.inventory, bench.home, bench.display, bench.command)
        if made_id:
            trained = conduct.resume(*with_bench, group_id=made_id)
        else:
            trained = conduct.begin(self.plans, *with_bench, begun=begun)
        return all(one.status == "finished" for one in trained)


@dataclass(frozen=True)
class Profiling:
    """A profile on one device."""

    plan: Plan
    kind: PartKind = "profile"

    def carry_out(self, bench: Bench, made_id: str, begun: Callable[[str], None]) -> bool:
        """Takes the profile, from the start after an interruption, as it takes less than a minute."""
        del made_id
        (device,) = self.plan.devices
        found = take_profile(self.plan, bench.inventory.devices[device], bench.home, bench.display, begun)
        if not found.settings:
            raise SuiteError("; ".join(f"{quant}: {reason}" for quant, reason in found.failed.items()))
        return not found.failed


def planned_work(
    planned: PlannedExperiment, devices: tuple[str, ...], model: str | None, bench: Bench
) -> dict[str, Work]:
    """Returns the work of a plan file by part, without `own` parts, which the experiment's code plans itself.

    Raises UserError for work that no device can do.
    """
    found: dict[str, Work] = {}
    for part, content in planned.parts.items():
        if content.measure is not None:
            plan = planned.run_plan(part, devices, model, bench.inventory)
            found[part] = Measuring(plan, f"experiment {planned.name}: {part}")
        if content.train is not None:
            found[part] = Training(tuple(planned.training_plans(part, devices, model)))
        if content.profile is not None:
            for device in devices:
                found[share_name(part, device)] = Profiling(planned.profile_plan(part, device, model))
    return found
