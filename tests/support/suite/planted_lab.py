"""A lab of twenty boards with planted causes, judged night by night by the suite's own rules: `python -m
benchmarks.lab FOLDER`.

Only the devices are made up: each number is a base, times what was planted, times noise of the night on the device and
of the measurement. A suspect's pairs are drawn in the same way, with the program of its baseline's night beside
tonight's, so that code and device are distinguished as in a real lab.
"""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from sqlalchemy import Connection, insert

from reports.model.findings import Finding
from reports.model.measurement import Measurement
from reports.model.quantities import METRICS, Metric
from suite.nightly.evidence import Baseline, ScreenedSeries, candidates_for
from suite.nightly.findings import record_findings
from suite.nightly.judging import Confirming, judge
from suite.nightly.night import verdict_row
from suite.regression.confirmation import Pair
from suite.report_data.source import StoreSource
from suite.store import schema
from suite.store.identity import canonical, workload_key
from suite.store.nights import provenance_of
from suite.store.store import Store
from tests.support.reports.synthetic_store import BEGAN, began_at, document_of, state_row

BOARDS = {
    **{f"jetson-{number}": "jetson" for number in range(1, 9)},
    **{f"pi-{number}": "raspberrypi" for number in range(1, 7)},
    **{f"phone-{number}": "android" for number in range(1, 7)},
}
SETTINGS = {"fp32": 2500.0, "fp16": 1700.0, "int8": 1200.0, "nf4": 2900.0}
_SPEED = {"jetson": 1.0, "raspberrypi": 2.4, "android": 0.7}
TIME = ("latency_ms", "energy_gross_mj_per_step", "energy_net_mj_per_step")
MEMORY = ("peak_memory_kib", "memory_after_load_kib")
#: Relative noise of a measurement, and of a session measured in pairs.
_NOISE = {**dict.fromkeys(TIME, 0.008), **dict.fromkeys(MEMORY, 0.003), "load_ms": 0.03, "power_mw": 0.005}
_NIGHT_NOISE = 0.004

Nights = Callable[[int], float]
"""The factor by which a cause changes the numbers of a given night."""


@dataclass(frozen=True)
class Cause:
    """Something planted: on these boards, in these settings (empty: all), by the code or by the device."""

    boards: Sequence[str]
    settings: Sequence[str]
    metrics: Sequence[str]
    factor: Nights
    of_code: bool = True


@dataclass(frozen=True)
class Plan:
    """A lab of `nights`, of which those from `judged` on are judged. The causes begin in the night `began`."""

    nights: int = 24
    judged: int = 19
    seed: int = 20260101
    with_sessions: bool = False

    @property
    def began(self) -> int:
        """Four nights before the last: int8 is slow for three, then fixed."""
        return self.nights - 4

    @property
    def causes(self) -> tuple[Cause, ...]:
        began = self.began
        of_kind = {kind: [board for board, own in BOARDS.items() if own == kind] for kind in _SPEED}
        return (
            Cause(of_kind["jetson"], ["int8"], TIME, lambda night: 1.068 if began <= night < began + 3 else 1.0),
            Cause(of_kind["android"], ["fp16"], TIME, lambda night: 0.945 if night >= began else 1.0),
            Cause(["jetson-3"], [], MEMORY, lambda night: 1.09 if night >= began else 1.0),
            Cause(["pi-4"], [], TIME, lambda night: 1.006**night, of_code=False),
            Cause(["pi-5"], [], TIME, lambda night: 1.08 if night >= began else 1.0, of_code=False),
        )

    def is_dead(self, board: str, night: int) -> bool:
        return board == "pi-6" and night >= self.began + 1

    def is_lost(self, board: str, night: int) -> bool:
        return board == "phone-6" and night == self.nights - 1


@dataclass
class PlantedLab:
    """The lab's store, its nights (oldest first) and the findings of each judged one."""

    store: Store
    plan: Plan
    run_ids: list[str] = field(default_factory=list)
    findings: dict[str, list[Finding]] = field(default_factory=dict)
    night_of: dict[int, int] = field(default_factory=dict)

    @property
    def last(self) -> list[Finding]:
        return self.findings[self.run_ids[-1]]

    def every(self) -> dict[str, list[Finding]]:
        """Returns each finding as it was in the nights that had it, by its name."""
        found: dict[str, list[Finding]] = {}
        for night in self.findings.values():
            for one in night:
                found.setdefault(one.id, []).append(one)
        return found

    def level(self, board: str, setting: str, metric: str, program: int, night: int) -> float:
        """Returns the number, without noise, that one night's program has when measured in another night."""
        found = _base(BOARDS[board], setting, metric)
        for cause in self.plan.causes:
            if board in cause.boards and metric in cause.metrics and (not cause.settings or setting in cause.settings):
                found *= cause.factor(program if cause.of_code else night)
        return found

    def shared(self, board: str, night: int, metric: str) -> float:
        """Returns what the night does to the device, the same for all that is measured in it."""
        return math.exp(self.random(board, night, metric).normal(0, _NIGHT_NOISE)) if metric in TIME else 1.0

    def random(self, *what: object) -> np.random.Generator:
        return np.random.default_rng([self.plan.seed, zlib.crc32(repr(what).encode())])

    def drawn(self, board: str, setting: str, metric: str, program: int, night: int, count: int, why: str) -> Any:
        """Returns `count` numbers with noise."""
        noise = self.random(board, setting, metric, program, night, why).normal(0, _NOISE.get(metric, 0.0), count)
        return self.level(board, setting, metric, program, night) * self.shared(board, night, metric) * np.exp(noise)


def make_lab(path: Path, plan: Plan = Plan()) -> PlantedLab:
    """Makes the store at `path` and judges its nights; the lab's store stays open."""
    lab = PlantedLab(Store.open(path), plan)
    with lab.store.database.writing() as connection:
        connection.execute(
            insert(schema.device),
            [
                {
                    "id": place,
                    "name": board,
                    "kind": kind,
                    "emulated": 0,
                    "hardware": "{}",
                    "first_seen_at": began_at(0),
                }
                for place, (board, kind) in enumerate(BOARDS.items(), 1)
            ],
        )
        connection.execute(insert(schema.series), list(_series()))
    for night in range(plan.nights):
        with lab.store.database.writing() as connection:
            _measure(connection, lab, night)
        if night >= plan.judged:
            _judge(lab, lab.run_ids[night])
    return lab


def _base(kind: str, setting: str, metric: str) -> float:
    latency = SETTINGS[setting] * _SPEED[kind]
    memory = {"fp32": 820_000.0, "fp16": 510_000.0, "int8": 330_000.0, "nf4": 250_000.0}[setting]
    return {
        "latency_ms": latency,
        "load_ms": 800.0,
        "peak_memory_kib": memory,
        "memory_after_load_kib": memory * 0.8,
        "program_bytes": memory * 700,
        "energy_gross_mj_per_step": latency * 6.5,
        "energy_net_mj_per_step": latency * 4.6,
        "power_mw": 6500.0,
    }[metric]


def workload_of(setting: str) -> dict[str, Any]:
    """Returns the lab's workload in a setting."""
    named = {"model": "smollm2-135m", "method": "prge", "quant": setting, "backend": "xnnpack"}
    return named | {"q": 4, "b": 4, "T": 64, "rank": 16}


def _series() -> Iterator[dict[str, Any]]:
    places = ((board, setting, metric) for board in BOARDS for setting in SETTINGS for metric in METRICS)
    for number, (board, setting, metric) in enumerate(places, 1):
        yield {
            "id": number, "device_name": board, "workload_key": workload_key(workload_of(setting)),
            "metric": metric.name, "direction": metric.direction, "emulated": 0, "fingerprint": "f" * 16,
            "created_at": began_at(0),
        }  # fmt: skip


def _measure(connection: Connection, lab: PlantedLab, night: int) -> None:
    """Stores the run of a night with its measurements and points."""
    at, run_id = began_at(night), f"{(BEGAN + timedelta(days=night)):%Y-%m-%dT%H-%M-%S}-{night:04x}"
    lab.run_ids.append(run_id)
    upgraded = night >= lab.plan.began
    environment = {
        "edge-training-suite": "0.1.0",
        "commit": f"{zlib.crc32(b'%d' % night):08x}",
        "torch": "2.13.0" if upgraded else "2.12.1",
    }
    run = {"id": run_id, "started_at": at, "status": "finished", "purpose": "nightly", "plan": "{}"}
    ended = (BEGAN + timedelta(days=night, hours=2)).isoformat(timespec="milliseconds")
    command = json.dumps(["suite", "nightly", "--plan", "lab.yaml"])
    connection.execute(
        insert(schema.run).values(**run, finished_at=ended, command=command, environment=canonical(environment))
    )
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in ("device_state", "measurement", "session", "point")}
    for place, board in enumerate(BOARDS):
        if not lab.plan.is_dead(board, night):
            rows["device_state"].append(state_row(run_id, place + 1, at))
        for number, setting in enumerate(SETTINGS):
            key = night * len(BOARDS) * len(SETTINGS) + place * len(SETTINGS) + number + 1
            lab.night_of[key] = night
            _add(rows, lab, night, key, (run_id, at, ended), board, setting)
    programs = {row["artifact_hash"]: row for row in rows["measurement"]}
    known = set(connection.execute(schema.artifact.select().with_only_columns(schema.artifact.c.hash)).scalars())
    new = [
        {"hash": name, "workload": row["workload"], "metadata": "{}", "recorded_at": at}
        for name, row in programs.items()
        if name not in known
    ]
    if new:
        connection.execute(insert(schema.artifact), new)
    for name, found in rows.items():
        if found:
            connection.execute(insert(schema.metadata.tables[name]), found)


def _add(
    rows: Mapping[str, list[dict[str, Any]]], lab: PlantedLab, night: int, key: int, named: tuple[str, str, str],
    board: str, setting: str,
) -> None:  # fmt: skip
    run_id, at, ended = named
    workload = workload_of(setting)
    version = "new" if night >= lab.plan.began else "old"
    row = {
        "id": key, "run_id": run_id, "device_id": list(BOARDS).index(board) + 1, "workload_key": workload_key(workload),
        "workload": canonical(workload), "role": "measured", "planned_sessions": 3, "valid_sessions": 3, "design": "{}",
        "reference_losses": "[]", "started_at": at, "finished_at": ended, "status": "ok", "reason": None,
        "artifact_hash": f"{zlib.crc32(f'{setting} {version}'.encode()):08x}" * 4,
        "runner_hash": f"{zlib.crc32(BOARDS[board].encode()):08x}" * 4,
    }  # fmt: skip
    failure = ""
    if lab.plan.is_dead(board, night):
        failure = "no route to host (error 113)"
    elif lab.plan.is_lost(board, night):
        failure = "the device went away during session 2: the connection was closed"
    if failure:
        lacking = {"device": board, "workload": workload, "status": "failed", "reason": failure}
        rows["measurement"].append(
            row | {"status": "failed", "reason": failure, "valid_sessions": 0, "document": canonical(lacking)}
        )
        return
    values = {metric.name: float(_value(lab, board, setting, metric.name, night)) for metric in METRICS}
    document = _document(board, workload, values)
    rows["measurement"].append(row | {"document": canonical(document)})
    measurement = Measurement.from_document(document)
    first = (key - 1) % (len(BOARDS) * len(SETTINGS)) * len(METRICS) + 1
    for place, metric in enumerate(METRICS):
        value = metric.value(measurement)
        rows["point"].append({"measurement_id": key, "series_id": first + place, "value": value})
    if lab.plan.with_sessions and night == lab.plan.nights - 1:
        rows["session"].extend(_sessions(run_id, key, document["latency_ms"]["sessions"], at))


def _value(lab: PlantedLab, board: str, setting: str, metric: str, night: int) -> float:
    return float(np.median(lab.drawn(board, setting, metric, night, night, 3, "point")))


def _document(board: str, workload: dict[str, Any], values: Mapping[str, float]) -> dict[str, Any]:
    latency = values["latency_ms"]
    found: dict[str, Any] = document_of(board, workload, [latency * 0.993, latency, latency * 1.006])
    return found | {
        "kind": BOARDS[board],
        "load_ms": {"median": values["load_ms"]},
        "peak_memory_kib": values["peak_memory_kib"],
        "memory_after_load_kib": values["memory_after_load_kib"],
        "program_bytes": values["program_bytes"],
        "energy_mj_per_step": found["energy_mj_per_step"]
        | {"gross": values["energy_gross_mj_per_step"], "net": values["energy_net_mj_per_step"]},
        "power_mw": {"mean": values["power_mw"], "idle": 1900.0},
    }


def _sessions(run_id: str, key: int, medians: Sequence[float], at: str) -> Iterator[dict[str, Any]]:
    for ordinal, median in enumerate(medians):
        yield {
            "id": f"{run_id}.{key}.s{ordinal}.a0", "measurement_id": key, "ordinal": ordinal, "attempt": 0,
            "status": "ok", "cause": "end", "sentence": "", "median_ms": median, "t_begin_ns": 10**9,
            "load_ms": 812.0, "hwm_kib": 190_000, "sensor_errors": "{}", "defects": "[]", "idle": "{}",
            "committed_at": at,
        }  # fmt: skip


@dataclass(frozen=True)
class _Again:
    """A workload that is measured again, beside the program of an earlier night."""

    lab: PlantedLab
    place: tuple[str, str]
    setting: str
    before: int
    now: int
    count: int = 0
    fresh: bool = False
    reason: str | None = None

    def of(self, metric: Metric, first: int = 0) -> list[Pair]:
        sides = [
            self.lab.drawn(self.place[0], self.setting, metric.name, program, self.now, self.count, why)[first:]
            for program, why in ((self.before, "baseline"), (self.now, "candidate"))
        ]
        return [Pair(float(baseline), float(candidate)) for baseline, candidate in zip(*sides, strict=True)]


def _judge(lab: PlantedLab, run_id: str) -> None:
    class Simulated(Confirming):
        def choose(self, place: Any, suspects: Sequence[ScreenedSeries]) -> Any:
            candidates = candidates_for(suspects)
            made = provenance_of(lab.store, candidates[:1])
            if not made:
                self._obstruct(suspects, "no earlier night of this series can serve as the baseline")
                return None
            (before,) = made
            baseline = Baseline(made[before], None, None)  # type: ignore[arg-type]
            self.note_baseline(suspects, baseline, ())
            setting = next(name for name in SETTINGS if workload_key(workload_of(name)) == place[1])
            tonight = lab.night_of[suspects[0].series.tonight.measurement_id]
            return _Again(lab, place, setting, lab.night_of[before], tonight)

        def measure(self, items: Any, pairs: int, *, fresh_loads: bool = False) -> Any:
            return {
                item.place: _Again(lab, item.place, item.setting, item.before, item.now, pairs, fresh_loads)
                for item in items
            }

    run: Any = SimpleNamespace(store=lab.store, run_id=run_id, display=SimpleNamespace(note=lambda _: None))
    commands = {
        (board, workload_key(workload_of(setting))): f"suite run --device {board} --quant {setting}"
        for board in BOARDS
        for setting in SETTINGS
    }
    judged = judge(run, {}, Simulated)
    lab.store.add_verdicts([verdict_row(item, commands) for item in judged])
    record_findings(lab.store)
    lab.findings[run_id] = StoreSource(lab.store).findings(run_id)
