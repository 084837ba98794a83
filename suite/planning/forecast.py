"""Checks what a plan demands of devices and this machine, and forecasts its time, memory and disk space roughly.

All of this is known before any work is done; `--dry-run` prints it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import psutil

from devices.access.connect import require_support
from devices.inventory.inventory_file import Inventory
from foundation.errors import UserError
from foundation.text import format_duration, format_rounded
from suite.planning.plan import IDLE_SECONDS, Plan, RunPlan
from workloads.estimates.estimate import Estimate, affordable_steps, estimate, reference_seconds
from workloads.models.config import LlamaConfig
from workloads.quantize.settings import SETTINGS

_LARGEST_DEVICE_BYTES = 64 << 30
"""No phone or board has more memory; a shape that needs more is a typing error."""

_MOST_LAYER_CALLS = 10_000
"""A graph with more calls takes longer to export than anyone would wait."""

_SMALLER = "lower q, b or T, or choose another model or setting"


Obstacles = Mapping[str, UserError]
"""Why settings of a plan can't be measured, by setting."""


def check(plan: RunPlan, inventory: Inventory) -> list[Obstacles]:
    """Returns the obstacles of each plan. Raises UserError for a device of unknown kind, or if no setting is left."""
    for entry in inventory.select(",".join(plan.devices)):
        require_support(entry)
    found = [find_obstacles(part, [inventory.devices[name].kind for name in part.devices]) for part in plan.plans]
    if all(len(of_part) == len(part.quants) for part, of_part in zip(plan.plans, found, strict=True)):
        raise next(error for of_part in found for error in of_part.values())
    return found


def find_obstacles(plan: Plan, kinds: Sequence[str]) -> Obstacles:
    """Returns the settings that the model's shape or this machine's memory rules out, before anything is exported.

    The export must fit this machine. The session must too if all the devices, which have these `kinds`, are this
    machine; the memory of any other device is checked when it is connected.
    """
    measured_here = bool(kinds) and set(kinds) == {"local"}
    config, found = plan.config, dict[str, UserError]()
    for workload in plan.workloads(answers=1):
        try:
            workload.setting.require_rows(config)
            _require_memory(plan, workload.quant, estimate(workload, config), measured_here)
        except UserError as error:
            found[workload.quant] = error
    return found


def without(plan: Plan, found: Obstacles) -> Plan | None:
    """Returns the plan without settings that have an obstacle, or None if none is left."""
    quants = tuple(quant for quant in plan.quants if quant not in found)
    return replace(plan, quants=quants) if quants else None


def estimates(plan: Plan) -> list[Estimate]:
    """Estimates what each workload of the plan will take. Needs neither weights nor task."""
    config = plan.config
    return [estimate(workload, config) for workload in plan.workloads(answers=1)]


def _require_memory(plan: Plan, quant: str, needed: Estimate, measured_here: bool) -> None:
    total = psutil.virtual_memory().total
    if measured_here and needed.memory_bytes > total:
        raise UserError(f"{_too_large(plan, quant, needed)}, but this machine has {_gb(total)} GB: {_SMALLER}.")
    if needed.memory_bytes > _LARGEST_DEVICE_BYTES:
        raise UserError(f"{_too_large(plan, quant, needed)}: {_SMALLER}.")
    if needed.layer_calls > _MOST_LAYER_CALLS:
        raise UserError(
            f"{plan.model} {quant} with q={plan.q}, b={plan.b}, T={plan.T} would call its layers "
            f"{needed.layer_calls} times in a step, but {_MOST_LAYER_CALLS} is the most that is exported: lower q."
        )
    if needed.export_memory_bytes > total:
        raise UserError(
            f"Exporting {plan.model} {quant} takes about {_gb(needed.export_memory_bytes)} GB of memory, but this "
            f"machine has {_gb(total)} GB: choose a smaller model, or export it on a larger machine."
        )


def _too_large(plan: Plan, quant: str, needed: Estimate) -> str:
    shape = f"{plan.model} {quant} with q={plan.q}, b={plan.b}, T={plan.T}"
    return f"{shape} needs about {_gb(needed.memory_bytes)} GB of memory on the device"


def _gb(size_bytes: float) -> str:
    return f"{size_bytes / 1e9:.1f}"


_SECONDS_PER_STEP = 4e-4
_SECONDS_PER_CALL = 3e-5
"""What a step costs besides its products: in total, and for each call of a layer."""

_EXPORT_SECONDS_PER_VALUE = 3e-8
_REFERENCE_SHARE = 0.5
"""How much of its time allowance the reference takes: 3.4 of 7.2 s for a step of smollm2-135m (docs/export.md)."""

_LOAD_SECONDS = 3.0
_WARM_UP_STEPS = 4
_RUNNER_BYTES = 15_500_000

_KINDS_WITH_GAUGES = ("jetson", "android")
"""Kinds whose every device has a power rail or a battery with a gauge; for others, only the device itself knows."""


@dataclass(frozen=True)
class SettingForecast:
    """Rough figures for one setting on one device."""

    quant: str
    program_bytes: int
    data_bytes: int
    memory_bytes: int
    seconds_per_step: float


@dataclass(frozen=True)
class Forecast:
    """Rough figures for a plan. Times assume a device as fast as a two-core desktop.

    `measure_seconds` is the time of all devices together, `device_seconds` that of each. Both include the energy
    windows of devices whose power is known to be read. `energy_seconds` and `idle_seconds` are what the windows of
    energy and of idle power add if the power of all other devices is read too. `left_out`: why settings of the plan
    can't be measured, by setting; the other figures leave these settings out.
    """

    settings: tuple[SettingForecast, ...]
    export_seconds: float
    measure_seconds: float
    device_seconds: Mapping[str, float]
    energy_seconds: float
    idle_seconds: float
    host_disk_bytes: int
    device_disk_bytes: int
    left_out: Mapping[str, str]

    def lines(self, plan: Plan) -> list[str]:
        """Returns the forecast as lines of text."""
        names = [item.quant for item in self.settings]
        sessions = len(plan.devices) * len(names) * plan.sessions
        lines = [
            f"{plan.model}, {plan.method}, {plan.shape}, on {', '.join(plan.devices)}",
            f"{sessions} sessions of {plan.steps} measured steps, interleaved over {', '.join(names) or 'nothing'}",
        ]
        lines += [
            f"  {item.quant}: program about {_mb(item.program_bytes)} MB, "
            f"weights that other shapes share about {_mb(item.data_bytes)} MB, "
            f"memory about {_mb(item.memory_bytes)} MB, step about {_step(item.seconds_per_step)}"
            for item in self.settings
        ]
        lines += [
            f"time: export about {format_duration(self.export_seconds)} if nothing is cached, "
            f"measuring about {format_duration(self.measure_seconds)} on a device like a two-core desktop, without "
            "waiting for it to cool",
            f"disk: {_mb(self.host_disk_bytes)} MB on the host, {_mb(self.device_disk_bytes)} MB on each device",
        ]
        if self.energy_seconds > 1.0:
            lines.append(
                f"where power is read: about {format_duration(self.energy_seconds)} longer, as each session then "
                f"measures for {plan.energy_window_s:g} s"
            )
        if self.idle_seconds:
            lines.append(
                f"where power is read: about {format_duration(self.idle_seconds)} of idle power, {IDLE_SECONDS:g} s "
                "before the first session and after each"
            )
        return [*lines, *self.left_out_lines(plan), *plan.warnings()]

    def left_out_lines(self, plan: Plan) -> list[str]:
        """Returns a line for each setting that can't be measured."""
        return [f"{plan.model} {quant} is left out: {reason}" for quant, reason in self.left_out.items()]


def power_readers(inventory: Inventory) -> frozenset[str]:
    """Returns the devices whose power is known to be read, without contacting them."""
    entries = inventory.devices.values()
    return frozenset(entry.name for entry in entries if entry.power is not None or entry.kind in _KINDS_WITH_GAUGES)


def forecast(plan: Plan, left_out: Obstacles | None = None, power_read_on: Collection[str] = frozenset()) -> Forecast:
    """Forecasts from the shapes alone; nothing is loaded, exported or contacted.

    `power_read_on`: the devices whose power is known to be read (`power_readers`).
    """
    reasons = {quant: str(error) for quant, error in (left_out or {}).items()}
    possible = without(plan, left_out or {})
    if possible is None:
        return Forecast((), 0.0, 0.0, dict.fromkeys(plan.devices, 0.0), 0.0, 0.0, 0, 0, reasons)
    plan, config = possible, possible.config
    reference = _REFERENCE_SHARE * sum(
        reference_seconds(workload, config, affordable_steps(workload, config, workload.reference_steps))
        for workload in plan.workloads(answers=1)
    )
    named = list(zip(plan.quants, estimates(plan), strict=True))
    exporting = sum(_export_seconds(quant, item, config) for quant, item in named)
    settings = tuple(
        SettingForecast(
            quant,
            item.program_bytes,
            item.deployed_bytes - item.program_bytes,
            item.memory_bytes,
            _step_seconds(quant, item),
        )
        for quant, item in named
    )
    steps = plan.steps + _WARM_UP_STEPS
    measuring = plan.sessions * sum(_LOAD_SECONDS + steps * item.seconds_per_step for item in settings)
    energy = plan.sessions * sum(
        max(0.0, plan.energy_window_s - plan.steps * item.seconds_per_step) for item in settings
    )
    idle = IDLE_SECONDS * (plan.sessions * len(settings) + 1)
    seconds = {name: measuring + (energy + idle if name in power_read_on else 0.0) for name in plan.devices}
    unknown = sum(name not in power_read_on for name in plan.devices)
    disk = files_bytes(RunPlan((plan,))) + _RUNNER_BYTES
    return Forecast(
        settings=settings,
        export_seconds=exporting + reference,
        measure_seconds=sum(seconds.values()),
        device_seconds=seconds,
        energy_seconds=unknown * energy,
        idle_seconds=unknown * idle,
        host_disk_bytes=disk,
        device_disk_bytes=disk,
        left_out=reasons,
    )


def files_bytes(plan: RunPlan, left_out: Sequence[Obstacles] = ()) -> int:
    """Returns the bytes of all programs of a run and their data files, counting shared files once.

    `left_out` has the obstacles of each plan, if any.
    """
    possible = [without(*pair) for pair in zip(plan.plans, left_out, strict=True)] if left_out else plan.plans
    sizes: dict[tuple[object, ...], int] = {}
    for part in filter(None, possible):
        for quant, needed in zip(part.quants, estimates(part), strict=True):
            model, lora = (part.model, part.weights), (part.rank, part.alpha, part.targets, part.layers)
            sizes["program", quant, part] = needed.program_bytes
            sizes["weights", quant, model] = needed.weights_file_bytes
            sizes["adapters", SETTINGS[quant].products, model, lora] = needed.adapters_file_bytes
    return sum(sizes.values())


def _step_seconds(quant: str, needed: Estimate) -> float:
    overhead = _SECONDS_PER_STEP + needed.layer_calls * _SECONDS_PER_CALL
    return overhead + needed.flops_per_step / SETTINGS[quant].flops_per_s


def _export_seconds(quant: str, needed: Estimate, config: LlamaConfig) -> float:
    costs = SETTINGS[quant].costs
    of_graph = config.layers * costs.export_seconds_per_layer + needed.layer_calls * costs.export_seconds_per_call
    return costs.export_seconds + of_graph + config.parameter_counts().total * _EXPORT_SECONDS_PER_VALUE


def _mb(size_bytes: int) -> str:
    return format_rounded(size_bytes / 1e6)


def _step(seconds: float) -> str:
    return f"{format_rounded(seconds)} s" if seconds >= 1 else f"{format_rounded(seconds * 1e3)} ms"
