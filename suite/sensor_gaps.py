"""Sensors that failed while a session was measured: what they said before and after doesn't stand for all of it."""

from __future__ import annotations

import numpy as np

from suite.energy import GAP_PERIODS, GAP_SHARE
from suite.record import SessionRecord


def gap(record: SessionRecord, sensor: str) -> str | None:
    """Why the samples of a sensor can't stand for the measured steps: its error, and how long it gave no reading.

    None for a sensor without errors, and for one whose errors cost no more than what `coverage_trouble` lets pass:
    `GAP_PERIODS` of its periods, or `GAP_SHARE` of the time. Edges count too: it may have been gone from the first
    step on, or to the last one.
    """
    error, window = record.sensor_errors.get(sensor), record.measured_window_ns
    if error is None or window is None:
        return error
    trace = record.samples.get(sensor)
    if trace is None or len(trace.t_ns) < 2:
        return error
    begin_ns, end_ns = window
    times = np.asarray(trace.t_ns, dtype=np.int64)
    period_ns = float(np.median(np.diff(times)))
    inside = times[(times > begin_ns) & (times < end_ns)]
    before = times[times <= begin_ns][-1:] if times[0] <= begin_ns else np.array([begin_ns])
    after = times[times >= end_ns][:1] if times[-1] >= end_ns else np.array([end_ns])
    longest_ns = int(np.diff(np.concatenate((before, inside, after))).max())
    if longest_ns <= max(GAP_PERIODS * period_ns, GAP_SHARE * (end_ns - begin_ns)):
        return None
    return f"{error}; it gave no reading for {longest_ns / 1e9:.1f} s of the {(end_ns - begin_ns) / 1e9:.1f} s"
