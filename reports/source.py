"""What a report is made of: the one interface between the store and the pages.

The store implements :class:`ReportSource`; nothing here knows how results are kept.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol


@dataclass(frozen=True)
class RunSummary:
    """One line of the index. Times are ISO 8601 with an offset; ``finished_at`` is None while a run is going on
    or when it was interrupted. ``measurements`` is their count."""

    run_id: str
    started_at: str
    finished_at: str | None
    status: str
    command: str
    devices: Sequence[str]
    settings: Sequence[str]
    measurements: int


@dataclass(frozen=True)
class Step:
    """One training step as the runner reported it.

    ``index`` counts from 0 with the first warm-up step; ``phase`` is ``warm_up`` or ``measured``; times are
    nanoseconds of the device's monotonic clock; ``losses`` is the flattened [2, q] output
    (``+`` first, then ``-``), NaN allowed.
    """

    index: int
    phase: str
    t0_ns: int
    t1_ns: int
    losses: Sequence[float]


@dataclass(frozen=True)
class Samples:
    """What one sensor gave: ``values[i]`` at ``t_ns[i]`` (the clock of the steps). The quantity names its unit:
    ``memory_kib``, ``power_mw``, ``temperature_mc``."""

    quantity: str
    t_ns: Sequence[int]
    values: Sequence[float]


@dataclass(frozen=True)
class SessionTrace:
    """Steps and sensor samples of one session; both empty when the session left none."""

    steps: Sequence[Step] = ()
    samples: Mapping[str, Samples] = field(default_factory=dict)


class ReportSource(Protocol):
    """Where the pages get their facts."""

    def runs(self) -> list[RunSummary]:
        """Every run there is, in any order."""
        ...

    def document(self, run_id: str) -> dict[str, Any]:
        """The document of a run: docs/contracts.md ("Measurement as a document") with, besides:

        - ``started_at``, ``finished_at`` (ISO 8601 or None), ``command``, ``environment`` (str to str);
        - ``devices``: name to ``{"kind", "emulated", "facts": {…},
          "preflight": [{"name", "status", "detail", "remedy"}]}``;
        - in each measurement ``measurement_id`` and ``sessions``: ``[{"session_id", "ordinal", "attempt", "status",
          "reason", "median_ms", "t_begin_ns", "load_ms", "hwm_kib"}]``; optionally ``reference_losses``: the
          flattened losses of the eager reference for step 0, 1, …, as far as they are known.

        Only called with the ``run_id`` of one of :meth:`runs`.
        """
        ...

    def trace(self, session_id: str) -> SessionTrace:
        """Steps and samples of one session of a document; an empty trace when nothing was recorded."""
        ...
