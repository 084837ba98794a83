"""Computes a measurement from the sessions of one workload on one device, and its ratio to the reference setting."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

from foundation.unavailable import Json, Unavailable
from reports.model.measurement import Measurement, Session
from reports.model.quantities import ENERGY_COUNTER, OWN, POWER, TEMPERATURE
from reports.model.reading import NOT_RECORDED, Interval, Number
from reports.model.statistics import (
    PERCENTILES,
    Energy,
    Latency,
    Loss,
    Power,
    Ratio,
    Readings,
    Sensor,
    Setup,
    Temperature,
)
from suite import stats
from suite.energy.session_energy import SessionEnergy, gap, session_energy
from suite.sessions.loss_check import NOTHING_EXPECTED, ExpectedLosses, LossComparison, compare_losses
from suite.sessions.record import SensorFact, SessionRecord
from suite.sessions.validity import SessionResult, SessionStatus, Validity
from workloads.quantize.settings import QUANTIZATION_SETTINGS

_T = TypeVar("_T", int, str | None, tuple[int, ...])


@dataclass(frozen=True)
class Subject:
    """What is measured, and what the statistics need to know about it.

    `energy_sensors`: the sensors whose energy is added up (one total, or RAPL's packages; never a total and its rails).
    `wrap_range_mj`: the range of each energy counter. `temperature_sensors`: the relevant zones; empty: all.
    `planned_sessions`: with fewer valid ones the measurement is partial. `sampler_overhead_percent`: from a comparison
    with and without the sampler. `arithmetic`: how the device sums, if that matters to the setting. `power_mode`: the
    device's, or why it is unknown. `busy`: the load check's warning; empty if the device had nothing else to do.
    """

    device: str
    kind: str
    emulated: bool
    workload: Mapping[str, Json]
    planned_sessions: int
    program_bytes: int | None = None
    weight_bytes: int | None = None
    forward_tokens: float | None = None
    sensors: tuple[SensorFact, ...] = ()
    energy_sensors: tuple[str, ...] = ()
    wrap_range_mj: Mapping[str, float] = field(default_factory=dict)
    temperature_sensors: tuple[str, ...] = ()
    expected: ExpectedLosses = NOTHING_EXPECTED
    arithmetic: str | None = None
    power_mode: str | Unavailable = NOT_RECORDED
    busy: str = ""
    sampler_overhead_percent: float | None = None


def measure(subject: Subject, sessions: Sequence[SessionResult]) -> Measurement:
    """Returns the measurement. `with_ratios` adds its ratio to the reference."""
    used = usable(sessions)
    medians = [stats.median(result.record.latencies_ms) for result in used]
    status, reason = _status(subject, sessions, used, medians)
    throttled = any(result.validity.status is SessionStatus.THROTTLED for result in sessions)
    found = _without_numbers(subject, status, reason, throttled)
    if not used:
        return found
    records = [result.record for result in used]
    steps_ms = [latency for record in records for latency in record.latencies_ms]
    after_load = [memory for record in records if (memory := record.memory_after_load_kib) is not None]
    peaks = [peak for record in records if (peak := record.peak_memory_kib) is not None]
    loads_ms = [record.load_ms for record in records if record.load_ms is not None]
    energy, power = _energy(subject, used)
    return replace(
        found,
        setup=_setup(subject, records),
        latency=_latency(medians, steps_ms),
        load_ms=stats.median(loads_ms) if loads_ms else Unavailable("no load event arrived"),
        peak_memory_kib=max(peaks) if peaks else Unavailable("no footer reported VmHWM"),
        memory_after_load_kib=int(stats.median(after_load)) if after_load else Unavailable("no VmRSS after the load"),
        energy=energy,
        power=power,
        temperature=_temperature(subject, records),
        loss=_loss(subject, records),
        stability=stats.stability_score(medians, steps_ms),
        sensors=tuple(_sensor(fact, used) for fact in subject.sensors),
        sessions=tuple(_session(result) for result in used),
    )


def _session(result: SessionResult) -> Session:
    """Returns a valid session in the form for reports."""
    record = result.record
    return Session(
        session_id=result.session_id,
        ordinal=result.ordinal,
        attempt=result.attempt,
        status=result.validity.status.value,
        reason=result.validity.reason or "",
        median_ms=stats.median(record.latencies_ms),
        load_ms=_known(record.load_ms, "no load event arrived"),
        hwm_kib=_known(None if record.footer is None else record.footer.hwm_kib, "no footer reported VmHWM"),
        t_begin_ns=_known(None if record.header is None else record.header.t_ns, "no header event arrived"),
    )


def _without_numbers(subject: Subject, status: str, reason: str | None, throttled: bool) -> Measurement:
    """Returns a measurement that has only what is known without a valid session."""
    why = Unavailable(reason or "no session was run")
    return Measurement(
        device=subject.device,
        kind=subject.kind,
        emulated=subject.emulated,
        workload=dict(subject.workload),
        status=status,
        reason=reason,
        latency=Latency.from_document(why),
        load_ms=why,
        peak_memory_kib=why,
        memory_after_load_kib=why,
        energy=Energy.from_document(why),
        power=Power.from_document(why),
        temperature=Temperature.from_document(why),
        loss=Loss.from_document(why),
        stability=why,
        program_bytes=_known(subject.program_bytes, "the artifact does not record the size of its program"),
        weight_bytes=_known(subject.weight_bytes, "the artifact does not record the size of its weights"),
        throttled=throttled,
        ratio=Ratio.from_document(Unavailable("it was not compared with a reference setting")),
        sensors=tuple(_sensor(fact, ()) for fact in subject.sensors),
        sampler_overhead_percent=_known(
            subject.sampler_overhead_percent,
            "not compared with and without the sampler in this run: `suite check --overhead` does that",
        ),
        arithmetic=subject.arithmetic,
        forward_tokens=_known(subject.forward_tokens, "the cost of a step of this method is unknown"),
        busy=subject.busy,
        setup=Setup.from_document(why),
    )


def usable(sessions: Sequence[SessionResult]) -> list[SessionResult]:
    """Returns the valid sessions, the latest attempt of each ordinal, in order."""
    latest: dict[int, SessionResult] = {}
    for result in sorted(sessions, key=lambda item: (item.ordinal, item.attempt)):
        if result.validity.status is SessionStatus.OK and result.record.measured_steps:
            latest[result.ordinal] = result
    return [latest[ordinal] for ordinal in sorted(latest)]


def _status(
    subject: Subject, sessions: Sequence[SessionResult], used: Sequence[SessionResult], medians: Sequence[float]
) -> tuple[str, str | None]:
    bad = [result.validity for result in sessions if result.validity.status is not SessionStatus.OK]
    last_reason = bad[-1].reason if bad else None
    if not used:
        return _status_without_sessions(bad)
    if len(used) < subject.planned_sessions:
        why = f": {last_reason}" if last_reason else ""
        return "partial", f"{len(used)} of {subject.planned_sessions} sessions are valid{why}"
    variation = stats.cv_percent(medians)
    limit = stats.unstable_above_percent(subject.kind)
    if not isinstance(variation, Unavailable) and variation > limit:
        return "unstable", f"session medians vary by {variation:.1f} %, {limit:.0f} % is the limit"
    return "ok", None


def _status_without_sessions(bad: Sequence[Validity]) -> tuple[str, str]:
    if not bad:
        return "failed", "no session was run"
    for validity in bad:
        if validity.status is SessionStatus.UNSUPPORTED:
            return "unsupported", validity.reason or "this device cannot execute the program"
    doubtful = (SessionStatus.INVALID, SessionStatus.THROTTLED)
    status = "invalid" if all(validity.status in doubtful for validity in bad) else "failed"
    chosen = next((validity for validity in reversed(bad) if validity.status not in doubtful), bad[-1])
    return status, f"none of {len(bad)} sessions is valid: {chosen.reason or chosen.status.value}"


def _setup(subject: Subject, records: Sequence[SessionRecord]) -> Setup:
    """Returns how the device was set up, as the runner of each session reported it."""
    headers = [record.header for record in records if record.header is not None]
    threads = _same("threads", [header.threads for header in headers])
    cpus = _same("CPUs", [header.cpus_allowed for header in headers])
    kernels = _same("kernels", [header.kernels for header in headers])
    widest = next((header.variants[0] for header in headers if header.variants), None)
    return Setup(threads, cpus, subject.power_mode, kernels or NOT_RECORDED, widest or NOT_RECORDED)


def _same(what: str, values: Sequence[_T]) -> _T | Unavailable:
    """Returns the value that all sessions share, or why there is none."""
    different = list(dict.fromkeys(values))
    if len(different) == 1:
        return different[0]
    found = " and ".join(str(value) for value in different)
    return Unavailable(f"the sessions had different {what}: {found}" if different else "no header event arrived")


def _latency(medians: Sequence[float], steps_ms: Sequence[float]) -> Latency:
    percentiles = stats.percentiles(steps_ms)
    return Latency(
        stats.median(medians),
        stats.session_interval(medians),
        tuple(medians),
        stats.cv_percent(medians),
        max(steps_ms),
        *(percentiles.get(name, NOT_RECORDED) for name in PERCENTILES),
        ci95_method=stats.INTERVAL_METHOD,
    )


def _energy(subject: Subject, used: Sequence[SessionResult]) -> tuple[Energy, Power]:
    if not subject.energy_sensors:
        why = Unavailable(_why_no_energy(subject))
        return Energy.from_document(why), Power.from_document(why)
    found = [
        session_energy(result.record, subject.energy_sensors, subject.wrap_range_mj, result.idle) for result in used
    ]
    good = [item for item in found if isinstance(item, SessionEnergy)]
    if not good:
        why = next(item for item in found if isinstance(item, Unavailable))
        return Energy.from_document(why), Power.from_document(why)
    energy = Energy(
        gross_mj=_finite(stats.median([item.gross_mj for item in good])),
        net_mj=_median_or_reason([item.net_mj for item in good]),
        method=_energy_method(subject, good, len(used)),
        rate_hz=_finite(min(item.rate_hz for item in good)),
        alignment_error_ms=_finite(max(item.alignment_error_ms for item in good)),
        short=any(item.short for item in good),
        sessions_gross=_finite_ones([item.gross_mj for item in good]),
        sessions_net=_finite_ones([item.net_mj for item in good]),
    )
    mean = _finite(stats.median([item.mean_power_mw for item in good]))
    return energy, Power(mean, _median_or_reason([item.idle_power_mw for item in good]))


def _why_no_energy(subject: Subject) -> str:
    reasons = [
        f"{fact.name}: {fact.unavailable}"
        for fact in subject.sensors
        if fact.quantity in (POWER, ENERGY_COUNTER) and fact.unavailable
    ]
    return "; ".join(reasons) if reasons else "the device has no power sensor that can be read"


def _energy_method(subject: Subject, good: Sequence[SessionEnergy], sessions: int) -> str:
    counters = {fact.name for fact in subject.sensors if fact.quantity == ENERGY_COUNTER}
    way = "counter difference" if counters.issuperset(subject.energy_sensors) else "trapezoid"
    refreshes = [item.refresh_ms for item in good if item.refresh_ms is not None]
    refresh = f", refreshed every {max(refreshes):.0f} ms" if refreshes else ""
    names = " + ".join(subject.energy_sensors)
    shortest = min(item.window_s for item in good)
    how = f"edges interpolated, windows of {shortest:.0f} s and more"
    return f"{way} of {names}{refresh}, {how}, median of {len(good)} of {sessions} sessions"


def _median_or_reason(values: Sequence[Number]) -> Number:
    numbers = [value for value in values if not isinstance(value, Unavailable)]
    if numbers:
        return _finite(stats.median(numbers))
    return next(value for value in values if isinstance(value, Unavailable))


def _finite_ones(values: Sequence[Number]) -> tuple[float, ...]:
    return tuple(float(one) for one in values if not isinstance(one, Unavailable) and math.isfinite(one))


def _finite(value: float) -> Number:
    """Returns the value, or why there is none if it is not finite, since a device may report anything."""
    return value if math.isfinite(value) else Unavailable(f"the value came out as {value}")


def _temperature(subject: Subject, records: Sequence[SessionRecord]) -> Temperature:
    """Returns the hottest zone's temperature at the start and at its peak, without zones whose gaps may hide peaks."""
    starts, peaks, failed = [], [], list[str]()
    for record in records:
        traces = [
            trace
            for name, trace in record.samples.items()
            if trace.quantity == TEMPERATURE and trace.values and name in (subject.temperature_sensors or (name,))
        ]
        failed += [f"{trace.sensor}: {why}" for trace in traces if (why := gap(record, trace.sensor)) is not None]
        traces = [trace for trace in traces if gap(record, trace.sensor) is None]
        if traces:
            starts.append(max(trace.values[0] for trace in traces) / 1e3)
            peaks.append(max(max(trace.values) for trace in traces) / 1e3)
    if not starts:
        return Temperature.from_document(Unavailable(failed[0] if failed else "no thermal zone was sampled"))
    return Temperature(_finite(stats.median(starts)), _finite(max(peaks)))


def _loss(subject: Subject, records: Sequence[SessionRecord]) -> Loss:
    def mean(losses: Sequence[float]) -> float:
        return sum(losses) / len(losses)

    first = _finite(stats.median([mean(record.steps[0].losses) for record in records]))
    last = _finite(stats.median([mean(record.steps[-1].losses) for record in records]))
    found = [compare_losses([step.losses for step in record.steps], subject.expected) for record in records]
    compared = [each for each in found if isinstance(each, LossComparison)]
    trained_with = {"lr": subject.expected.lr, "eps": subject.expected.eps}
    if not compared:
        why = next(each for each in found if isinstance(each, Unavailable))
        return Loss(first, last, why, why, why, why, **trained_with)
    return Loss(
        first,
        last,
        max_relative_error=_finite(max(each.max_relative_error for each in compared)),
        reference_steps=min(each.steps for each in compared),
        noise=_finite(compared[0].noise),
        difference=_finite(compared[0].difference),
        **trained_with,
    )


def _sensor(fact: SensorFact, used: Sequence[SessionResult]) -> Sensor:
    why = fact.unavailable
    if why is None:
        troubles = [
            gap(result.record, fact.name) or (None if fact.name in result.record.samples else "it gave no samples")
            for result in used
        ]
        why = troubles[0] if troubles and all(troubles) else None
    return Sensor(fact.name, fact.quantity, fact.method or "read by the runner's sampler", why, _readings(fact, used))


def _readings(fact: SensorFact, used: Sequence[SessionResult]) -> Readings | None:
    """Returns the readings of a sensor that the user added; a measurement has fields for all others."""
    if not fact.quantity.startswith(OWN):
        return None
    traces = [trace for result in used if (trace := result.record.samples.get(fact.name)) is not None]
    values = [[value for value in trace.values if math.isfinite(value)] for trace in traces]
    means = [math.fsum(one) / len(one) for one in values if one]
    if not means:
        return None
    every = [value for one in values for value in one]
    return Readings(min(every), math.fsum(means) / len(means), max(every))


def _known(value: float | None, why_not: str) -> Number:
    return Unavailable(why_not) if value is None else value


def with_ratios(measurements: Sequence[Measurement]) -> list[Measurement]:
    """Returns the measurements with their ratio to the reference.

    ratio = median(session medians) / median(session medians of the reference), with an interval by Welch's t on
    logarithms. The reference is fp32 if it has valid sessions, else the next setting that has.
    """
    groups: dict[str, list[Measurement]] = {}
    for measurement in measurements:
        groups.setdefault(_group(measurement), []).append(measurement)
    references = {key: _reference(group) for key, group in groups.items()}
    return [replace(item, ratio=_ratio(item, references[_group(item)])) for item in measurements]


def _group(measurement: Measurement) -> str:
    """Returns what must be equal for a ratio to reflect the setting: the device and the rest of the workload."""
    rest = {key: value for key, value in measurement.workload.items() if key != "quant"}
    return json.dumps([measurement.device, rest], sort_keys=True)


def _medians(measurement: Measurement) -> Sequence[float]:
    medians = measurement.latency.sessions_ms
    return () if isinstance(medians, Unavailable) else medians


def _reference(group: Sequence[Measurement]) -> Measurement | None:
    with_medians = {item.setting: item for item in group if _medians(item)}
    return next((with_medians[setting] for setting in QUANTIZATION_SETTINGS if setting in with_medians), None)


def _ratio(measurement: Measurement, reference: Measurement | None) -> Ratio:
    if reference is None:
        return Ratio.from_document(Unavailable("no setting of this workload has valid sessions"))
    own, against = _medians(measurement), _medians(reference)
    if not own:
        return Ratio.from_document(Unavailable("this setting has no valid sessions"))
    if measurement is reference:
        return Ratio(reference.setting, 1.0, Interval(1.0, 1.0))
    return Ratio(reference.setting, stats.median(own) / stats.median(against), stats.ratio_interval(own, against))
