"""The samples of one sensor over one session."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class SensorTrace:
    """Times in nanoseconds of the device's CLOCK_MONOTONIC and the value read at each, in the quantity's unit.

    `clock_error_ms`: how far the times can be off that clock; 0 for what the runner itself has sampled.
    """

    sensor: str
    quantity: str
    t_ns: tuple[int, ...]
    values: tuple[float, ...]
    clock_error_ms: float = 0.0

    def __post_init__(self) -> None:
        if len(self.t_ns) != len(self.values):
            raise ValueError(f"{self.sensor}: {len(self.t_ns)} times for {len(self.values)} values")
