"""Every quantity with its unit: metrics with a history, columns of exported tables, and what sensors read.

A metric's name ends with the unit it is stored in; values are formatted in whichever unit of that scale reads best.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from foundation.unavailable import Unavailable
from reports.model.measurement import Measurement, Session
from reports.model.reading import Interval, Number
from reports.text.numbers import Unit, decimals, number_ranges, plain, quantity, span, unit_for


@dataclass(frozen=True)
class Metric:
    """A number of a measurement that has a history.

    ``direction`` is what is better, ``floor`` the least relative change that matters. ``of_session`` reads the metric
    of one session, if sessions have it; ``in_sessions`` reads those of all valid sessions, if the measurement keeps
    them. ``exact``: known exactly, so that any difference is real.
    """

    name: str
    title: str
    read: Callable[[Measurement], Number]
    direction: Literal["lower", "higher"] = "lower"
    floor: float = 0.0
    of_session: Callable[[Session], Number] | None = None
    exact: bool = False
    in_sessions: Callable[[Measurement], Sequence[float]] | None = None

    def value(self, measurement: Measurement) -> float | None:
        """Returns the metric's number in a measurement, None where it is unavailable."""
        found = self.read(measurement)
        return None if isinstance(found, Unavailable) else float(found)

    def session_values(self, measurement: Measurement) -> Sequence[float]:
        """Returns the metric of each valid session, nothing if sessions don't have it."""
        if self.name == LATENCY:
            medians = measurement.latency.sessions_ms
            return () if isinstance(medians, Unavailable) else [float(one) for one in medians]
        if self.in_sessions is not None:
            return self.in_sessions(measurement)
        if self.of_session is None:
            return ()
        found = [self.of_session(session) for session in measurement.sessions if session.status == "ok"]
        return [float(one) for one in found if not isinstance(one, Unavailable)]

    @property
    def has_sessions(self) -> bool:
        """Whether each session has the metric."""
        return self.name == LATENCY or self.of_session is not None or self.in_sessions is not None


LATENCY = "latency_ms"
LEAST_EFFECT = 0.025
"""The least relative change that ever counts (docs/regression.md); a metric's floor can be higher."""
METRICS = (
    Metric(LATENCY, "Latency of a step", lambda one: one.latency.median_ms),
    # Depends on the state of the file system, by milliseconds, and is paid once a session.
    Metric("load_ms", "Load", lambda one: one.load_ms, floor=0.10, of_session=lambda each: each.load_ms),
    Metric(
        "peak_memory_kib", "Peak memory", lambda one: one.peak_memory_kib, of_session=lambda session: session.hwm_kib
    ),
    Metric("memory_after_load_kib", "Memory after load", lambda one: one.memory_after_load_kib),
    Metric("program_bytes", "Program size", lambda one: one.program_bytes, exact=True),
    Metric(
        "energy_gross_mj_per_step",
        "Energy per step, gross",
        lambda one: one.energy.gross_mj,
        in_sessions=lambda one: one.energy.sessions_gross,
    ),
    Metric(
        "energy_net_mj_per_step",
        "Energy per step, net",
        lambda one: one.energy.net_mj,
        in_sessions=lambda one: one.energy.sessions_net,
    ),
    Metric("power_mw", "Power, mean", lambda one: one.power.mean_mw),
)
METRIC_BY_NAME = {metric.name: metric for metric in METRICS}
_PLACES = {metric.name: place for place, metric in enumerate(METRICS)}
# The ending of a name: the unit of the scale that formats it, and the factor from stored values to that unit.
_STORED = {
    "_ms": ("ms", 1.0),
    "_kib": ("KiB", 1.0),
    "_bytes": ("KiB", 1 / 1024),
    "_mj_per_step": ("mJ", 1.0),
    "_mw": ("mW", 1.0),
}


def metric_title(metric: str) -> str:
    """``latency_ms`` is ``Latency of a step``."""
    known = METRIC_BY_NAME.get(metric)
    return known.title if known else metric.replace("_", " ")


def metric_order(metric: str) -> tuple[int, str]:
    """Sorts metrics as the tables of a run do, unknown ones last."""
    return _PLACES.get(metric, len(_PLACES)), metric


def least_change(metric: str) -> float:
    """Returns the least relative change of a metric that counts."""
    known = METRIC_BY_NAME.get(metric)
    return max(LEAST_EFFECT, known.floor if known else 0.0)


def metric_value(metric: str, stored: float) -> str:
    """Formats a value with its unit."""
    unit, factor = _stored(metric)
    return quantity(stored * factor, unit) if unit else plain(stored, decimals(stored))


def metric_span(metric: str, low: float, high: float, like: float) -> str:
    """Formats an interval with the unit and the places of the value it belongs to."""
    unit, factor = _stored(metric)
    if not unit:
        places = decimals(like)
        return f"{plain(low, places)}\u2013{plain(high, places)}"
    return span(low * factor, high * factor, unit, like=like * factor)


def metric_unit(metric: str, largest: float) -> Unit:
    """Returns the unit for an axis that goes up to ``largest``; its factor turns stored values into those drawn."""
    unit, factor = _stored(metric)
    if not unit:
        return Unit("", 1.0)
    best = unit_for(largest * factor, unit)
    return Unit(best.name, best.factor * factor)


def _stored(metric: str) -> tuple[str, float]:
    return next((known for ending, known in _STORED.items() if metric.endswith(ending)), ("", 1.0))


Kind = Literal["text", "whole", "number", "truth"]


@dataclass(frozen=True)
class Column:
    """A column of the tables of measurements. ``optional``: its absence needs no reason in a page's CSV."""

    name: str
    read: Callable[[Measurement], Number | str | bool]
    kind: Kind = "number"
    optional: bool = False


def _low(found: Interval | Unavailable) -> Number:
    return found if isinstance(found, Unavailable) else found.low


def _cpus(one: Measurement) -> str | Unavailable:
    cpus = one.setup.cpus
    return cpus if isinstance(cpus, Unavailable) else number_ranges(cpus)


def _high(found: Interval | Unavailable) -> Number:
    return found if isinstance(found, Unavailable) else found.high


COLUMNS = (
    Column("forward_tokens", lambda one: one.forward_tokens),
    Column("latency_ms_median", lambda one: one.latency.median_ms),
    Column("latency_ms_ci95_low", lambda one: _low(one.latency.ci95_ms)),
    Column("latency_ms_ci95_high", lambda one: _high(one.latency.ci95_ms)),
    Column("latency_ms_cv_percent", lambda one: one.latency.cv_percent),
    Column("latency_ms_max", lambda one: one.latency.max_ms),
    # Percentiles are recorded only if there are enough steps for them.
    Column("latency_ms_p50", lambda one: one.latency.p50_ms, optional=True),
    Column("latency_ms_p90", lambda one: one.latency.p90_ms, optional=True),
    Column("latency_ms_p95", lambda one: one.latency.p95_ms, optional=True),
    Column("latency_ms_p99", lambda one: one.latency.p99_ms, optional=True),
    Column("load_ms_median", lambda one: one.load_ms),
    Column("peak_memory_kib", lambda one: one.peak_memory_kib, "whole"),
    Column("memory_after_load_kib", lambda one: one.memory_after_load_kib, "whole"),
    Column("program_bytes", lambda one: one.program_bytes, "whole"),
    Column("weight_bytes", lambda one: one.weight_bytes, "whole"),
    Column("energy_mj_per_step_net", lambda one: one.energy.net_mj),
    Column("energy_mj_per_step_gross", lambda one: one.energy.gross_mj),
    Column("energy_method", lambda one: one.energy.method, "text"),
    Column("energy_rate_hz", lambda one: one.energy.rate_hz),
    Column("energy_alignment_error_ms", lambda one: one.energy.alignment_error_ms),
    Column("energy_short", lambda one: one.energy.short, "truth"),
    Column("power_mw_mean", lambda one: one.power.mean_mw),
    Column("power_mw_idle", lambda one: one.power.idle_mw),
    Column("temperature_c_start", lambda one: one.temperature.start_c),
    Column("temperature_c_max", lambda one: one.temperature.max_c),
    Column("threads", lambda one: one.setup.threads, "whole"),
    Column("cpus", lambda one: _cpus(one), "text"),
    Column("power_mode", lambda one: one.setup.power_mode, "text"),
    Column("kernels", lambda one: one.setup.kernels, "text", optional=True),
    Column("throttled", lambda one: one.throttled, "truth"),
    Column("loss_first", lambda one: one.loss.first),
    Column("loss_last", lambda one: one.loss.last),
    Column("loss_max_relative_error", lambda one: one.loss.max_relative_error),
    Column("loss_reference_steps", lambda one: one.loss.reference_steps, "whole"),
    Column("lr", lambda one: one.loss.lr),
    Column("eps", lambda one: one.loss.eps),
    Column("stability", lambda one: one.stability),
    Column("reference_setting", lambda one: one.ratio.setting, "text"),
    Column("ratio_latency", lambda one: one.ratio.latency),
    Column("ratio_latency_ci95_low", lambda one: _low(one.ratio.ci95)),
    Column("ratio_latency_ci95_high", lambda one: _high(one.ratio.ci95)),
    Column("sampler_overhead_percent", lambda one: one.sampler_overhead_percent),
)

MEMORY, TEMPERATURE, POWER, ENERGY_COUNTER = "memory_kib", "temperature_mc", "power_mw", "energy_mj"
FREQUENCY_CAP, CHARGERS = "frequency_cap_khz", "chargers"
THROTTLE_EVENTS = "throttle_events"
"""A counter that only grows."""
THROTTLE_FLAGS = "throttle_flags"
"""Bits 0-15: throttled now; bits 16 and up: throttled at some time since boot (vcgencmd get_throttled)."""


@dataclass(frozen=True)
class SensorQuantity:
    """A quantity that sensors sample (docs/contracts.md): its label, its displayed unit, and the factor to it."""

    label: str
    unit: str
    factor: float = 1.0


SENSOR_QUANTITIES = {
    MEMORY: SensorQuantity("memory", "KiB"),
    TEMPERATURE: SensorQuantity("temperature", "degC", 1e-3),
    POWER: SensorQuantity("power", "mW"),
    ENERGY_COUNTER: SensorQuantity("energy", "mJ"),
    "frequency_khz": SensorQuantity("frequency", "kHz"),
    FREQUENCY_CAP: SensorQuantity("highest frequency allowed", "kHz"),
    THROTTLE_EVENTS: SensorQuantity("throttling, counted", "events"),
    THROTTLE_FLAGS: SensorQuantity("throttling", "flags"),
    CHARGERS: SensorQuantity("chargers plugged in", "plugged in"),
}


OWN = "own_"
"""Starts the quantity of a sensor that the inventory or a plugin defines; the rest is its unit."""


def sensor_quantity(name: str) -> SensorQuantity:
    """Returns a quantity by name; a user-defined one is named by its unit, an unknown one by its own name."""
    if name.startswith(OWN):
        return SensorQuantity(name.removeprefix(OWN), name.removeprefix(OWN))
    return SENSOR_QUANTITIES.get(name, SensorQuantity(name, name))
