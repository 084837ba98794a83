"""Values of metrics for a terminal: as reports write them, in characters that can be typed, searched and pasted."""

from __future__ import annotations

from reports import metrics

_TYPED = str.maketrans({"\u00a0": " ", "\u2212": "-", "\u2013": "-"})


def shown_value(metric: str, stored: float) -> str:
    """`latency_ms` and 1234.5 give `1.23 s`."""
    return metrics.metric_value(metric, stored).translate(_TYPED)


def shown_span(metric: str, low: float, high: float, like: float) -> str:
    """An interval with the unit and the places of the value `like` that it belongs to: `1.21-1.27 s`."""
    return metrics.metric_span(metric, low, high, like).translate(_TYPED)
