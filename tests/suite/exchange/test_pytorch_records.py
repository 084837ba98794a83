"""Records of PyTorch's benchmark database, checked against its table as test-infra defines it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import pytest
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from suite.exchange.pytorch_records import pytorch_records
from suite.report_data.source import StoreSource
from suite.store.store import Store
from tests.support.reports.synthetic_store import Shape, fill

UInt = Annotated[int, Field(ge=0)]
Texts = dict[str, str]


class _Row(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Runner(_Row):
    name: str
    type: str
    cpu_info: str
    cpu_count: UInt
    avail_mem_in_gb: UInt
    extra_info: Texts


class Benchmark(_Row):
    name: str
    mode: str
    dtype: str
    extra_info: Texts


class Model(_Row):
    name: str
    type: str
    backend: str
    origins: list[str]
    extra_info: Texts


class Input(_Row):
    dtype: str
    extra_info: Texts


class Dependency(_Row):
    version: str
    extra_info: Texts


class Metric(_Row):
    name: str
    benchmark_values: Annotated[list[float], Field(min_length=1)]
    target_value: float
    extra_info: Texts


class Record(_Row):
    """A row of `oss_ci_benchmark_v3` without what the uploader adds (repository, branch, commit, workflow, job)."""

    timestamp: UInt
    schema_version: str
    name: str
    runners: list[Runner]
    benchmark: Benchmark
    model: Model
    inputs: dict[str, Input]
    dependencies: dict[str, Dependency]
    metric: Metric


@pytest.fixture
def source(tmp_path: Path) -> Iterator[StoreSource]:
    fill(tmp_path / "store.sqlite", Shape(nights=2, devices=2, shapes=1, steps=2))
    store = Store.open(tmp_path / "store.sqlite")
    yield StoreSource(store)
    store.close()


def test_records_have_the_types_of_the_table(source: StoreSource) -> None:
    found: Any = json.loads(pytorch_records(source))
    records = TypeAdapter(list[Record]).validate_python(found, strict=True)
    assert {record.schema_version for record in records} == {"v3"}
    assert {record.benchmark.mode for record in records} == {"training"}
    assert {record.dependencies["torch"].version for record in records} == {"2.13.0"}
    assert {record.runners[0].name for record in records} == {"board-00", "board-01"}
    assert len({record.timestamp for record in records}) == 2


def test_a_record_has_the_numbers_of_its_sessions(source: StoreSource) -> None:
    night = max(source.runs(), key=lambda run: run.started_at)
    records = TypeAdapter(list[Record]).validate_json(pytorch_records(source, night.run_id))
    measured = {(one.device, one.setting): one for one in source.run(night.run_id).measurements}
    latencies = [record for record in records if record.metric.name == "latency_ms"]
    assert len(latencies) == len(measured)
    for record in latencies:
        one = measured[record.runners[0].name, record.benchmark.dtype]
        assert tuple(record.metric.benchmark_values) == one.latency.sessions_ms
        assert record.model.name == one.workload["model"]
        assert record.inputs["tokens"].extra_info == {"b": str(one.workload["b"]), "T": str(one.workload["T"])}
        assert record.benchmark.extra_info["run"] == night.run_id
