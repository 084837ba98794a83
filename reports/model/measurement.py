"""A measurement: the sessions of one workload on one device in one run, and the statistics over them.

The statistics compute it, the store keeps it as a JSON document (docs/contracts.md), pages read it. A missing value has
a reason. ``from_document`` accepts any content: a missing or malformed value becomes unavailable.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from foundation.unavailable import Json, Unavailable, as_document
from reports.model.reading import NOT_RECORDED, Number, flag, items, known_text, mapping, number, records, text, value
from reports.model.statistics import Energy, Latency, Loss, Power, Ratio, Sensor, Setup, Temperature, plain_document
from reports.text.appearance import setting_order


@dataclass(frozen=True)
class Session:
    """One launch of the program. ``ordinal`` and ``attempt`` count from 0, None if they were not recorded."""

    session_id: str
    ordinal: int | None
    attempt: int | None
    status: str
    reason: str
    median_ms: Number
    load_ms: Number
    hwm_kib: Number
    t_begin_ns: Number

    @classmethod
    def from_document(cls, found: Json) -> "Session":
        """Reads one of a measurement's ``sessions``."""
        ordinal, attempt = value(found, "ordinal"), value(found, "attempt")
        return cls(
            session_id=text(found, "session_id"),
            ordinal=ordinal if isinstance(ordinal, int) else None,
            attempt=attempt if isinstance(attempt, int) else None,
            status=text(found, "status", default="unknown"),
            reason=text(found, "reason"),
            median_ms=number(found, "median_ms"),
            load_ms=number(found, "load_ms"),
            hwm_kib=number(found, "hwm_kib"),
            t_begin_ns=number(found, "t_begin_ns"),
        )


@dataclass(frozen=True)
class Measurement:
    """The result of one workload on one device in one run.

    ``forward_tokens``: the cost of a step, in tokens that pass forward through the model. ``role``: ``measured``, or
    its side of a confirmation, if recorded. The fields from ``measurement_id`` on are the store's: ``sessions`` by
    ordinal and attempt; ``reference_losses`` of the eager reference, flattened, for step 0, 1 and so on; ``origin`` is
    the lab that an imported one came from.
    """

    device: str
    kind: str
    emulated: bool
    workload: Mapping[str, Json]
    status: str
    reason: str | None
    latency: Latency
    load_ms: Number
    peak_memory_kib: Number
    memory_after_load_kib: Number
    energy: Energy
    power: Power
    temperature: Temperature
    loss: Loss
    stability: Number
    program_bytes: Number
    weight_bytes: Number
    throttled: bool | Unavailable
    ratio: Ratio
    sensors: tuple[Sensor, ...]
    sampler_overhead_percent: Number
    arithmetic: str | None = None
    forward_tokens: Number = NOT_RECORDED
    busy: str = ""
    setup: Setup = field(default_factory=lambda: Setup.from_document(NOT_RECORDED))
    role: str | None = None
    measurement_id: str = ""
    sessions: tuple[Session, ...] = ()
    reference_losses: tuple[tuple[float, ...], ...] = ()
    origin: str = ""
    run_id: str = ""
    started_at: str = ""
    workload_key: str = ""

    @classmethod
    def from_document(cls, found: Json, place: int = 0) -> "Measurement":
        """Reads a measurement; one without an id is named by its ``place`` in the document."""
        sessions = [Session.from_document(one) for one in records(found, "sessions")]
        return cls(
            device=text(found, "device", default="unnamed device"),
            kind=text(found, "kind"),
            emulated=value(found, "emulated") is True,
            workload=mapping(found, "workload"),
            status=text(found, "status", default="unknown"),
            reason=known_text(found, "reason"),
            latency=Latency.from_document(value(found, "latency_ms")),
            load_ms=number(found, "load_ms", "median"),
            peak_memory_kib=number(found, "peak_memory_kib"),
            memory_after_load_kib=number(found, "memory_after_load_kib"),
            energy=Energy.from_document(value(found, "energy_mj_per_step")),
            power=Power.from_document(value(found, "power_mw")),
            temperature=Temperature.from_document(value(found, "temperature_c")),
            loss=Loss.from_document(value(found, "loss")),
            stability=number(found, "stability"),
            program_bytes=number(found, "program_bytes"),
            weight_bytes=number(found, "weight_bytes"),
            throttled=flag(found, "throttled"),
            ratio=Ratio.from_document(value(found, "ratio_to_reference")),
            sensors=tuple(Sensor.from_document(one) for one in records(found, "sensors")),
            sampler_overhead_percent=number(found, "sampler_overhead_percent"),
            arithmetic=known_text(found, "arithmetic"),
            forward_tokens=number(found, "forward_tokens"),
            busy=text(found, "busy"),
            setup=Setup.from_document(value(found, "setup")),
            role=known_text(found, "role"),
            measurement_id=text(found, "measurement_id", default=str(place + 1)),
            sessions=tuple(sorted(sessions, key=lambda one: (one.ordinal or 0, one.attempt or 0))),
            reference_losses=_whole_steps(items(found, "reference_losses")),
            **{key: text(found, key) for key in ("origin", "run_id", "started_at", "workload_key")},
        )

    def document(self) -> dict[str, Json]:
        """Returns the document of docs/contracts.md, without what the store adds."""
        return {
            **{key: getattr(self, key) for key in ("device", "kind", "emulated")},
            "workload": dict(self.workload),
            "status": self.status,
            "reason": self.reason,
            **({} if self.arithmetic is None else {"arithmetic": self.arithmetic}),
            "forward_tokens": as_document(self.forward_tokens),
            **({"busy": self.busy} if self.busy else {}),
            "setup": self.setup.document(),
            "latency_ms": self.latency.document(),
            "load_ms": self.load_ms.document() if isinstance(self.load_ms, Unavailable) else {"median": self.load_ms},
            "peak_memory_kib": as_document(self.peak_memory_kib),
            "memory_after_load_kib": as_document(self.memory_after_load_kib),
            "energy_mj_per_step": self.energy.document(),
            "power_mw": self.power.document(),
            "temperature_c": self.temperature.document(),
            "loss": self.loss.document(),
            "stability": as_document(self.stability),
            "program_bytes": as_document(self.program_bytes),
            "weight_bytes": as_document(self.weight_bytes),
            "throttled": plain_document(self.throttled),
            "ratio_to_reference": self.ratio.document(),
            "sensors": [sensor.document() for sensor in self.sensors],
            "sampler_overhead_percent": as_document(self.sampler_overhead_percent),
            **({} if self.role is None else {"role": self.role}),
        }

    @property
    def setting(self) -> str:
        """The quantization setting."""
        return setting_of(self.workload)

    @property
    def comparable(self) -> bool:
        """Whether its numbers may be compared with others: valid, and from a real device."""
        return self.status in ("ok", "unstable") and not self.emulated


def _whole_steps(steps: Sequence[Json]) -> tuple[tuple[float, ...], ...]:
    """Returns the losses of each step; none at all if those of one step are malformed, as later ones would shift."""
    losses = [tuple(one for one in map(number, items(step)) if not isinstance(one, Unavailable)) for step in steps]
    whole = all(found and len(found) == len(items(step)) for found, step in zip(losses, steps, strict=True))
    return tuple(losses) if whole else ()


def measurements(document: Json) -> list[Measurement]:
    """Reads all measurements of a run's document, in the order of its page."""
    return in_page_order(
        [Measurement.from_document(one, at) for at, one in enumerate(records(document, "measurements"))]
    )


def in_page_order(found: Sequence[Measurement]) -> list[Measurement]:
    """Sorts measurements: devices in order of appearance, settings from the widest to the narrowest."""
    places = {device: place for place, device in reversed(list(enumerate(item.device for item in found)))}
    return sorted(found, key=lambda item: (places[item.device], setting_order(item.setting)))


def devices_of(found: Iterable[Measurement]) -> list[str]:
    """Returns the names of the devices, each once, in order."""
    return list(dict.fromkeys(item.device for item in found))


def settings_of(found: Iterable[Measurement]) -> list[str]:
    """Returns the settings, each once, from the widest to the narrowest."""
    return sorted({item.setting for item in found}, key=setting_order)


_SHAPE = ("q", "b", "T", "rank")


def setting_of(workload: Mapping[str, Json]) -> str:
    """Returns the quantization setting of a workload as recorded."""
    return text(workload, "quant", default="unknown")


def workload_words(workload: Mapping[str, Json]) -> str:
    """Describes a workload without its setting: ``smollm2-135m, prge, q=4, b=4, T=64, rank=16, xnnpack``."""
    parts = [text(workload, "model", default="unknown model"), text(workload, "method", default="unknown method")]
    parts += [f"{key}={workload[key]}" for key in _SHAPE if workload.get(key) is not None]
    parts += [str(workload["backend"])] if workload.get("backend") is not None else []
    known = {"model", "method", "quant", "backend", *_SHAPE}
    return ", ".join(parts + [f"{key}={_short(workload[key])}" for key in sorted(set(workload) - known)])


def shape_words(workload: Mapping[str, Json]) -> str:
    """Names its shape: ``q=4 b=4 T=64``."""
    return " ".join(f"{key}={workload.get(key)}" for key in ("q", "b", "T"))


def _short(entry: Json) -> str:
    return ",".join(str(part) for part in entry) if isinstance(entry, list | tuple) else str(entry)
