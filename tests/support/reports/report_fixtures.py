"""A report source with the shapes of a real run: two real devices and an emulated one, four settings, odd outcomes."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from reports.model.findings import Finding
from reports.model.histories import (
    Compared,
    DeviceSummary,
    HealthPoint,
    HistorySummary,
    MetricHistory,
    Recent,
    SeriesVerdict,
    WorkloadSummary,
)
from reports.model.measurement import Measurement
from reports.model.source import RunContents, RunSummary, Samples, SessionTrace, Step
from reports.model.training import TrainingGroup, TrainingGroupSummary

RUN_ID = "2026-03-02T021500Z-7c1d"
OLD_RUN_ID = "2026-03-01T021500Z-55aa"
HOSTILE = '<img src=x onerror="document.title=1"></script><b>pi</b> & =1+1 \u202e\u2028 {{ 7*7 }} %{x}'
SETTINGS = ("fp32", "fp16", "int8", "nf4")
_STEP_MS = {"fp32": 2510.0, "fp16": 2600.0, "int8": 1195.0, "nf4": 2960.0}
_WEIGHT_BYTES = {"fp32": 538_060_032, "fp16": 269_030_016, "int8": 135_284_000, "nf4": 75_700_000}
_NO_RAPL = {"unavailable": "RAPL is not readable: /sys/class/powercap/intel-rapl:0/energy_uj needs root"}
_EMULATED = {"unavailable": "an emulated device has no power"}
Sessions = dict[str, SessionTrace]


class FixtureSource:
    """Implements ReportSource from dictionaries; tests change them as they like."""

    def __init__(self, summaries: list[RunSummary], documents: dict[str, dict[str, Any]], traces: Sessions) -> None:
        self.summaries, self.documents, self.traces = summaries, documents, traces

    def runs(self) -> list[RunSummary]:
        return list(self.summaries)

    def document(self, run_id: str) -> dict[str, Any]:
        return self.documents[run_id]

    def run(self, run_id: str) -> RunContents:
        return RunContents.from_document(self.documents[run_id])

    def surroundings(self, run_id: str) -> RunContents:
        return RunContents.from_document(self.documents[run_id])

    def trace(self, session_id: str) -> SessionTrace:
        return self.traces.get(session_id, SessionTrace())

    def verdicts(self, run_id: str) -> list[SeriesVerdict]:
        return []

    def findings(self, run_id: str) -> list[Finding]:
        return []

    def recent(self) -> Recent:
        return Recent()

    def histories(self, run_id: str | None = None) -> list[HistorySummary]:
        return []

    def history(self, device: str, workload_key: str) -> list[MetricHistory]:
        return []

    def devices(self, run_id: str | None = None) -> list[DeviceSummary]:
        return []

    def health(self, device: str) -> list[HealthPoint]:
        return []

    def workloads(self, run_id: str | None = None) -> list[WorkloadSummary]:
        return []

    def latest(self, workload: str) -> list[Measurement]:
        return []

    def compared(self, before: str, after: str) -> Compared:
        return Compared(before, after, ())

    def training_groups(self) -> list[TrainingGroupSummary]:
        return []

    def training_group(self, group_id: str) -> TrainingGroup:
        raise KeyError(group_id)


def summary(run_id: str = RUN_ID, **more: Any) -> RunSummary:
    """A finished run of two devices."""
    facts: dict[str, Any] = {
        "started_at": "2026-03-02T02:15:00+00:00",
        "finished_at": "2026-03-02T02:43:10+00:00",
        "status": "finished",
        "command": "suite run --device local,jetson --quant fp32,fp16,int8,nf4",
        "devices": ["local", "jetson"],
        "settings": list(SETTINGS),
        "measurements": 8,
    }
    return RunSummary(run_id=run_id, **(facts | more))


def realistic(steps: int = 20, sensor_hz: float = 10.0, hostile: bool = True) -> FixtureSource:
    """Two runs; the newer has `local` without power, `jetson` with it, and an emulated device with a hostile name."""
    traces: Sessions = {}
    rng = np.random.default_rng(7)
    found = [measurement("local", 1.0, setting, rng, traces, steps, sensor_hz) for setting in SETTINGS]
    found += [measurement("jetson", 2.4, setting, rng, traces, steps, sensor_hz, watts=6.5) for setting in SETTINGS[:3]]
    found.append(unsupported("jetson", "nf4"))
    names = ["local", "jetson"]
    if hostile:
        odd = measurement(HOSTILE, 9.0, "int8", rng, traces, min(steps, 5), sensor_hz, emulated=True)
        found.append(odd | {"reason": HOSTILE, "status": "unstable"})
        names.append(HOSTILE)
    document = {
        "run_id": RUN_ID,
        "report": None,
        "started_at": "2026-03-02T02:15:00+00:00",
        "finished_at": "2026-03-02T02:43:10+00:00",
        "command": f"suite run --device local,jetson --task {HOSTILE if hostile else 'reviews.tsv'}",
        "tags": ["v1.2", "before-fan"],
        "remarks": [
            {
                "kind": "accepted",
                "at": "2026-03-03T09:00:00+00:00",
                "author": "ben",
                "text": "a slower but exact kernel",
                "about": "local int8 latency_ms",
            },
            {
                "kind": "annotation",
                "at": "2026-03-02T08:00:00+00:00",
                "author": "lena",
                "text": HOSTILE if hostile else "new fan",
                "about": "",
            },
        ],
        "environment": {
            "suite": "0.1.0",
            "python": "3.11.2",
            "torch": "2.13.0",
            "executorch": "1.5.1",
            "host": "lab-3",
        },
        "devices": {name: device(name) for name in names},
        "measurements": found,
    }
    old = document | {"run_id": OLD_RUN_ID, "measurements": found[:1], "devices": {"local": device("local")}}
    runs = [
        summary(
            OLD_RUN_ID, started_at="2026-03-01T02:15:00+00:00", finished_at=None, status="interrupted", measurements=1
        ),
        summary(RUN_ID, devices=names, measurements=len(found)),
    ]
    return FixtureSource(runs, {RUN_ID: document, OLD_RUN_ID: old}, traces)


def device(name: str) -> dict[str, Any]:
    """A device as the preflight saw it."""
    return {
        "kind": "jetson" if name == "jetson" else "local",
        "emulated": name == HOSTILE,
        "facts": {
            "cpu": "Cortex-A78AE" if name == "jetson" else "x86-64 with AVX-512",
            "cores": 6 if name == "jetson" else 2,
            "memory_kib": 8_000_000,
            "kernel": HOSTILE if name == HOSTILE else "6.1.0",
            "governor": {"unavailable": "no cpufreq in this kernel"},
        },
        "preflight": [
            {"name": "disk", "status": "ok", "detail": "41 GiB free", "remedy": ""},
            {
                "name": "governor",
                "status": "warning",
                "detail": "schedutil",
                "remedy": "set it to performance for steady clocks",
            },
        ],
    }


def measurement(
    name: str, slower: float, setting: str, rng: np.random.Generator, traces: Sessions, steps: int, sensor_hz: float,
    watts: float | None = None, emulated: bool = False,
) -> dict[str, Any]:  # fmt: skip
    """One measurement of three sessions with its traces; the last fp16 session was redone after throttling."""
    base_ms = _STEP_MS[setting] * slower
    weights = _WEIGHT_BYTES[setting]
    sessions, medians = launches(name, setting, base_ms, rng, traces, steps, sensor_hz, watts)
    low, high = min(medians), max(medians)
    reason = _EMULATED if emulated else _NO_RAPL
    against_fp32 = _STEP_MS[setting] / _STEP_MS["fp32"]
    record = {
        "measurement_id": f"{name[:6]}-{setting}",
        "device": name,
        "kind": "jetson" if name == "jetson" else "local",
        "emulated": emulated,
        "workload": workload(setting),
        "status": "ok",
        "reason": None,
        "latency_ms": {
            "median": float(np.median(medians)), "ci95": [low, high], "sessions": medians,
            "cv_percent": 0.8, "max": high * 1.08, "p50": float(np.median(medians)),
        },
        "load_ms": {"median": 812.5},
        "peak_memory_kib": int(weights / 1024 * 1.18),
        "memory_after_load_kib": int(weights / 1024 * 1.02),
        "program_bytes": int(weights * 1.01),
        "weight_bytes": weights,
        "energy_mj_per_step": energy(base_ms, watts) if watts else reason,
        "power_mw": {"mean": watts * 1e3, "idle": 1_900.0} if watts else reason,
        "temperature_c": {"start": 41.0, "max": 56.5},
        "throttled": False,
        "loss": {"first": 7.84, "last": 6.91, "max_relative_error": 3.2e-6, "reference_steps": 3},
        "reference_losses": [[7.9, 7.8], [7.8, 7.7], [7.7, 7.6]] if name == "local" else None,
        "stability": 91.4,
        "ratio_to_reference": {
            "setting": "fp32",
            "latency": {"ratio": against_fp32, "ci95": [0.97 * against_fp32, 1.03 * against_fp32]},
        },
        "sensors": sensors(watts, reason),
        "sampler_overhead_percent": {"unavailable": "not measured in this run; `suite check --overhead` measures it"},
        "sessions": sessions,
    }  # fmt: skip
    if emulated:
        record["ratio_to_reference"] = {"unavailable": "emulated latencies are never compared"}
    return record


def launches(
    name: str, setting: str, base_ms: float, rng: np.random.Generator, traces: Sessions, steps: int, sensor_hz: float,
    watts: float | None,
) -> tuple[list[dict[str, Any]], list[float]]:  # fmt: skip
    """Three sessions with their traces, and the medians of those that count."""
    weights = _WEIGHT_BYTES[setting]
    sessions: list[dict[str, Any]] = []
    medians: list[float] = []
    for ordinal in range(3):
        attempts = 2 if (setting, ordinal, name) == ("fp16", 2, "local") else 1
        for attempt in range(attempts):
            session_id = f"{name[:10]}-{setting}-{ordinal}-{attempt}"
            throttled = attempt < attempts - 1
            pace_ms = base_ms * float(rng.normal(1.0, 0.008)) * (1.25 if throttled else 1.0)
            traces[session_id] = trace(pace_ms, setting, weights, rng, steps, sensor_hz, watts)
            medians += [] if throttled else [pace_ms]
            sessions.append(session(session_id, ordinal, attempt, throttled, pace_ms, weights))
    return sessions, medians


def sensors(watts: float | None, reason: dict[str, str]) -> list[dict[str, Any]]:
    """What was sampled, and why power was not."""
    power = {"method": "INA3221 voltage x current"} if watts else reason
    return [
        {"name": "memory.rss", "quantity": "memory_kib", "method": "VmRSS of /proc/self/status"},
        {"name": "VDD_IN", "quantity": "power_mw", **power},
    ]


def workload(setting: str) -> dict[str, Any]:
    """The workload of the fixture at one setting."""
    shape = {"q": 4, "b": 4, "T": 64, "rank": 16}
    return {"model": "smollm2-135m", "method": "prge", "quant": setting, "backend": "xnnpack", **shape}


def energy(base_ms: float, watts: float) -> dict[str, Any]:
    """Energy of a step at a steady power."""
    gross = base_ms * watts
    return {
        "gross": gross, "net": gross - 1.9 * base_ms, "short": False,
        "method": "trapezoid of VDD_IN", "rate_hz": 10.0, "alignment_error_ms": 50.0,
    }  # fmt: skip


def unsupported(name: str, setting: str) -> dict[str, Any]:
    """A setting that a device can't execute."""
    why = {"unavailable": "not run: the setting is unsupported"}
    keys = (
        "latency_ms",
        "load_ms",
        "peak_memory_kib",
        "energy_mj_per_step",
        "power_mw",
        "temperature_c",
        "loss",
        "stability",
    )
    return {
        "measurement_id": f"{name}-{setting}",
        "device": name,
        "kind": "jetson",
        "emulated": False,
        "workload": workload(setting),
        "status": "unsupported",
        "reason": "The runner on this device was built without prge::linear_nf4 (error 0x14 at load): build the runner "
        "again and deploy it with `suite run --device jetson`.",
        "program_bytes": 76_000_000,
        "weight_bytes": 75_700_000,
        "sensors": [],
        "sessions": [],
        **dict.fromkeys(keys, why),
    }


def session(
    session_id: str, ordinal: int, attempt: int, throttled: bool, pace_ms: float, weights: int
) -> dict[str, Any]:
    """One session's line."""
    return {
        "session_id": session_id, "ordinal": ordinal, "attempt": attempt,
        "status": "throttled" if throttled else "ok", "reason": "frequency cap at step 9" if throttled else None,
        "median_ms": pace_ms, "t_begin_ns": 1_000_000_000, "load_ms": 812.5, "hwm_kib": int(weights / 1024 * 1.18),
    }  # fmt: skip


def trace(
    pace_ms: float,
    setting: str,
    weights: int,
    rng: np.random.Generator,
    steps: int,
    sensor_hz: float,
    watts: float | None,
) -> SessionTrace:
    """Three slower warm-up steps, then measured ones; memory that rises at load; power if there is a sensor."""
    now_ns = 2_000_000_000
    taken = []
    for index in range(steps + 3):
        lasted_ms = pace_ms * float(rng.normal(1.0, 0.012)) * (1.15 if index < 2 else 1.0)
        end_ns = now_ns + int(lasted_ms * 1e6)
        loss = 7.84 * 0.985**index + {"fp32": 0, "fp16": 0.001, "int8": 0.05, "nf4": 0.2}.get(setting, 0.0)
        taken.append(Step(index, "warm_up" if index < 3 else "measured", now_ns, end_ns, [loss + 0.02, loss - 0.02]))
        now_ns = end_ns + 150_000
    times = np.arange(1_000_000_000, now_ns, int(1e9 / sensor_hz))
    full = weights / 1024 * 1.15
    memory = np.minimum(full, 20_000 + (times - 1e9) / 8e8 * full) + rng.normal(0, full * 0.002, times.size)
    samples: dict[str, Samples] = {
        "memory.rss": Samples("memory_kib", times.tolist(), memory.tolist()),
        "memory.hwm": Samples("memory_kib", times[::10].tolist(), np.maximum.accumulate(memory)[::10].tolist()),
    }
    if watts is not None:
        power = np.where(times < 2e9, 1_900, watts * 1e3) + rng.normal(0, 120, times.size)
        samples["VDD_IN"] = Samples("power_mw", times.tolist(), power.tolist())
    return SessionTrace(taken, samples)


def only(source: FixtureSource, changes: Mapping[str, Any]) -> FixtureSource:
    """Returns the same source with one measurement of its newer run (`local`, fp32) changed by `changes`."""
    first = source.documents[RUN_ID]["measurements"][0] | changes
    document = source.documents[RUN_ID] | {"measurements": [first], "devices": {"local": device("local")}}
    return FixtureSource([summary(RUN_ID, devices=["local"], measurements=1)], {RUN_ID: document}, source.traces)
