"""What a plan demands of devices and of this machine, and whether they have it; known before any work is done."""

from __future__ import annotations

import psutil

from devices.connect import require_support
from devices.inventory import Inventory
from foundation.errors import UserError
from suite.plan import Plan
from suite.run_plan import RunPlan
from workloads.estimate import Estimate, estimate
from workloads.models.named import model_config

_LARGEST_DEVICE_BYTES = 64 << 30
"""No phone or board has more; a shape beyond it is a slip of the pen."""

_MOST_LAYER_CALLS = 10_000
"""A graph with more takes longer to export than anyone waits."""

_SMALLER = "lower q, b or T, or choose another model or setting"


def check(plan: RunPlan, inventory: Inventory) -> None:
    """Everything that can be refused before work begins: devices, kinds, memory."""
    for part in plan.plans:
        entries = inventory.select(",".join(part.devices))
        for entry in entries:
            require_support(entry)
        require_memory(part, measured_here=any(entry.kind == "local" for entry in entries))


def estimates(plan: Plan) -> list[Estimate]:
    """What each workload of the plan will take; needs neither weights nor task."""
    config = model_config(plan.model)
    return [estimate(workload, config) for workload in plan.workloads(answers=1)]


def require_memory(plan: Plan, *, measured_here: bool) -> None:
    """Raise UserError when a workload of the plan cannot fit, before anything is exported.

    The export must fit this machine, and the session too if it is one of the devices; any other device is asked for
    its memory once it is connected.
    """
    total = psutil.virtual_memory().total
    for quant, needed in zip(plan.quants, estimates(plan), strict=True):
        if measured_here and needed.memory_bytes > total:
            raise UserError(f"{_too_large(plan, quant, needed)} and this machine has {_gb(total)} GB: {_SMALLER}.")
        if needed.memory_bytes > _LARGEST_DEVICE_BYTES:
            raise UserError(f"{_too_large(plan, quant, needed)}: {_SMALLER}.")
        if needed.layer_calls > _MOST_LAYER_CALLS:
            raise UserError(
                f"{plan.model} {quant} with q={plan.q}, b={plan.b}, T={plan.T} would call its layers "
                f"{needed.layer_calls} times in a step, and {_MOST_LAYER_CALLS} is the most that is exported: lower q."
            )
        if needed.export_memory_bytes > total:
            raise UserError(
                f"Exporting {plan.model} {quant} takes about {_gb(needed.export_memory_bytes)} GB of memory and this "
                f"machine has {_gb(total)} GB: choose a smaller model, or export it on a larger machine."
            )


def _too_large(plan: Plan, quant: str, needed: Estimate) -> str:
    shape = f"{plan.model} {quant} with q={plan.q}, b={plan.b}, T={plan.T}"
    return f"{shape} needs about {_gb(needed.memory_bytes)} GB of memory on the device"


def _gb(size_bytes: float) -> str:
    return f"{size_bytes / 1e9:.1f}"
