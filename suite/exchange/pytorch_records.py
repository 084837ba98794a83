"""Writes runs as records of PyTorch's benchmark database: a list with a record for each metric of each measurement.

The layout is that of the table `oss_ci_benchmark_v3` [https://github.com/pytorch/test-infra,
clickhouse_db_schema/oss_ci_benchmark_v3/schema.sql; https://github.com/pytorch/pytorch/wiki/PyTorch-OSS-benchmark-infra,
"Benchmark results format"]. The uploader adds repository, commit and workflow.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence

from foundation.unavailable import Json, Unavailable
from reports.model.measurement import Measurement
from reports.model.quantities import METRICS, Metric
from reports.model.reading import known_number, text
from reports.model.source import ReportSource, RunContents, RunDevice
from reports.text.numbers import parse_moment

_NAME = "edge-training-suite"
_DEPENDENCIES = ("torch", "executorch", "torchao")
_INPUTS = ("b", "T")
_NOT_EXTRA = ("model", "quant", "backend", *_INPUTS)
_KIB_PER_GIB = 1 << 20


def pytorch_records(source: ReportSource, run_id: str | None = None) -> str:
    """Returns the records of a run, or of every run of this lab, as JSON."""
    runs = [run.run_id for run in source.runs() if not run.origin] if run_id is None else [run_id]
    found = [record for run in runs for record in _of_run(source.run(run))]
    return json.dumps(found, indent=1, allow_nan=False) + "\n"


def _of_run(run: RunContents) -> Iterator[dict[str, Json]]:
    moment = parse_moment(run.started_at)
    shared: dict[str, Json] = {
        "timestamp": 0 if moment is None else int(moment.timestamp()),
        "schema_version": "v3",
        "name": _NAME,
        "dependencies": {
            name: {"version": text(run.environment, name), "extra_info": {}}
            for name in _DEPENDENCIES
            if text(run.environment, name)
        },
    }
    for one in run.measurements:
        if one.role not in (None, "measured"):
            continue
        about = {**shared, **_about(one, run)}
        for metric in METRICS:
            values = _values(metric, one)
            if values:
                yield {**about, "metric": _metric(metric, values)}


def _values(metric: Metric, one: Measurement) -> list[float]:
    """Returns the metric of each session, or else the measurement's only number."""
    value = metric.value(one)
    return [] if value is None else [float(each) for each in metric.session_values(one)] or [value]


def _metric(metric: Metric, values: Sequence[float]) -> dict[str, Json]:
    extra = {"title": metric.title, "better": metric.direction, "values": "one a session" if len(values) > 1 else "one"}
    return {"name": metric.name, "benchmark_values": list(values), "target_value": 0.0, "extra_info": extra}


def _about(one: Measurement, run: RunContents) -> dict[str, Json]:
    workload = one.workload
    return {
        "runners": [_runner(one, run.devices.get(one.device))],
        "benchmark": {
            "name": _NAME,
            "mode": "training",
            "dtype": one.setting,
            "extra_info": {"run": run.run_id, "status": one.status, **_texts(workload, _NOT_EXTRA)},
        },
        "model": {
            "name": text(workload, "model"),
            "type": "on-device training step",
            "backend": text(workload, "backend"),
            "origins": [],
            "extra_info": {},
        },
        "inputs": {"tokens": {"dtype": "int64", "extra_info": {key: text(workload, key) for key in _INPUTS}}},
    }


def _texts(values: Mapping[str, Json], left_out: Sequence[str]) -> dict[str, str]:
    return {
        key: value if isinstance(value, str) else json.dumps(value)
        for key, value in values.items()
        if key not in left_out and value is not None
    }


def _runner(one: Measurement, device: RunDevice | None) -> dict[str, Json]:
    facts = {} if device is None else device.facts
    memory = known_number(facts, "memory_kib") or 0.0
    threads = one.setup.threads
    extra = {
        "kind": one.kind,
        "emulated": str(one.emulated).lower(),
        "os": text(facts, "os_build"),
        "kernel": text(facts, "kernel"),
        "threads": "" if isinstance(threads, Unavailable) else str(threads),
    }
    return {
        "name": one.device,
        "type": text(facts, "board") or one.kind,
        "cpu_info": text(facts, "machine"),
        "cpu_count": int(known_number(facts, "cpu_count") or 0),
        "avail_mem_in_gb": int(memory / _KIB_PER_GIB),
        "extra_info": {key: value for key, value in extra.items() if value},
    }
