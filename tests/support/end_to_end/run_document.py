"""The document of `suite run --json` as in docs/contracts.md: every key, with a reason in place of missing values."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Positive = Annotated[float, Field(gt=0)]


class _Exact(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Missing(_Exact):
    unavailable: Annotated[str, Field(min_length=5)]


class Workload(_Exact):
    model: str
    method: str
    quant: str
    backend: str
    q: int
    b: int
    T: int
    rank: int


class Latency(_Exact):
    median: Positive
    ci95: list[float] | Missing
    ci95_method: str
    sessions: list[Positive]
    cv_percent: float | Missing
    max: Positive
    p50: Positive | Missing | None = None
    p90: Positive | Missing | None = None
    p95: Positive | Missing | None = None
    p99: Positive | Missing | None = None


class Load(_Exact):
    median: Positive


class Energy(_Exact):
    gross: Positive
    net: float | Missing
    method: str
    rate_hz: Positive
    alignment_error_ms: float
    short: bool
    sessions_gross: list[Positive]
    sessions_net: list[float] | None = None


class Power(_Exact):
    mean: Positive
    idle: Positive | Missing


class Temperature(_Exact):
    start: float
    max: float


class Loss(_Exact):
    first: float
    last: float
    max_relative_error: float | Missing
    reference_steps: int | Missing
    noise: Positive | Missing
    difference: float | Missing
    lr: float
    eps: Positive


class Setup(_Exact):
    threads: Annotated[int, Field(gt=0)]
    cpus: list[int]
    power_mode: str | Missing
    kernels: str | None = None
    widest_kernels: str | None = None


class LatencyRatio(_Exact):
    ratio: Positive
    ci95: list[float] | Missing


class Ratio(_Exact):
    setting: str
    latency: LatencyRatio


class Readings(_Exact):
    low: float
    mean: float
    high: float


class Sensor(_Exact):
    name: str
    quantity: str
    method: str | None = None
    unavailable: str | None = None
    readings: Readings | None = None


class Measurement(_Exact):
    device: str
    kind: str
    emulated: bool
    workload: Workload
    arithmetic: str | None = None
    forward_tokens: float
    busy: str | None = None
    status: Literal["ok", "unstable", "unsupported", "failed", "invalid", "partial"]
    reason: str | None
    setup: Setup | Missing
    latency_ms: Latency | Missing
    load_ms: Load | Missing
    peak_memory_kib: int | Missing
    memory_after_load_kib: int | Missing
    program_bytes: int | Missing
    weight_bytes: int | Missing
    energy_mj_per_step: Energy | Missing
    power_mw: Power | Missing
    temperature_c: Temperature | Missing
    throttled: bool
    loss: Loss | Missing
    stability: float | Missing
    ratio_to_reference: Ratio | Missing
    sensors: list[Sensor]
    sampler_overhead_percent: float | Missing


class RunDocument(_Exact):
    run_id: str
    report: str
    measurements: list[Measurement]
