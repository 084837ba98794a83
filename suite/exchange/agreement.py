"""Whether the numbers of a document follow from the steps that come with it."""

from __future__ import annotations

import math
from collections.abc import Sequence

from suite import stats

_NS_PER_MS = 1e6
_TOLERANCE = 1e-6


def require_forward(t0_ns: Sequence[int], t1_ns: Sequence[int]) -> None:
    """ValueError when a step ends before it begins."""
    if any(end < begin for begin, end in zip(t0_ns, t1_ns, strict=True)):
        raise ValueError("a step ends before it begins")


def step_median_ms(phases: Sequence[str], t0_ns: Sequence[int], t1_ns: Sequence[int]) -> float | None:
    """Median duration of the measured steps, milliseconds; None where there is none."""
    measured = [
        (end - begin) / _NS_PER_MS
        for phase, begin, end in zip(phases, t0_ns, t1_ns, strict=True)
        if phase == "measured"
    ]
    return stats.median(measured) if measured else None


def require_medians(told_ms: float, told_sessions_ms: Sequence[float], found_ms: Sequence[float | None]) -> None:
    """ValueError unless a latency is the median of its sessions' medians, each of which is that of some steps.

    `told_ms` and `told_sessions_ms` are the document's; `found_ms` what the steps of each session give.
    """
    medians = [value for value in found_ms if value is not None]
    for told in told_sessions_ms:
        if not any(math.isclose(told, value, rel_tol=_TOLERANCE) for value in medians):
            raise ValueError(f"a session's latency of {told:g} ms is that of no steps in the file")
    if told_sessions_ms and not math.isclose(told_ms, stats.median(list(told_sessions_ms)), rel_tol=_TOLERANCE):
        raise ValueError(f"the latency of {told_ms:g} ms is not the median of its sessions")
