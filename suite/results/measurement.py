"""Sessions of one workload on one device -> the measurement as a document (docs/contracts.md)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from foundation.unavailable import Unavailable, as_document, finite, unavailable
from suite import stats
from suite.energy.session_energy import ENERGY_COUNTER, POWER, SessionEnergy, session_energy
from suite.energy.window import gap
from suite.sessions.loss_check import NOTHING_EXPECTED, ExpectedLosses, LossComparison, compare_losses
from suite.sessions.record import SensorFact, SessionRecord
from suite.sessions.validity import TEMPERATURE, SessionResult, SessionStatus, Validity


@dataclass(frozen=True)
class Subject:
    """What is measured, and what the statistics must know of it.

    `energy_sensors`: the names whose energy is added up (one total, or RAPL's packages; never a total and its rails).
    `wrap_range_mj`: range of each energy counter. `temperature_sensors`: the relevant zones, all when empty.
    `planned_sessions`: fewer valid ones make the measurement partial. `sampler_overhead_percent`: from an on/off
    comparison. `arithmetic`: how the device sums, where that matters to the setting.
    """

    device: str
    kind: str
    emulated: bool
    workload: Mapping[str, Any]
    planned_sessions: int
    program_bytes: int | None = None
    weight_bytes: int | None = None
    sensors: tuple[SensorFact, ...] = ()
    energy_sensors: tuple[str, ...] = ()
    wrap_range_mj: Mapping[str, float] = field(default_factory=dict)
    temperature_sensors: tuple[str, ...] = ()
    expected: ExpectedLosses = NOTHING_EXPECTED
    arithmetic: str | None = None
    sampler_overhead_percent: float | None = None


def measure(subject: Subject, sessions: Sequence[SessionResult]) -> dict[str, Any]:
    """The measurement document; `ratio_to_reference` waits for `ratios.with_ratios`."""
    used = usable(sessions)
    medians = [stats.median(result.record.latencies_ms) for result in used]
    status, reason = _status(subject, sessions, used, medians)
    document: dict[str, Any] = {
        "device": subject.device,
        "kind": subject.kind,
        "emulated": subject.emulated,
        "workload": dict(subject.workload),
        "status": status,
        "reason": reason,
    }
    if subject.arithmetic is not None:
        document["arithmetic"] = subject.arithmetic
    if used:
        document |= _measured(subject, used, medians)
    else:
        document |= _nothing(reason or "no session was run")
    document["program_bytes"] = _known(subject.program_bytes, "the artifact does not tell the size of its program")
    document["weight_bytes"] = _known(subject.weight_bytes, "the artifact does not tell the size of its weights")
    document["throttled"] = any(result.validity.status is SessionStatus.THROTTLED for result in sessions)
    document["ratio_to_reference"] = unavailable("it was not compared with a reference setting")
    document["sensors"] = [_sensor(fact, used) for fact in subject.sensors]
    document["sampler_overhead_percent"] = _known(
        subject.sampler_overhead_percent, "not compared on against off in this run: `suite check --overhead` does"
    )
    cleaned: dict[str, Any] = finite(document)
    return cleaned


def usable(sessions: Sequence[SessionResult]) -> list[SessionResult]:
    """The valid sessions, the latest attempt of each ordinal, in order."""
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


def _measured(subject: Subject, used: Sequence[SessionResult], medians: Sequence[float]) -> dict[str, Any]:
    records = [result.record for result in used]
    loads_ms = [record.load_ms for record in records if record.load_ms is not None]
    after_load = [memory for record in records if (memory := record.memory_after_load_kib) is not None]
    peaks = [peak for record in records if (peak := record.peak_memory_kib) is not None]
    steps_ms = [latency for record in records for latency in record.latencies_ms]
    return {
        "latency_ms": _latency(medians, steps_ms),
        "load_ms": {"median": stats.median(loads_ms)} if loads_ms else unavailable("no load event arrived"),
        "peak_memory_kib": max(peaks) if peaks else unavailable("no footer told VmHWM"),
        "memory_after_load_kib": int(stats.median(after_load))
        if after_load
        else unavailable("no VmRSS after the load"),
        **_energy(subject, used),
        "temperature_c": _temperature(subject, records),
        "loss": _loss(subject, records),
        "stability": as_document(stats.stability_score(medians, steps_ms)),
    }


def _nothing(reason: str) -> dict[str, Any]:
    keys = (
        *("latency_ms", "load_ms", "peak_memory_kib", "memory_after_load_kib", "energy_mj_per_step"),
        *("power_mw", "temperature_c", "loss", "stability"),
    )
    return {key: unavailable(reason) for key in keys}


def _latency(medians: Sequence[float], steps_ms: Sequence[float]) -> dict[str, Any]:
    interval = stats.median_interval(medians)
    return {
        "median": stats.median(medians),
        "ci95": interval.document(),
        "sessions": list(medians),
        "cv_percent": as_document(stats.cv_percent(medians)),
        "max": max(steps_ms),
        **stats.percentiles(steps_ms),
    }


def _energy(subject: Subject, used: Sequence[SessionResult]) -> dict[str, Any]:
    if not subject.energy_sensors:
        missing = unavailable(_why_no_energy(subject))
        return {"energy_mj_per_step": missing, "power_mw": missing}
    found = [
        session_energy(result.record, subject.energy_sensors, subject.wrap_range_mj, result.idle) for result in used
    ]
    good = [item for item in found if isinstance(item, SessionEnergy)]
    if not good:
        reason = next(item.reason for item in found if isinstance(item, Unavailable))
        return {"energy_mj_per_step": unavailable(reason), "power_mw": unavailable(reason)}
    return {
        "energy_mj_per_step": {
            "gross": stats.median([item.gross_mj for item in good]),
            "net": _median_or_reason([item.net_mj for item in good]),
            "method": _energy_method(subject, good, len(used)),
            "rate_hz": min(item.rate_hz for item in good),
            "alignment_error_ms": max(item.alignment_error_ms for item in good),
            "short": any(item.short for item in good),
        },
        "power_mw": {
            "mean": stats.median([item.mean_power_mw for item in good]),
            "idle": _median_or_reason([item.idle_power_mw for item in good]),
        },
    }


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
    return f"{way} of {names}{refresh}, edges interpolated, median of {len(good)} of {sessions} sessions"


def _median_or_reason(values: Sequence[float | Unavailable]) -> Any:
    numbers = [value for value in values if not isinstance(value, Unavailable)]
    if numbers:
        return stats.median(numbers)
    return next(value.document() for value in values if isinstance(value, Unavailable))


def _temperature(subject: Subject, records: Sequence[SessionRecord]) -> dict[str, Any]:
    """The hottest zone at the start and at the worst; of zones that could be read all the time, as peaks are missed."""
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
        return unavailable(failed[0] if failed else "no thermal zone was sampled")
    return {"start": stats.median(starts), "max": max(peaks)}


def _loss(subject: Subject, records: Sequence[SessionRecord]) -> dict[str, Any]:
    def mean(losses: Sequence[float]) -> float:
        return sum(losses) / len(losses)

    first = stats.median([mean(record.steps[0].losses) for record in records])
    last = stats.median([mean(record.steps[-1].losses) for record in records])
    found = [compare_losses([step.losses for step in record.steps], subject.expected) for record in records]
    compared = [each for each in found if isinstance(each, LossComparison)]
    if not compared:
        why = next(each.document() for each in found if isinstance(each, Unavailable))
        missing = dict.fromkeys(("max_relative_error", "reference_steps", "noise", "difference"), why)
        return {"first": first, "last": last, **missing}
    return {
        "first": first,
        "last": last,
        "max_relative_error": max(each.max_relative_error for each in compared),
        "reference_steps": min(each.steps for each in compared),
        "noise": compared[0].noise,
        "difference": compared[0].difference,
    }


def _sensor(fact: SensorFact, used: Sequence[SessionResult]) -> dict[str, Any]:
    described: dict[str, Any] = {"name": fact.name, "quantity": fact.quantity}
    if fact.unavailable is not None:
        return described | unavailable(fact.unavailable)
    troubles = [
        gap(result.record, fact.name) or (None if fact.name in result.record.samples else "it gave no samples")
        for result in used
    ]
    if troubles and all(troubles):
        return described | unavailable(troubles[0] or "")
    return described | {"method": fact.method or "read by the runner's sampler"}


def _known(value: float | int | None, why_not: str) -> Any:
    return unavailable(why_not) if value is None else value
