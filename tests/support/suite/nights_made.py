"""Series, pairs and verdicts of nights, made by hand."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from reports.model.measurement import Measurement
from suite.nightly.evidence import ScreenedSeries, screen_series
from suite.nightly.judging import JudgedSeries, Night
from suite.regression.verdict import Verdict, Word
from suite.store.nights import SeriesTonight, StoredPoint

DEVICE, KEY = "board", "tiny/prge/int8/xnnpack/q4/b4/T64/rank16"
LEVELS = tuple(100.0 * (1 + 0.004 * math.sin(17.0 * i)) for i in range(60))
"""A history without any change; the number of a night is that of its measurement."""
DRIFTING = tuple(100.0 * 1.0012**i * (1 + 0.002 * math.sin(17.0 * i)) for i in range(60))


def point(number: int, value: float, **changed: Any) -> StoredPoint:
    stored = StoredPoint(
        series_id=1, measurement_id=number, at=f"2026-01-01T00:00:00.{number:03d}+00:00", value=value,
        fingerprint="same", verdict="unchanged", numbers={}, accepted=False,
    )  # fmt: skip
    return replace(stored, **changed)


def history(values: Sequence[float] = LEVELS[:40]) -> list[StoredPoint]:
    """A point for each value, measurements 1, 2, 3 and so on."""
    return [point(number, value) for number, value in enumerate(values, 1)]


def tonight_of(
    before: Sequence[StoredPoint], value: float, metric: str = "latency_ms", **changed: Any
) -> ScreenedSeries:
    """A series with these points and tonight's, screened."""
    last = point(1000, value, verdict=None, **changed)
    return screen_series(SeriesTonight(DEVICE, KEY, metric, last, tuple(before)))


def verdict_of(
    word: Word,
    series: int = 1,
    sentence: str = "It is so.",
    cause: Any = None,
    verdict: str | None = None,
    **numbers: Any,
) -> JudgedSeries:
    """A series with this verdict; `verdict` is one that tonight's point had before."""
    before = tonight_of(history(), 100.0)
    tonight = replace(before.series.tonight, series_id=series, verdict=verdict)
    own = replace(before, series=replace(before.series, device=f"board-{series}", tonight=tonight))
    return JudgedSeries(own, Verdict(own.series.name, word, cause, sentence, numbers))


def result_of(status: str, reason: str = "it broke", device: str = "board") -> Measurement:
    workload = {"model": "tiny", "quant": "int8"}
    return Measurement.from_document({"device": device, "workload": workload, "status": status, "reason": reason})


def night(*found: JudgedSeries, measurements: Sequence[Measurement] = (), **commands: str) -> Night:
    """`commands` by the name of a device with `_` for `-`."""
    typed = {(device.replace("_", "-"), KEY): command for device, command in commands.items()}
    return Night("2026-02-03T02-30-00-abcd", tuple(found), tuple(measurements), typed, "/site/night.html")
