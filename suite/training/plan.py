"""Plans a training: what is trained on each device, how it is evaluated along the way, and when it ends.

It ends after its steps, or when a budget of minutes or joules on the device is used up or an accuracy is reached.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foundation.errors import UserError, unknown_name
from foundation.text import format_rounded
from foundation.unavailable import Json, Unavailable
from reports.model.training import Training, steps_lost
from suite.planning.plan import Plan
from workloads.method import METHOD_TABLE, Method
from workloads.workload import require_count

SCHEDULES = ("constant", "linear", "cosine")
INITS = ("random", "discriminant")
_MOST = 100_000_000
_FIRST_STEPS = 2
"""Steps of the first segment under a budget: the cost of a step is not known before."""


@dataclass(frozen=True)
class TrainingPlan:
    """A training as requested. Raises UserError for values that don't make sense.

    `plan` has the devices, the model, the settings and the kind of step. The training is evaluated on `examples`
    held-out examples at the start, every `eval_every` steps and at the end; its state is saved every
    `checkpoint_every` steps. The learning rate falls over all `steps` as `schedule` describes. The training ends after
    `steps`, or earlier if a budget is used up or a held-out accuracy of `target` is reached; `budget_minutes` and
    `budget_joules` count only the device's training steps.

    `adapter` is a PEFT folder to start from. `init` selects the A of the adapters: drawn, or the task's discriminants
    (workloads/reference/discriminant.py). `disturbed`: while the training makes steps, every core of the device is
    kept busy, and its process is ended once, halfway. `own_settings`: what tells the training from its rivals in a
    race but is not part of a workload, such as its learning rate; it is stored beside the workload.
    """

    plan: Plan
    steps: int = 500
    eval_every: int = 100
    checkpoint_every: int = 50
    examples: int = 400
    schedule: str = "constant"
    budget_minutes: float | None = None
    budget_joules: float | None = None
    target: float | None = None
    adapter: str | None = None
    init: str = "random"
    disturbed: bool = False
    own_settings: Mapping[str, Json] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.adapter is not None:
            self.method.require_adapters("--adapter")
        for name, value in (("--steps", self.steps), ("--eval-every", self.eval_every)):
            require_count(name, value, _MOST)
        require_count("--checkpoint-every", self.checkpoint_every, _MOST)
        require_count("--examples", self.examples, _MOST)
        if self.schedule not in SCHEDULES:
            raise unknown_name("schedule", self.schedule, SCHEDULES)
        self._check_init()
        for name, budget in (("--budget-minutes", self.budget_minutes), ("--budget-joules", self.budget_joules)):
            if budget is not None and not (math.isfinite(budget) and budget > 0):
                raise UserError(f"{name} is {budget:g}, but it must be a positive number: give one such as 10.")
        if self.target is not None and not 0 < self.target <= 1:
            raise UserError(f"--target is {self.target:g}, but it is a share of right answers: give one such as 0.8.")

    def _check_init(self) -> None:
        if self.init not in INITS:
            raise unknown_name("init", self.init, INITS)
        if self.init == INITS[0]:
            return
        if self.method.trains_weights:
            raise UserError(f"{self.plan.method} has no adapters, so --init chooses nothing: leave it out.")
        if self.adapter is not None:
            raise UserError("--adapter has an A of its own, so --init can't choose one: leave out one of them.")

    @property
    def method(self) -> Method:
        """The training method."""
        return METHOD_TABLE[self.plan.method]

    def evaluation(self, batch: int) -> Plan:
        """Returns the plan of the programs that evaluate, `batch` rows at a time."""
        plan = replace(self.plan, outer=None, inner=None)  # an evaluation has no such loops
        return replace(plan, method=self.method.evaluated_by, q=1, b=batch, noise="kernel", lr=None, eps=None)

    def rates(self, lr: float, first: int, count: int) -> NDArray[np.float32]:
        """Returns the learning rate of each of `count` calls from step `first` on: float32 [count].

        A call that applies the update left pending by the step before takes that step's rate.
        """
        late = 1 if self.method.leaves_update else 0
        return np.array([lr * self._factor(max(0, step - late)) for step in range(first, first + count)], np.float32)

    def rate_after(self, lr: float, step: int) -> float:
        """Returns the rate of the update that is pending after `step` steps."""
        return float(self.rates(lr, step, 1)[0])

    def _factor(self, step: int) -> float:
        share = step / self.steps
        if self.schedule == "linear":
            return 1.0 - share
        return 0.5 * (1.0 + math.cos(math.pi * share)) if self.schedule == "cosine" else 1.0

    def segment_end(self, step: int) -> int:
        """Returns the next step after `step` at which the state is saved."""
        ends = [step + every - step % every for every in (self.checkpoint_every, self.eval_every)]
        return min(*ends, self.steps)

    def steps_lost(self, first: int, end: int) -> int:
        """Returns after how many of the steps `first` to `end` - 1 the process is interrupted on purpose; 0: never."""
        return steps_lost(self.steps, first, end) if self.disturbed else 0

    def evaluates_at(self, step: int) -> bool:
        """Returns whether the training is evaluated after `step` steps."""
        return step % self.eval_every == 0 or step == self.steps

    def document(self) -> dict[str, Json]:
        """Returns the plan as JSON values."""
        return asdict(self)

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> TrainingPlan:
        """Reads the plan from `document`. Raises UserError if another version of the suite wrote it."""
        try:
            return cls(**{**document, "plan": Plan.from_document(document["plan"])})
        except (TypeError, KeyError):
            raise UserError(
                "The plan of this training was written by another version of the suite: start a new training."
            ) from None


@dataclass(frozen=True)
class _Budget:
    """How much of a quantity a training may use, and how much it has used, in `unit`."""

    option: str
    unit: str
    limit: float
    used: float

    def steps_left(self, steps: int) -> int:
        """Returns how many steps fit into what is left, at the average cost of the first `steps`."""
        if steps == 0:
            return _FIRST_STEPS
        return int((self.limit - self.used) / (self.used / steps)) if self.used > 0 else _FIRST_STEPS


def _budgets(plan: TrainingPlan, training: Training) -> list[_Budget]:
    """Returns the budgets of the plan. Raises UserError for a budget of joules if the energy is unavailable."""
    found = []
    if plan.budget_minutes is not None:
        found.append(_Budget("--budget-minutes", "s", 60.0 * plan.budget_minutes, training.seconds))
    if plan.budget_joules is not None:
        used = training.energy_at(training.steps)
        if isinstance(used, Unavailable):
            raise UserError(
                f"--budget-joules can't be kept, as the energy of {training.device} is unavailable: {used.reason}"
            )
        found.append(_Budget("--budget-joules", "J", plan.budget_joules, used / 1e3))
    return found


def next_end(plan: TrainingPlan, training: Training) -> int | str:
    """Returns the step at which the next segment ends, or why the training is over.

    Raises UserError for a budget too small for a single step.
    """
    reached = [each for each in training.evaluations if plan.target is not None and each.accuracy >= plan.target]
    if reached:
        return f"reached an accuracy of {reached[0].accuracy:.3f} after {reached[0].step} steps"
    step = training.steps
    if step >= plan.steps:
        return f"made all {plan.steps} steps"
    end = plan.segment_end(step)
    for budget in _budgets(plan, training):
        left = budget.steps_left(step)
        if left < 1:
            if budget.used > budget.limit * _FIRST_STEPS and step <= _FIRST_STEPS:
                each = format_rounded(budget.used / step)
                raise UserError(
                    f"{budget.option} allows {format_rounded(budget.limit)} {budget.unit}, but one step on "
                    f"{training.device} takes {each} {budget.unit}: allow more, or choose a smaller shape."
                )
            used, limit = format_rounded(budget.used), format_rounded(budget.limit)
            return f"used up {budget.option}, {used} of {limit} {budget.unit}"
        end = min(end, step + left)
    return end
