"""Everything that one run carries out: one or more plans, and how long it may take on a device."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from foundation.errors import UserError
from suite.plan import Plan


@dataclass(frozen=True)
class RunPlan:
    """`budget_minutes` bounds the measuring on each device, all plans together; None: as long as it takes.

    Raises UserError for plans that would measure the same workload twice on a device.
    """

    plans: tuple[Plan, ...]
    budget_minutes: float | None = None

    def __post_init__(self) -> None:
        planned = Counter(
            (device, workload) for plan in self.plans for device in plan.devices for workload in plan.workloads(1)
        )
        for (device, workload), times in planned.items():
            if times > 1:
                shape = f"{workload.model} {workload.quant} with q={workload.q}, b={workload.b}, T={workload.T}"
                raise UserError(f"{shape} is planned {times} times on {device}: name each workload once.")

    @property
    def devices(self) -> tuple[str, ...]:
        """The devices of all plans, each once, in their order."""
        return tuple(dict.fromkeys(device for plan in self.plans for device in plan.devices))

    def quick(self) -> RunPlan:
        """A short look at each plan (`Plan.quick`)."""
        return RunPlan(tuple(plan.quick() for plan in self.plans), self.budget_minutes)

    def document(self) -> dict[str, Any]:
        """As JSON values."""
        return {"plans": [plan.document() for plan in self.plans], "budget_minutes": self.budget_minutes}

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> RunPlan:
        """The run of `document`; UserError when another version of the suite wrote it."""
        if set(document) != {"plans", "budget_minutes"}:
            raise UserError("The plan of this run was written by another version of the suite: start a new run.")
        return cls(tuple(Plan.from_document(plan) for plan in document["plans"]), document["budget_minutes"])
