"""The metrics whose history is kept: where each stands in a measurement document, and which way is better."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from foundation.unavailable import is_number


@dataclass(frozen=True)
class Metric:
    """`name` holds the unit; `direction` is what is better; `floor` is the least relative change that matters."""

    name: str
    path: tuple[str, ...]
    direction: Literal["lower", "higher"] = "lower"
    floor: float = 0.0


METRICS = (
    Metric("latency_ms", ("latency_ms", "median")),
    # Milliseconds of a file system's mood, and paid once a session.
    Metric("load_ms", ("load_ms", "median"), floor=0.10),
    Metric("peak_memory_kib", ("peak_memory_kib",)),
    Metric("memory_after_load_kib", ("memory_after_load_kib",)),
    Metric("program_bytes", ("program_bytes",)),
    Metric("energy_gross_mj_per_step", ("energy_mj_per_step", "gross")),
    Metric("energy_net_mj_per_step", ("energy_mj_per_step", "net")),
    Metric("power_mw", ("power_mw", "mean")),
)

#: Only measurements of these become points of a series.
STATUSES_WITH_POINTS = ("ok", "unstable", "partial")


def metric_value(document: Mapping[str, Any], metric: Metric) -> float | None:
    """The metric's number in a measurement document, None where it is unavailable."""
    value: Any = document
    for key in metric.path:
        if not isinstance(value, Mapping) or key not in value:
            return None
        value = value[key]
    return float(value) if is_number(value) else None
