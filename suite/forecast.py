"""`--dry-run`: what a plan will do, and about how much time, memory and disk it will take."""

from __future__ import annotations

from dataclasses import dataclass

from suite.plan import REFERENCE_STEPS, Plan
from suite.preparation import estimates
from suite.shown import duration, rounded
from workloads.models.zoo import model_config
from workloads.reference_cost import affordable_steps, step_seconds

_HOST_FLOPS_PER_S = 1.5e11
"""Two cores of a recent x86 or three of a big Arm core in float32, when nothing was measured yet."""

_EXPORT_SECONDS_PER_LAYER = 0.3
_EXPORT_SECONDS = 18.0
_EXPORT_SECONDS_PER_VALUE = 3e-8
_LOAD_SECONDS = 3.0
_WARM_UP_STEPS = 3


@dataclass(frozen=True)
class SettingForecast:
    """Rough figures for one setting on one device."""

    quant: str
    program_bytes: int
    memory_bytes: int
    seconds_per_step: float


@dataclass(frozen=True)
class Forecast:
    """Rough figures for a plan; times assume a device as fast as a two-core desktop."""

    settings: tuple[SettingForecast, ...]
    export_seconds: float
    measure_seconds: float
    host_disk_bytes: int
    device_disk_bytes: int

    def lines(self, plan: Plan) -> list[str]:
        """The forecast in words."""
        sessions = len(plan.devices) * len(plan.quants) * plan.sessions
        lines = [
            f"{plan.model}, {plan.method}, q={plan.q} b={plan.b} T={plan.T} rank={plan.rank}, "
            f"on {', '.join(plan.devices)}",
            f"{sessions} sessions of {plan.steps} measured steps, interleaved over {', '.join(plan.quants)}",
        ]
        lines += [
            f"  {item.quant}: program about {_mb(item.program_bytes)} MB, "
            f"memory about {_mb(item.memory_bytes)} MB, step about {_step(item.seconds_per_step)}"
            for item in self.settings
        ]
        lines += [
            f"time: export about {duration(self.export_seconds)} if nothing is cached, "
            f"measuring about {duration(self.measure_seconds)} on a device like a two-core desktop",
            f"disk: {_mb(self.host_disk_bytes)} MB on the host, {_mb(self.device_disk_bytes)} MB on each device",
        ]
        return lines


def forecast(plan: Plan) -> Forecast:
    """Figures from the shapes alone; nothing is loaded, exported or contacted."""
    config = model_config(plan.model)
    export_each = _EXPORT_SECONDS + config.layers * _EXPORT_SECONDS_PER_LAYER
    export_each += config.parameter_counts().total * _EXPORT_SECONDS_PER_VALUE
    reference = sum(
        affordable_steps(workload, config, REFERENCE_STEPS) * step_seconds(workload, config)
        for workload in plan.workloads(answers=1)
    )
    settings = tuple(
        SettingForecast(quant, item.program_bytes, item.memory_bytes, item.flops_per_step / _HOST_FLOPS_PER_S)
        for quant, item in zip(plan.quants, estimates(plan), strict=True)
    )
    steps = plan.steps + _WARM_UP_STEPS
    rounds = plan.sessions * len(plan.devices)
    disk = sum(item.program_bytes for item in settings)
    return Forecast(
        settings=settings,
        export_seconds=len(settings) * export_each + reference,
        measure_seconds=rounds * sum(_LOAD_SECONDS + steps * item.seconds_per_step for item in settings),
        host_disk_bytes=disk,
        device_disk_bytes=disk,
    )


def _mb(size_bytes: int) -> str:
    return rounded(size_bytes / 1e6)


def _step(seconds: float) -> str:
    return f"{rounded(seconds)} s" if seconds >= 1 else f"{rounded(seconds * 1e3)} ms"
