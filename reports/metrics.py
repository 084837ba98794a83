"""Metrics of series as people read them: a title, and values in the unit that fits.

The unit is the end of the metric's name; a name that ends otherwise is shown as a plain number.
"""

from reports.numbers import Unit, decimals, plain, quantity, span, unit_for

_TITLES = {
    "latency_ms": "Latency of a step",
    "load_ms": "Load",
    "peak_memory_kib": "Peak memory",
    "memory_after_load_kib": "Memory after load",
    "program_bytes": "Program size",
    "energy_gross_mj_per_step": "Energy per step, gross",
    "energy_net_mj_per_step": "Energy per step, net",
    "power_mw": "Power, mean",
}
# Ending: the unit that quantities know, and stored value times this is in it.
_STORED = {
    "_ms": ("ms", 1.0),
    "_kib": ("KiB", 1.0),
    "_bytes": ("KiB", 1 / 1024),
    "_mj_per_step": ("mJ", 1.0),
    "_mw": ("mW", 1.0),
}
_PLACES = {name: place for place, name in enumerate(_TITLES)}


def metric_title(metric: str) -> str:
    """``latency_ms`` is ``Latency of a step``."""
    return _TITLES.get(metric, metric.replace("_", " "))


def metric_order(metric: str) -> tuple[int, str]:
    """Sorts metrics as the tables of a run do, unknown ones last."""
    return _PLACES.get(metric, len(_PLACES)), metric


def metric_value(metric: str, stored: float) -> str:
    """A value with its unit."""
    unit, factor = _stored(metric)
    return quantity(stored * factor, unit) if unit else plain(stored, decimals(stored))


def metric_span(metric: str, low: float, high: float, like: float) -> str:
    """An interval with the unit and the places of the value it belongs to."""
    unit, factor = _stored(metric)
    if not unit:
        places = decimals(like)
        return f"{plain(low, places)}\u2013{plain(high, places)}"
    return span(low * factor, high * factor, unit, like=like * factor)


def metric_unit(metric: str, largest: float) -> Unit:
    """The unit for an axis that goes up to ``largest``; its factor turns stored values into shown ones."""
    unit, factor = _stored(metric)
    if not unit:
        return Unit("", 1.0)
    shown = unit_for(largest * factor, unit)
    return Unit(shown.name, shown.factor * factor)


def percent_change(ratio: float) -> str:
    """``1.052`` is ``+5.2 %``, with a true minus sign."""
    change = 100 * (ratio - 1)
    return f"{'+' if change >= 0 else ''}{plain(change, 1)}\u00a0%"


def percent_span(low: float, high: float) -> str:
    """The interval of a ratio as changes: ``+3.1 to +7.0 %``."""
    return f"{percent_change(low).removesuffix(chr(0xA0) + '%')} to {percent_change(high)}"


def _stored(metric: str) -> tuple[str, float]:
    return next((known for ending, known in _STORED.items() if metric.endswith(ending)), ("", 1.0))
