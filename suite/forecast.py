"""`--dry-run`: what a plan will do, and about how much time, memory and disk it will take."""

from __future__ import annotations

from dataclasses import dataclass

from suite.home import Home
from suite.plan import Plan
from suite.preparation import estimates
from workloads.models.zoo import model_config

_HOST_FLOPS_PER_S = 1.5e11
"""Two cores of a recent x86 or three of a big Arm core in float32, when nothing was measured yet."""

_EXPORT_SECONDS_PER_LAYER = 0.3
_EXPORT_SECONDS = 18.0
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
            f"  {item.quant}: program about {item.program_bytes / 1e6:.0f} MB, "
            f"memory about {item.memory_bytes / 1e6:.0f} MB, step about {item.seconds_per_step:.1f} s"
            for item in self.settings
        ]
        lines += [
            f"time: export about {_duration(self.export_seconds)} if nothing is cached, "
            f"measuring about {_duration(self.measure_seconds)} on a device like a two-core desktop",
            f"disk: {self.host_disk_bytes / 1e6:.0f} MB on the host, {self.device_disk_bytes / 1e6:.0f} MB on each device",
        ]
        return lines


def forecast(plan: Plan, home: Home) -> Forecast:
    """Figures from the shapes alone; nothing is loaded, exported or contacted."""
    del home
    layers = model_config(plan.model).layers
    settings = tuple(
        SettingForecast(quant, item.program_bytes, item.memory_bytes, item.flops_per_step / _HOST_FLOPS_PER_S)
        for quant, item in zip(plan.quants, estimates(plan), strict=True)
    )
    steps = plan.steps + _WARM_UP_STEPS
    rounds = plan.sessions * len(plan.devices)
    disk = sum(item.program_bytes for item in settings)
    return Forecast(
        settings=settings,
        export_seconds=len(settings) * (_EXPORT_SECONDS + layers * _EXPORT_SECONDS_PER_LAYER),
        measure_seconds=rounds * sum(_LOAD_SECONDS + steps * item.seconds_per_step for item in settings),
        host_disk_bytes=disk,
        device_disk_bytes=disk,
    )


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
