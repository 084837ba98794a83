"""When a training ends: its steps, a budget of seconds or joules on the device, or an accuracy that is reached."""

from __future__ import annotations

from dataclasses import dataclass

from foundation.errors import UserError
from foundation.unavailable import Unavailable
from reports.model.training import Training
from suite.rounding import format_rounded
from suite.training.plan import TrainingPlan

_FIRST_STEPS = 2
"""Steps of the first segment under a budget: what a step takes is not known before."""


@dataclass(frozen=True)
class Budget:
    """How much of one quantity a training may use, and has used, in `unit`."""

    option: str
    unit: str
    limit: float
    used: float

    def steps_left(self, steps: int) -> int:
        """Returns how many steps fit into the rest if each takes what the first `steps` took on average."""
        if steps == 0:
            return _FIRST_STEPS
        return int((self.limit - self.used) / (self.used / steps)) if self.used > 0 else _FIRST_STEPS


def budgets(plan: TrainingPlan, training: Training) -> list[Budget]:
    """Returns the budgets of the plan. Raises UserError if there is one of joules and no energy to count."""
    found = []
    if plan.budget_minutes is not None:
        found.append(Budget("--budget-minutes", "s", 60.0 * plan.budget_minutes, training.seconds))
    if plan.budget_joules is not None:
        used = training.energy_at(training.steps)
        if isinstance(used, Unavailable):
            raise UserError(
                f"--budget-joules can't be kept, as the energy of {training.device} is unavailable: {used.reason}"
            )
        found.append(Budget("--budget-joules", "J", plan.budget_joules, used / 1e3))
    return found


def next_end(plan: TrainingPlan, training: Training) -> int | str:
    """Returns the step up to which the next segment goes, or why the training is over.

    Raises UserError for a budget that doesn't hold a single step.
    """
    reached = [each for each in training.evaluations if plan.target is not None and each.accuracy >= plan.target]
    if reached:
        return f"reached an accuracy of {reached[0].accuracy:.3f} after {reached[0].step} steps"
    step = training.steps
    if step >= plan.steps:
        return f"made all {plan.steps} steps"
    end = plan.segment_end(step)
    for budget in budgets(plan, training):
        left = budget.steps_left(step)
        if left < 1:
            if budget.used > budget.limit * _FIRST_STEPS and step <= _FIRST_STEPS:
                each = format_rounded(budget.used / step)
                raise UserError(
                    f"{budget.option} allows {format_rounded(budget.limit)} {budget.unit}, and one step on "
                    f"{training.device} takes {each} {budget.unit}: allow more, or choose a smaller shape."
                )
            used, limit = format_rounded(budget.used), format_rounded(budget.limit)
            return f"used up {budget.option}, {used} of {limit} {budget.unit}"
        end = min(end, step + left)
    return end
