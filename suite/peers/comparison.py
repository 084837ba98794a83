"""Holds what was measured of the suite's own steps and of peers, and compares them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from foundation.unavailable import Json, Unavailable, as_document
from reports.model.reading import Interval
from suite import stats
from suite.peers.peer import Work
from suite.sessions.record import SessionRecord

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Row:
    """The results of one contender: the median of its steps in each round, its peak memory and energy per step.

    `setting`: that of the suite's own steps, or None for a peer. `logits_error`: how far a peer's logits are from the
    reference's (`logits_difference`).
    """

    name: str
    work: Work
    dtype: str
    setting: str | None = None
    round_s: tuple[float, ...] = ()
    peak_memory_kib: int | None = None
    round_j: tuple[float | Unavailable, ...] = ()
    logits_error: float | None = None

    @property
    def seconds(self) -> float:
        """The median over rounds."""
        return stats.median(self.round_s)

    @property
    def joules(self) -> float | Unavailable:
        """The median over rounds, or why one of them has none."""
        known = [one for one in self.round_j if not isinstance(one, Unavailable)]
        missing = [one for one in self.round_j if isinstance(one, Unavailable)]
        return missing[0] if missing else stats.median(known)

    def with_round(self, record: SessionRecord, joules: float | Unavailable) -> Row:
        """Returns the row with one more round."""
        peaks = [peak for peak in (self.peak_memory_kib, record.peak_memory_kib) if peak is not None]
        return replace(
            self,
            round_s=(*self.round_s, stats.median(record.latencies_ms) / 1e3),
            peak_memory_kib=max(peaks, default=None),
            round_j=(*self.round_j, joules),
        )


@dataclass(frozen=True)
class PeerComparison:
    """All rows, the suite's own first; why a peer is missing or failed, by name; and the workload.

    `workload`: model, q, b, T and rank of all rows; `forward_tokens`: the tokens that each of them computes.
    """

    workload: Mapping[str, Json]
    forward_tokens: int
    threads: int
    rows: tuple[Row, ...]
    missing: Mapping[str, str]
    failed: Mapping[str, str]

    @property
    def own(self) -> tuple[Row, ...]:
        """The suite's steps."""
        return tuple(row for row in self.rows if row.setting is not None)

    def ratio(self, own: Row, row: Row) -> tuple[float, Interval | Unavailable]:
        """Returns how many times as long the suite's step takes: the median over rounds, and its interval."""
        ratios = [ours / theirs for ours, theirs in zip(own.round_s, row.round_s, strict=True)]
        return stats.median(ratios), stats.session_interval(ratios)

    def document(self) -> dict[str, Json]:
        """Returns the comparison as JSON values."""
        return {
            "workload": self.workload,
            "forward_tokens": self.forward_tokens,
            "threads": self.threads,
            "interval_method": stats.INTERVAL_METHOD,
            "rows": [self._row(row) for row in self.rows],
            "missing": dict(self.missing),
            "failed": dict(self.failed),
        }

    def _row(self, row: Row) -> dict[str, Json]:
        ratios = {str(own.setting): self.ratio(own, row) for own in self.own}
        return {
            "name": row.name,
            "work": str(row.work),
            "dtype": row.dtype,
            "setting": row.setting,
            "round_s": list(row.round_s),
            "seconds": row.seconds,
            "ci95_s": as_document(stats.session_interval(row.round_s)),
            "tokens_per_s": self.forward_tokens / row.seconds,
            "peak_memory_kib": row.peak_memory_kib,
            "joules": as_document(row.joules),
            "logits_error": row.logits_error,
            "suite_takes_times": {
                setting: {"ratio": ratio, "ci95": as_document(interval)}
                for setting, (ratio, interval) in ratios.items()
            },
        }


def logits_difference(found: Array, exact: Array) -> float:
    """Returns the rms of the difference between logits [..., vocabulary], relative to the rms of `exact`.

    Means over the vocabulary, on which no probability depends, are subtracted from both.
    """
    found, exact = (logits - logits.mean(-1, keepdims=True) for logits in (found.astype(float), exact.astype(float)))
    return float(np.sqrt(np.mean((found - exact) ** 2) / np.mean(exact**2)))
