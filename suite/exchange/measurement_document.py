"""Defines the measurement document in an exported run, and the types of values in the whole file."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, FiniteFloat, StringConstraints

from foundation.text import printable
from suite.sessions.events import MAX_TEXT_CHARS, Count, Rows, Text

_DEEPEST = 8
_LARGEST_INTEGER = 2**63 - 1
_NAME_CHARS = 200
_MOST_PLAIN_VALUES = 100_000
_MOST_TEXTS = 1000


def _plain(value: Any, depth: int = 0) -> Any:
    """Checks nested JSON: finite numbers, printable text, at most eight levels deep.

    Raises ValueError for the first wrong value.
    """
    if depth > _DEEPEST:
        raise ValueError(f"it is nested more than {_DEEPEST} levels deep")
    if isinstance(value, str):
        return printable(value, MAX_TEXT_CHARS)
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("a number in it is not finite")
    if isinstance(value, int) and abs(value) > _LARGEST_INTEGER:
        raise ValueError("a number in it is larger than 64 bits")
    if isinstance(value, dict):
        return {printable(key, _NAME_CHARS): _plain(item, depth + 1) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item, depth + 1) for item in value]
    return value


def _small(value: dict[str, Any]) -> dict[str, Any]:
    """Checks the number of values within an object, and each of them."""
    level, count = list(value.values()), 0
    while level:
        count += len(level)
        if count > _MOST_PLAIN_VALUES:
            raise ValueError(f"it has more than {_MOST_PLAIN_VALUES} values")
        inner = (one.values() if isinstance(one, dict) else one for one in level if isinstance(one, dict | list))
        level = [item for items in inner for item in items]
    return value


def _texts(value: dict[str, Any]) -> dict[str, str]:
    """Checks texts by name. Raises ValueError for the first wrong one, instead of an error for each."""
    if len(value) > _MOST_TEXTS:
        raise ValueError(f"it has {len(value)} names, but the limit is {_MOST_TEXTS}")
    for key, text in value.items():
        if not isinstance(text, str) or not 0 < len(key) <= _NAME_CHARS:
            raise ValueError(f"{printable(key, 40)!r} is not a name with a text")
    return {_name(key): printable(text, MAX_TEXT_CHARS) for key, text in value.items()}


def _name(text: str) -> str:
    return printable(text, _NAME_CHARS)


Name = Annotated[str, StringConstraints(min_length=1, max_length=_NAME_CHARS), AfterValidator(_name)]
Plain = Annotated[dict[str, Any], AfterValidator(_small), AfterValidator(_plain)]
Texts = Annotated[dict[str, Any], AfterValidator(_texts)]
Whole = Annotated[int, Field(ge=-_LARGEST_INTEGER, le=_LARGEST_INTEGER)]
Word = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.-]{1,64}$")]


class Part(BaseModel):
    """Values as the JSON parser returns them; only lists become tuples, and words become enumerations."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class Missing(Part):
    """The reason why something was not measured."""

    unavailable: Text


Role = Literal["measured", "candidate", "baseline"]
Number = Whole | FiniteFloat | Missing
KiB = Count | Missing
Interval = Annotated[Rows[FiniteFloat], Field(min_length=2, max_length=2)] | Missing


class Latency(Part):
    """Latencies in milliseconds, with percentiles only if there are enough steps."""

    median: Number
    ci95: Interval
    ci95_method: Text | None = None
    sessions: Annotated[Rows[FiniteFloat], Field(max_length=100_000)]
    cv_percent: Number
    max: Number
    p50: Number | None = None
    p90: Number | None = None
    p95: Number | None = None
    p99: Number | None = None


class Load(Part):
    """Milliseconds."""

    median: Number


class Energy(Part):
    """The energy in millijoules per step, and how it was obtained."""

    gross: Number
    net: Number
    method: Text
    rate_hz: Number
    alignment_error_ms: Number
    short: bool
    sessions_gross: Annotated[Rows[FiniteFloat], Field(max_length=100_000)] | None = None
    sessions_net: Annotated[Rows[FiniteFloat], Field(max_length=100_000)] | None = None


class Power(Part):
    """Milliwatts."""

    mean: Number
    idle: Number


class Temperature(Part):
    """Temperatures in degrees Celsius."""

    start: Number
    max: Number


class Losses(Part):
    """The first and last loss, the deviation of the first steps from the reference, its noise and the size of L+ - L-.

    Also the values they were trained with.
    """

    first: Number
    last: Number
    max_relative_error: Number
    reference_steps: Number
    noise: Number | None = None
    difference: Number | None = None
    lr: Number | None = None
    eps: Number | None = None


class Setup(Part):
    """Threads, allowed CPUs, power mode, and the runner's kernels beside the widest."""

    threads: Count | Missing
    cpus: Annotated[Rows[Count], Field(max_length=4096)] | Missing
    power_mode: Text | Missing
    kernels: Text | Missing | None = None
    widest_kernels: Text | Missing | None = None


class LatencyRatio(Part):
    """The ratio of medians, with its interval."""

    ratio: Number
    ci95: Interval


class Ratio(Part):
    """Ratios to the reference setting."""

    setting: Name
    latency: LatencyRatio


class Readings(Part):
    """The readings of a sensor that the user added, from lowest to highest."""

    low: FiniteFloat
    mean: FiniteFloat
    high: FiniteFloat


class Sensor(Part):
    """How a sensor was read, or why not."""

    name: Name
    quantity: Word
    method: Text | None = None
    unavailable: Text | None = None
    readings: Readings | None = None


class MeasurementDocument(Part):
    """The measurement document of docs/contracts.md; the store's also has its role."""

    role: Role | None = None
    device: Name
    kind: Name
    emulated: bool
    workload: Plain
    arithmetic: Text | None = None
    forward_tokens: Number = Missing(unavailable="not recorded by this run")
    busy: Text | None = None
    status: Literal["ok", "unstable", "unsupported", "failed", "invalid", "partial"]
    reason: Text | None
    setup: Setup | Missing | None = None
    latency_ms: Latency | Missing
    load_ms: Load | Missing
    peak_memory_kib: KiB
    memory_after_load_kib: KiB
    program_bytes: Count | Missing
    weight_bytes: Count | Missing
    energy_mj_per_step: Energy | Missing
    power_mw: Power | Missing
    temperature_c: Temperature | Missing
    loss: Losses | Missing
    stability: Number
    throttled: bool
    ratio_to_reference: Ratio | Missing
    sensors: Annotated[Rows[Sensor], Field(max_length=1000)]
    sampler_overhead_percent: Number
