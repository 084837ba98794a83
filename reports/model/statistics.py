"""The statistics over a measurement's sessions, one class for each entry of its document.

``from_document`` accepts any content; if the entry is :class:`Unavailable`, so is each of its values.
"""

import dataclasses
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any, Self

from foundation.unavailable import Json, Unavailable, as_document
from reports.model.reading import (
    NOT_RECORDED,
    Found,
    Interval,
    Number,
    flag,
    interval,
    items,
    mapping,
    number,
    text,
    value,
    words,
)

PERCENTILES = ("p50", "p90", "p95", "p99")


@dataclass(frozen=True)
class Statistics(ABC):
    """One entry of a measurement's document; if all its values are missing for the same reason, it is that reason."""

    def document(self) -> Json:
        """Returns the entry."""
        known = {getattr(self, field.name) for field in dataclasses.fields(self)}
        why = known.pop() if len(known) == 1 else None
        return why.document() if isinstance(why, Unavailable) else self._entry()

    @abstractmethod
    def _entry(self) -> Json: ...


@dataclass(frozen=True)
class Latency(Statistics):
    """Latency of a step: the median of the sessions' medians, and the spread of sessions and steps.

    Percentiles are recorded only if there are enough steps for them; ``ci95_method`` is how the interval was computed.
    """

    median_ms: Number
    ci95_ms: Interval | Unavailable
    sessions_ms: tuple[float, ...] | Unavailable
    cv_percent: Number
    max_ms: Number
    p50_ms: Number = NOT_RECORDED
    p90_ms: Number = NOT_RECORDED
    p95_ms: Number = NOT_RECORDED
    p99_ms: Number = NOT_RECORDED
    ci95_method: str | Unavailable = field(default=NOT_RECORDED, kw_only=True)

    @classmethod
    def from_document(cls, found: Found) -> "Latency":
        """Reads ``latency_ms``."""
        medians = value(found, "sessions")
        known = [one for one in map(number, items(found, "sessions")) if not isinstance(one, Unavailable)]
        return cls(
            number(found, "median"),
            interval(found, "ci95"),
            medians if isinstance(medians, Unavailable) else tuple(known),
            number(found, "cv_percent"),
            number(found, "max"),
            *(number(found, name) for name in PERCENTILES),
            ci95_method=words(found, "ci95_method"),
        )

    @property
    def medians_ms(self) -> tuple[float, ...]:
        """The medians of the sessions that count, empty if they are not known."""
        return () if isinstance(self.sessions_ms, Unavailable) else self.sessions_ms

    @property
    def range_ms(self) -> tuple[Interval, int] | None:
        """The range of the sessions' medians and their number, used if they are too few for an interval."""
        medians = self.medians_ms
        return (Interval(min(medians), max(medians)), len(medians)) if medians else None

    @property
    def percentiles_ms(self) -> dict[str, float]:
        """The recorded percentiles, by name."""
        found = zip(PERCENTILES, (self.p50_ms, self.p90_ms, self.p95_ms, self.p99_ms), strict=True)
        return {name: ms for name, ms in found if not isinstance(ms, Unavailable)}

    def _entry(self) -> Json:
        medians = self.sessions_ms
        return {
            "median": as_document(self.median_ms),
            "ci95": self.ci95_ms.document(),
            **({} if isinstance(self.ci95_method, Unavailable) else {"ci95_method": self.ci95_method}),
            "sessions": medians.document() if isinstance(medians, Unavailable) else list(medians),
            "cv_percent": as_document(self.cv_percent),
            "max": as_document(self.max_ms),
            **self.percentiles_ms,
        }


def _numbers(found: Found, *path: str) -> tuple[float, ...]:
    """Returns the numbers of the list at ``path``."""
    return tuple(one for one in map(number, items(found, *path)) if not isinstance(one, Unavailable))


@dataclass(frozen=True)
class Energy(Statistics):
    """Energy of a step, gross and net of idle power, how it was measured, and the energies of single sessions."""

    gross_mj: Number
    net_mj: Number
    method: str | Unavailable
    rate_hz: Number
    alignment_error_ms: Number
    short: bool | Unavailable
    sessions_gross: tuple[float, ...] = ()
    sessions_net: tuple[float, ...] = ()

    @classmethod
    def from_document(cls, found: Found) -> "Energy":
        """Reads ``energy_mj_per_step``."""
        gross, net, rate, error = (number(found, key) for key in ("gross", "net", "rate_hz", "alignment_error_ms"))
        sessions = (_numbers(found, key) for key in ("sessions_gross", "sessions_net"))
        return cls(gross, net, words(found, "method"), rate, error, flag(found, "short"), *sessions)

    def document(self) -> Json:
        """Returns the entry, or why there is none."""
        alone = (self.gross_mj, self.net_mj, self.method, self.rate_hz, self.alignment_error_ms, self.short)
        why = self.gross_mj
        return why.document() if isinstance(why, Unavailable) and set(alone) == {why} else self._entry()

    def _entry(self) -> Json:
        return {
            "gross": as_document(self.gross_mj),
            "net": as_document(self.net_mj),
            "method": plain_document(self.method),
            "rate_hz": as_document(self.rate_hz),
            "alignment_error_ms": as_document(self.alignment_error_ms),
            "short": plain_document(self.short),
            **({"sessions_gross": list(self.sessions_gross)} if self.sessions_gross else {}),
            **({"sessions_net": list(self.sessions_net)} if self.sessions_net else {}),
        }


@dataclass(frozen=True)
class Numbers(Statistics):
    """An entry of numbers only; its keys are the names of the fields without the unit, which is in the entry's name."""

    @classmethod
    def from_document(cls, found: Found) -> Self:
        """Reads the entry."""
        return cls(*(number(found, _key(field)) for field in dataclasses.fields(cls)))

    def _entry(self) -> Json:
        return {_key(field): as_document(getattr(self, field.name)) for field in dataclasses.fields(self)}


def _key(field: "dataclasses.Field[Any]") -> str:
    return field.name.removesuffix("_mw").removesuffix("_c")


@dataclass(frozen=True)
class Power(Numbers):
    """``power_mw``: mean power over the measured steps, and while the device was idle."""

    mean_mw: Number
    idle_mw: Number


@dataclass(frozen=True)
class Temperature(Numbers):
    """``temperature_c``: the hottest zone at the start of the sessions and its maximum."""

    start_c: Number
    max_c: Number


@dataclass(frozen=True)
class Loss(Numbers):
    """``loss``: first and last loss, the difference of the first steps from the reference, and the training's
    parameters.

    ``noise`` is the standard deviation of a loss of the reference, ``difference`` the size of its L+ - L-; ``lr`` is
    the learning rate, ``eps`` the size of the perturbations.
    """

    first: Number
    last: Number
    max_relative_error: Number
    reference_steps: Number
    noise: Number
    difference: Number
    lr: Number
    eps: Number


@dataclass(frozen=True)
class Ratio(Statistics):
    """Latency as a multiple of the reference ``setting``'s, with its interval."""

    setting: str | Unavailable
    latency: Number
    ci95: Interval | Unavailable

    @classmethod
    def from_document(cls, found: Found) -> "Ratio":
        """Reads ``ratio_to_reference``."""
        ends = interval(found, "latency", "ci95")
        return cls(words(found, "setting"), number(found, "latency", "ratio"), ends)

    def _entry(self) -> Json:
        latency = {"ratio": as_document(self.latency), "ci95": self.ci95.document()}
        return {"setting": plain_document(self.setting), "latency": latency}


@dataclass(frozen=True)
class Setup(Statistics):
    """What the numbers depend on: the runner's threads, the CPUs it was allowed to use, the device's power mode, the
    variant of the runner's kernels, and the widest variant that the processor can run."""

    threads: Number
    cpus: tuple[int, ...] | Unavailable
    power_mode: str | Unavailable
    kernels: str | Unavailable = NOT_RECORDED
    widest_kernels: str | Unavailable = NOT_RECORDED

    @classmethod
    def from_document(cls, found: Found) -> "Setup":
        """Reads ``setup``."""
        cpus = value(found, "cpus")
        listed = tuple(cpu for cpu in items(found, "cpus") if isinstance(cpu, int))
        known = cpus if isinstance(cpus, Unavailable) else listed
        names = ("power_mode", "kernels", "widest_kernels")
        return cls(number(found, "threads"), known, *(words(found, name) for name in names))

    @property
    def of_series(self) -> dict[str, Json]:
        """What of it makes another series. Kernels do where they are not the widest: a runner that has wider ones than
        the last is a change of the code under test, as any other."""
        widest = () if self.kernels != self.widest_kernels else ("kernels",)
        return {name: one for name, one in self.known.items() if name not in widest}

    @property
    def known(self) -> dict[str, Json]:
        """The known values, by name."""
        found = {"threads": self.threads, "cpus": self.cpus, "power_mode": self.power_mode, "kernels": self.kernels}
        return {
            name: list(one) if isinstance(one, tuple) else one
            for name, one in found.items()
            if not isinstance(one, Unavailable)
        }

    def _entry(self) -> Json:
        missing = {"threads": self.threads, "cpus": self.cpus, "power_mode": self.power_mode}
        reasons = {name: one.document() for name, one in missing.items() if isinstance(one, Unavailable)}
        widest = {} if isinstance(self.widest_kernels, Unavailable) else {"widest_kernels": self.widest_kernels}
        return {**self.known, **reasons, **widest}


@dataclass(frozen=True)
class Readings:
    """A sensor's readings over the valid sessions: lowest, mean of the sessions' means, and highest."""

    low: float
    mean: float
    high: float

    @classmethod
    def from_document(cls, found: Json) -> "Readings | None":
        """Reads a sensor's ``readings``, None without any."""
        ends = [number(found, key) for key in ("low", "mean", "high")]
        known = [float(one) for one in ends if not isinstance(one, Unavailable)]
        return cls(*known) if len(known) == len(ends) else None


@dataclass(frozen=True)
class Sensor:
    """A sensor of the device: how it was read (``method``), or why it was not (``unavailable``).

    ``readings`` exist for a sensor that the inventory or a plugin defines, in the unit of its quantity.
    """

    name: str
    quantity: str
    method: str = ""
    unavailable: str | None = None
    readings: Readings | None = None

    @classmethod
    def from_document(cls, found: Json) -> "Sensor":
        """Reads one of ``sensors``."""
        why = mapping(found).get("unavailable")
        named = (text(found, "name"), text(found, "quantity"), text(found, "method"))
        return cls(*named, None if why is None else str(why), Readings.from_document(mapping(found, "readings")))

    def document(self) -> Json:
        """Returns one of ``sensors``."""
        how = {"method": self.method} if self.unavailable is None else {"unavailable": self.unavailable}
        read = {} if self.readings is None else {"readings": dataclasses.asdict(self.readings)}
        return {"name": self.name, "quantity": self.quantity, **how, **read}


def plain_document(found: bool | str | Unavailable) -> Json:
    """Returns a truth value or text unchanged, an :class:`Unavailable` in its document form."""
    return found.document() if isinstance(found, Unavailable) else found
