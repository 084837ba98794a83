"""`--dry-run`: what a plan will do, and about how much time, memory and disk it will take."""

from __future__ import annotations

from dataclasses import dataclass

from suite.demands import estimates
from suite.plan import Plan, reference_steps
from suite.shown import duration, rounded
from workloads.estimate import Estimate
from workloads.models.config import LlamaConfig
from workloads.models.named import model_config
from workloads.reference_cost import affordable_steps, step_seconds

_FLOPS_PER_S = {"fp32": 3.2e11, "fp16": 2.4e11, "int8": 8.0e11, "nf4": 3.2e11}
"""Of products, on two cores of a recent x86 (README.md has the steps they were taken from)."""

_SECONDS_PER_STEP = 4e-4
_SECONDS_PER_CALL = 3e-5
"""What a step costs beside its products: in all, and for each call of a layer."""

_EXPORT_SECONDS = {"fp32": 6.0, "fp16": 6.0, "int8": 6.0, "nf4": 1.0}
_EXPORT_SECONDS_PER_LAYER = {"fp32": 0.3, "fp16": 0.3, "int8": 0.3, "nf4": 0.1}
_EXPORT_SECONDS_PER_CALL = {"fp32": 0.05, "fp16": 0.05, "int8": 0.05, "nf4": 0.1}
_EXPORT_SECONDS_PER_VALUE = 3e-8
_REFERENCE_SHARE = 0.6
"""Of what the reference is allowed to count on (docs/export.md)."""

_LOAD_SECONDS = 3.0
_WARM_UP_STEPS = 4
_RUNNER_BYTES = 15_500_000


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
    reference = _REFERENCE_SHARE * sum(
        affordable_steps(workload, config, reference_steps(workload.quant)) * step_seconds(workload, config)
        for workload in plan.workloads(answers=1)
    )
    named = list(zip(plan.quants, estimates(plan), strict=True))
    exporting = sum(_export_seconds(quant, item, config) for quant, item in named)
    settings = tuple(
        SettingForecast(quant, item.program_bytes, item.memory_bytes, _step_seconds(quant, item))
        for quant, item in named
    )
    steps = plan.steps + _WARM_UP_STEPS
    rounds = plan.sessions * len(plan.devices)
    disk = sum(item.program_bytes for item in settings) + _RUNNER_BYTES
    return Forecast(
        settings=settings,
        export_seconds=exporting + reference,
        measure_seconds=rounds * sum(_LOAD_SECONDS + steps * item.seconds_per_step for item in settings),
        host_disk_bytes=disk,
        device_disk_bytes=disk,
    )


def _step_seconds(quant: str, needed: Estimate) -> float:
    beside = _SECONDS_PER_STEP + needed.layer_calls * _SECONDS_PER_CALL
    return beside + needed.flops_per_step / _FLOPS_PER_S[quant]


def _export_seconds(quant: str, needed: Estimate, config: LlamaConfig) -> float:
    of_graph = config.layers * _EXPORT_SECONDS_PER_LAYER[quant] + needed.layer_calls * _EXPORT_SECONDS_PER_CALL[quant]
    return _EXPORT_SECONDS[quant] + of_graph + config.parameter_counts().total * _EXPORT_SECONDS_PER_VALUE


def _mb(size_bytes: int) -> str:
    return rounded(size_bytes / 1e6)


def _step(seconds: float) -> str:
    return f"{rounded(seconds)} s" if seconds >= 1 else f"{rounded(seconds * 1e3)} ms"
