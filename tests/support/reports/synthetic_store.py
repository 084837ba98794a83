"""A store of many nights, made fast: seeded numbers in the shape that runs leave, without running anything."""

import atexit
import functools
import json
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import Connection, insert

from reports.model.measurement import Measurement
from reports.model.quantities import METRICS
from suite.store import schema
from suite.store.identity import canonical, workload_key
from suite.store.session_rows import FLOAT, INTEGER, pack
from suite.store.store import Store

_NAME = "store.sqlite"
BEGAN = datetime(2026, 1, 1, 2, 15, tzinfo=UTC)
_SETTINGS = {"fp32": 2500.0, "fp16": 2600.0, "int8": 1200.0, "nf4": 2900.0}


@dataclass(frozen=True)
class Shape:
    """How much there is: `nights` x `devices` x `shapes` x 4 settings measurements, each of 3 sessions.

    Steps and sensor samples are kept for the newest night alone (`steps` of each), which is the only one whose run
    page is built in a night.
    """

    nights: int
    devices: int
    shapes: int = 2
    steps: int = 20

    @property
    def measurements(self) -> int:
        return self.nights * self.devices * self.shapes * len(_SETTINGS)


def fill(path: Path, shape: Shape) -> list[str]:
    """Makes the store at `path`, with its journal; returns the ids of its nights, oldest first."""
    kept, run_ids = _kept(shape)
    shutil.copytree(kept, path.parent, dirs_exist_ok=True)
    (path.parent / _NAME).rename(path)
    return list(run_ids)


@functools.cache
def _kept(shape: Shape) -> tuple[Path, tuple[str, ...]]:
    """Makes one store for all callers that need this shape; returns its folder and the ids of its nights."""
    folder = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder, tuple(_make(folder / _NAME, shape))


def _make(path: Path, shape: Shape) -> list[str]:
    store = Store.open(path)
    rng = np.random.default_rng(11)
    run_ids = []
    with store.database.writing() as connection:
        devices = _devices(connection, shape)
        workloads = [_workload(setting, place) for place in range(shape.shapes) for setting in _SETTINGS]
        connection.execute(insert(schema.series), list(_series(devices, workloads)))
        for night in range(shape.nights):
            run_ids.append(_night(connection, night, devices, workloads, shape, rng))
    store.close()
    return run_ids


def _devices(connection: Connection, shape: Shape) -> list[str]:
    names = [f"board-{number:02}" for number in range(shape.devices)]
    seen = {"kind": "jetson", "emulated": 0, "hardware": "{}", "first_seen_at": began_at(0)}
    connection.execute(
        insert(schema.device), [{"id": place + 1, "name": name, **seen} for place, name in enumerate(names)]
    )
    return names


def _workload(setting: str, place: int) -> dict[str, Any]:
    named = {"model": "smollm2-135m", "method": "prge", "quant": setting, "backend": "xnnpack"}
    return named | {"q": 4, "b": 4, "T": 64 * (place + 1), "rank": 16}


def _series(devices: list[str], workloads: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    number = 0
    for name in devices:
        for workload in workloads:
            for metric in METRICS:
                number += 1
                yield {
                    "id": number, "device_name": name, "workload_key": workload_key(workload), "metric": metric.name,
                    "direction": metric.direction, "emulated": 0, "fingerprint": "f" * 16, "created_at": began_at(0),
                }  # fmt: skip


def _night(
    connection: Connection, night: int, devices: list[str], workloads: list[dict[str, Any]], shape: Shape,
    rng: np.random.Generator,
) -> str:  # fmt: skip
    at, run_id = began_at(night), f"{(BEGAN + timedelta(days=night)):%Y-%m-%dT%H-%M-%S}-{night:04x}"
    run = {"id": run_id, "started_at": at, "finished_at": at, "status": "finished", "purpose": "nightly", "plan": "{}"}
    command = json.dumps(["suite", "nightly", "--plan", "lab.yaml"])
    connection.execute(insert(schema.run).values(**run, command=command, environment='{"torch": "2.13.0"}'))
    connection.execute(insert(schema.device_state), [state_row(run_id, place + 1, at) for place in range(len(devices))])
    rows: dict[str, list[dict[str, Any]]] = {
        name: [] for name in ("measurement", "point", "verdict", "session", "sample")
    }
    per_night = len(devices) * len(workloads)
    for place in range(per_night):
        number = night * per_night + place + 1
        device, workload = divmod(place, len(workloads))
        _measurement(rows, number, run_id, at, device, devices[device], workloads[workload], rng)
        first = place * len(METRICS) + 1
        _add_verdicts(rows, number, first, at, night)
        if night == shape.nights - 1:
            _traces(rows, number, shape.steps)
    for name, found in rows.items():
        if found:
            connection.execute(insert(schema.metadata.tables[name]), found)
    return run_id


def _measurement(
    rows: dict[str, list[dict[str, Any]]], number: int, run_id: str, at: str, device: int, name: str,
    workload: dict[str, Any], rng: np.random.Generator,
) -> None:  # fmt: skip
    medians = (_SETTINGS[workload["quant"]] * rng.normal(1.0, 0.015, 3)).tolist()
    document = document_of(name, workload, sorted(medians))
    rows["measurement"].append(
        {
            "id": number, "run_id": run_id, "device_id": device + 1, "workload_key": workload_key(workload),
            "workload": canonical(workload), "role": "measured", "planned_sessions": 3,
            "valid_sessions": 3, "design": "{}", "reference_losses": "[]",
            "started_at": at, "finished_at": at, "status": "ok", "document": canonical(document),
        }
    )  # fmt: skip
    for ordinal, median in enumerate(medians):
        rows["session"].append(
            {
                "id": f"{run_id}.{number}.s{ordinal}.a0", "measurement_id": number, "ordinal": ordinal, "attempt": 0,
                "status": "ok", "cause": "end", "sentence": "", "median_ms": median, "t_begin_ns": 10**9,
                "load_ms": 812.0, "hwm_kib": 190_000, "sensor_errors": "{}", "defects": "[]", "idle": "{}",
                "committed_at": at,
            }
        )  # fmt: skip


def document_of(name: str, workload: dict[str, Any], medians: list[float]) -> dict[str, Any]:
    middle = medians[1]
    return {
        "device": name, "kind": "jetson", "emulated": False, "workload": workload, "status": "ok", "reason": None,
        "latency_ms": {"median": middle, "ci95": [medians[0], medians[2]], "sessions": medians, "cv_percent": 1.5,
                       "max": medians[2] * 1.05},
        "load_ms": {"median": 812.0}, "peak_memory_kib": 190_000, "memory_after_load_kib": 150_000,
        "program_bytes": 136_000_000, "weight_bytes": 135_000_000,
        "energy_mj_per_step": {"gross": middle * 6.5, "net": middle * 4.6, "method": "trapezoid", "rate_hz": 10.0,
                               "alignment_error_ms": 50.0, "short": False},
        "power_mw": {"mean": 6_500.0, "idle": 1_900.0}, "throttled": False,
        "temperature_c": {"start": 41.0, "max": 56.0},
        "loss": {"first": 7.8, "last": 6.9, "max_relative_error": 1e-6, "reference_steps": 3}, "stability": 91.0,
        "ratio_to_reference": {"setting": "fp32", "latency": {"ratio": middle / 2500.0, "ci95": [0.9, 1.1]}},
        "sensors": [{"name": "VDD_IN", "quantity": "power_mw", "method": "INA3221"}],
        "sampler_overhead_percent": {"unavailable": "not measured in this run; `suite check --overhead` measures it"},
    }  # fmt: skip


def _add_verdicts(rows: dict[str, list[dict[str, Any]]], number: int, first: int, at: str, night: int) -> None:
    measurement = Measurement.from_document(json.loads(rows["measurement"][-1]["document"]))
    for place, metric in enumerate(METRICS):
        value = metric.value(measurement) or 1.0
        rows["point"].append({"measurement_id": number, "series_id": first + place, "value": value})
        numbers = {
            "centre": value,
            "scale": value * 0.015,
            "margin": value * 0.04,
            "change": 0.0,
            "floor": 0.0,
            "points": 30,
        }
        inputs = {"value": value, "sentence": "Like its history.", "command": "suite run --device board --quant int8"}
        rows["verdict"].append(
            {
                "series_id": first + place, "measurement_id": number, "at": at, "rule": "nightly 1",
                "verdict": "insufficient" if night < 10 else "regressed" if number % 997 == 0 else "unchanged",
                "inputs": json.dumps(inputs), "numbers": json.dumps(numbers),
            }
        )  # fmt: skip


def _traces(rows: dict[str, list[dict[str, Any]]], number: int, steps: int) -> None:
    for session in rows["session"][-3:]:
        ends = [10**9 + step * 2_500_000_000 for step in range(steps + 1)]
        times = list(range(10**9, ends[-1], 100_000_000))
        rows["sample"] += [
            _sample(session["id"], "steps", "steps", "step", steps, {
                "index": (INTEGER, list(range(steps))), "phase": (INTEGER, [1] * steps),
                "t0_ns": (INTEGER, ends[:-1]), "t1_ns": (INTEGER, ends[1:]),
                "loss_count": (INTEGER, [2] * steps), "losses": (FLOAT, [7.0] * 2 * steps),
            }),
            _sample(session["id"], "sensor", "memory.rss", "memory_kib", len(times),
                    {"t_ns": (INTEGER, times), "value": (FLOAT, [190_000.0] * len(times))}),
        ]  # fmt: skip


def _sample(session_id: str, kind: str, name: str, quantity: str, count: int, columns: Any) -> dict[str, Any]:
    packed = pack(columns)
    named = {"session_id": session_id, "kind": kind, "name": name, "quantity": quantity, "rows": count}
    return named | {"layout": packed.layout, "data": packed.data}


def state_row(run_id: str, device_id: int, at: str) -> dict[str, Any]:
    checks = [{"name": "disk", "status": "ok", "detail": "41000 MB free, 200 MB needed", "remedy": ""}]
    facts = canonical({"cpu_count": 6, "policies": [{"governor": "performance"}], "kernel": "5.15"})
    named = {"run_id": run_id, "device_id": device_id, "at": at, "os_build": "Ubuntu 22.04 5.15"}
    return named | {"facts": facts, "preflight": canonical(checks)}


def began_at(night: int) -> str:
    return (BEGAN + timedelta(days=night)).isoformat(timespec="milliseconds")
