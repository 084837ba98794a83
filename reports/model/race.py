"""The results of a race on one device: the cost to an accuracy, the accuracy under a budget, and the Pareto front.

A contender is a way of training (method, setting, shape), run once for each seed.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from foundation.unavailable import Json, Unavailable, as_document
from reports.model.reading import Interval, Number


@dataclass(frozen=True)
class Estimate:
    """A quantity over the seeds of a contender: its mean (geometric for costs), the 95 % interval of that mean or why
    there is none, its range over the seeds, and the number of seeds."""

    value: float
    interval: Interval | Unavailable
    least: float
    most: float
    seeds: int

    def document(self) -> dict[str, Json]:
        """Returns it as JSON values."""
        ends = {"ci95": self.interval.document(), "least": self.least, "most": self.most}
        return {"value": self.value, **ends, "seeds": self.seeds}


@dataclass(frozen=True)
class CostToTarget:
    """The cost until the target accuracy was first reached: steps, seconds and millijoules of steps on the device, and
    peak memory.

    ``missed`` names every seed that never reached it, with its best accuracy. ``seconds_at_least`` is a lower bound
    over all seeds: an accuracy found at an evaluation may have been reached at any time since the previous one.
    """

    steps: Estimate | Unavailable
    seconds: Estimate | Unavailable
    energy_mj: Estimate | Unavailable
    peak_memory_kib: Estimate | Unavailable
    seconds_at_least: float
    missed: Sequence[str] = ()

    def document(self) -> dict[str, Json]:
        """Returns it as JSON values."""
        costs = {
            name: as_document(getattr(self, name)) for name in ("steps", "seconds", "energy_mj", "peak_memory_kib")
        }
        return {**costs, "seconds_at_least": self.seconds_at_least, "missed": list(self.missed)}


@dataclass(frozen=True)
class Quality:
    """The held-out accuracy within a budget. ``remarks`` name each seed that is left out or ended before."""

    accuracy: Estimate | Unavailable
    remarks: Sequence[str] = ()

    def document(self) -> dict[str, Json]:
        """Returns it as JSON values."""
        return {"accuracy": as_document(self.accuracy), "remarks": list(self.remarks)}


@dataclass(frozen=True)
class Outcome:
    """The end of a contender's trainings, as means over its seeds: accuracy, cost and peak memory. ``in_front``: no
    other contender is at least as good in all three and better in one."""

    accuracy: Number
    cost: Number
    peak_memory_kib: Number
    in_front: bool = False

    def document(self) -> dict[str, Json]:
        """Returns it as JSON values."""
        found = {name: as_document(getattr(self, name)) for name in ("accuracy", "cost", "peak_memory_kib")}
        return {**found, "in_front": self.in_front}


@dataclass(frozen=True)
class Contender:
    """One way of training, over all its seeds. ``cost`` is None in a race without a target."""

    name: str
    method: str
    setting: str
    seeds: Sequence[int]
    cost: CostToTarget | None
    quality: Quality
    outcome: Outcome

    def document(self) -> dict[str, Json]:
        """Returns it as JSON values."""
        return {
            "name": self.name,
            "method": self.method,
            "quant": self.setting,
            "seeds": list(self.seeds),
            "cost_to_target": None if self.cost is None else self.cost.document(),
            "quality_under_budget": self.quality.document(),
            "outcome": self.outcome.document(),
        }


@dataclass(frozen=True)
class Robustness:
    """A contender's trainings with a busy device and an interruption, compared with the same ones without.

    ``seconds`` and ``energy`` are the factors by which the cost grew: up to the target if the race has one, else over
    all steps. ``accuracy`` is its change under the race's budget. ``remarks`` name the seeds that are left out, and
    those whose losses differ.
    """

    name: str
    seconds: Estimate | Unavailable
    energy: Estimate | Unavailable
    accuracy: Estimate | Unavailable
    same_course: bool
    remarks: Sequence[str] = ()

    def document(self) -> dict[str, Json]:
        """Returns it as JSON values."""
        found = {name: as_document(getattr(self, name)) for name in ("seconds", "energy", "accuracy")}
        return {"name": self.name, **found, "same_course": self.same_course, "remarks": list(self.remarks)}


@dataclass(frozen=True)
class Budget:
    """What each training may use: an amount of ``seconds`` or ``energy_mj`` (``quantity``) of steps on the device.
    ``given``: whether the user chose it; otherwise it is the least that a finished training used.
    """

    quantity: str
    limit: float
    given: bool


@dataclass(frozen=True)
class Race:
    """The contenders on one device. ``winners`` are sentences: who wins by how much, or why that can't be told.

    ``cost_quantity`` is the unit of an outcome's cost: ``energy_mj`` or, if energy is unavailable, ``seconds``;
    ``why_no_energy`` then says why. ``robustness`` is empty unless contenders were also trained with disturbances.
    """

    device: str
    emulated: bool
    target: float | None
    budget: Budget | Unavailable
    contenders: Sequence[Contender]
    winners: Sequence[str]
    cost_quantity: str
    why_no_energy: str = ""
    robustness: Sequence[Robustness] = ()

    def document(self) -> dict[str, Json]:
        """Returns it as JSON values."""
        budget = self.budget
        limit = budget.document() if isinstance(budget, Unavailable) else {budget.quantity: budget.limit}
        return {
            "device": self.device,
            "emulated": self.emulated,
            "target": self.target,
            "budget": limit,
            "winners": list(self.winners),
            "outcome_cost": self.cost_quantity,
            "why_no_energy": self.why_no_energy or None,
            "contenders": [one.document() for one in self.contenders],
            "robustness": [one.document() for one in self.robustness],
        }
