"""One pass over the traces of a run: all rows go to the CSV files, thinned lines with extremes to the figures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from foundation.unavailable import Unavailable
from reports.model.measurement import Measurement, Session
from reports.model.source import ReportSource, Samples, SessionTrace, Step


def kept(values: Sequence[float] | NDArray[np.float64], limit: int) -> NDArray[np.int64]:
    """Returns ascending indices of at most ``limit`` values: first, last, and the extremes of each stretch.

    Args:
        values: finite numbers.
        limit: how many to keep, at least 6.

    Raises:
        ValueError: ``limit`` is below 6.
    """
    if limit < 6:
        raise ValueError(f"thinning needs room for 6 points, not {limit}")
    array = np.asarray(values, dtype=np.float64)
    if array.size <= limit:
        return np.arange(array.size, dtype=np.int64)
    edges = np.linspace(0, array.size, (limit - 2) // 2 + 1).astype(np.int64)
    chosen = {0, array.size - 1}
    for begin, end in pairwise(edges.tolist()):
        stretch = array[begin:end]
        chosen.add(begin + int(stretch.argmin()))
        chosen.add(begin + int(stretch.argmax()))
    return np.array(sorted(chosen), dtype=np.int64)


_POINTS_IN_A_FIGURE = 24_000
_LEAST_POINTS, _MOST_POINTS = 60, 800


@dataclass(frozen=True)
class Line:
    """Points to draw; ``recorded`` is how many there were, ``name`` the sensor's, if any."""

    x: list[float]
    y: list[float]
    recorded: int
    name: str = ""


@dataclass(frozen=True)
class SessionLines:
    """The lines that the figures draw for one session.

    ``steps``: x = step counted from the first measured one (warm-up is negative), y = latency in ms.
    ``losses``: x = step index, y = mean loss. ``sensors``: quantity to lines, x = seconds since the session began.
    """

    measurement: Measurement
    ordinal: str
    attempt: str
    status: str
    steps: Line
    losses: Line
    sensors: Mapping[str, list[Line]] = field(default_factory=dict)


class TraceRows(Protocol):
    """Receives the rows of each trace."""

    def add(self, measurement: Measurement, session: Session, trace: SessionTrace) -> None:
        """Takes all steps and samples of one session."""
        ...


def gather(source: ReportSource, found: Sequence[Measurement], rows: TraceRows) -> list[SessionLines]:
    """Returns the lines of every session of ``found`` and passes all its rows to ``rows``."""
    sessions = [(item, session) for item in found for session in item.sessions]
    limit = max(_LEAST_POINTS, min(_MOST_POINTS, _POINTS_IN_A_FIGURE // max(1, len(sessions))))
    gathered = []
    for item, session in sessions:
        trace = source.trace(session.session_id)
        rows.add(item, session, trace)
        gathered.append(_lines(item, session, trace, limit))
    return gathered


def ordinal_text(ordinal: int | None) -> str:
    """Formats a number that the store counts from 0, counting from 1 as people do."""
    return "?" if ordinal is None else str(ordinal + 1)


def latency_ms(step: Step) -> float:
    """Returns how long a step took."""
    return (step.t1_ns - step.t0_ns) / 1e6


def mean_loss(step: Step) -> float:
    """Returns the mean over the queries and both signs, NaN if the step reported no loss."""
    return sum(step.losses) / len(step.losses) if step.losses else float("nan")


def _lines(item: Measurement, session: Session, trace: SessionTrace, limit: int) -> SessionLines:
    steps = trace.steps
    first_measured = next(
        (step.index for step in steps if step.phase == "measured"), steps[-1].index + 1 if steps else 0
    )
    sensors: dict[str, list[Line]] = {}
    begin_ns = _begin_ns(session, trace)
    for name, samples in trace.samples.items():
        sensors.setdefault(samples.quantity, []).append(_sensor_line(name, samples, begin_ns, limit))
    return SessionLines(
        measurement=item,
        ordinal=ordinal_text(session.ordinal),
        attempt=ordinal_text(session.attempt),
        status=session.status,
        steps=_thinned([step.index - first_measured for step in steps], [latency_ms(step) for step in steps], limit),
        losses=_thinned([step.index for step in steps], [mean_loss(step) for step in steps], limit),
        sensors=sensors,
    )


def _begin_ns(session: Session, trace: SessionTrace) -> int:
    """Returns when the session began, or the start of its trace if the recorded time is missing or can't be right."""
    moments = [step.t0_ns for step in trace.steps[:1]]
    moments += [samples.t_ns[0] for samples in trace.samples.values() if len(samples.t_ns)]
    earliest = min(moments, default=0)
    recorded = session.t_begin_ns
    return earliest if isinstance(recorded, Unavailable) or recorded > earliest else int(recorded)


def _sensor_line(name: str, samples: Samples, begin_ns: int, limit: int) -> Line:
    # Subtracted as integers: a float would lose the last digits of a long uptime in nanoseconds.
    seconds = (np.asarray(samples.t_ns, dtype=np.int64) - begin_ns) / 1e9
    return _thinned(seconds.tolist(), samples.values, limit, name)


def _thinned(x: Sequence[float], y: Sequence[float], limit: int, name: str = "") -> Line:
    along, values = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    good = np.isfinite(values)
    along, values = along[good], values[good]
    chosen = kept(values, limit)
    return Line(along[chosen].tolist(), values[chosen].tolist(), recorded=int(values.size), name=name)
