"""The metrics as Prometheus' own parsers read them."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_textfile

from foundation.unavailable import Unavailable
from reports.model.findings import CATEGORIES, Finding, State
from reports.model.reading import Number
from suite.exchange.openmetrics import openmetrics
from suite.report_data.source import StoreSource
from suite.results.findings import add_note
from suite.store.store import Store
from tests.support.reports.synthetic_store import Shape, fill

SHAPE = Shape(nights=2, devices=2, shapes=1, steps=2)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    fill(tmp_path / "store.sqlite", SHAPE)
    opened = Store.open(tmp_path / "store.sqlite")
    yield opened
    opened.close()


def change(store: Store, statement: str, *values: str) -> None:
    with store.database.writing() as connection:
        connection.exec_driver_sql(statement, values)


def known(number: Number) -> float:
    assert not isinstance(number, Unavailable)
    return float(number)


def samples(text: str) -> dict[str, list[Any]]:
    """Returns the samples by metric, as both parsers agree on them."""
    found: dict[str, list[Any]] = {}
    for family in parse_openmetrics(text):
        assert family.type == "gauge"
        assert family.documentation
        found[family.name] = [(one.labels, one.value) for one in family.samples]
    of_files = {family.name: [(one.labels, one.value) for one in family.samples] for family in parse_textfile(text)}
    assert of_files == found
    return found


def test_every_series_has_its_newest_number_in_base_units(store: Store) -> None:
    source = StoreSource(store)
    found = samples(openmetrics(source))
    newest = {(one.device, one.setting): one for group in source.workloads() for one in source.latest(group.key)}
    latencies = {(labels["device"], labels["quant"]): value for labels, value in found["edge_training_latency_seconds"]}
    assert latencies.keys() == newest.keys()
    for place, measurement in newest.items():
        assert math.isclose(latencies[place], known(measurement.latency.median_ms) / 1e3)
    peaks = {(labels["device"], labels["quant"]): value for labels, value in found["edge_training_peak_memory_bytes"]}
    assert all(peaks[place] == known(one.peak_memory_kib) * 1024 for place, one in newest.items())
    labels, _ = found["edge_training_latency_seconds"][0]
    assert (
        labels | {"model": "smollm2-135m", "method": "prge", "q": "4", "b": "4", "T": "64", "emulated": "false"}
        == labels
    )


def test_the_newest_night_and_what_regressed_in_it(store: Store) -> None:
    judged_again = (
        "INSERT INTO verdict (series_id, measurement_id, at, rule, verdict, inputs, numbers) "
        "SELECT series_id, measurement_id, '2027-01-01T00:00:00+00:00', rule, 'regressed', inputs, numbers "
        "FROM verdict ORDER BY id DESC LIMIT 1"
    )
    change(store, judged_again)
    source = StoreSource(store)
    night = max(source.runs(), key=lambda run: run.started_at)
    found = samples(openmetrics(source))
    assert found["edge_training_night_finished"] == [({}, 1.0)]
    assert {labels["verdict"]: value for labels, value in found["edge_training_night_verdicts"]} == dict(night.verdicts)
    concerns = [
        (labels["device"], labels["metric"], labels["verdict"]) for labels, _ in found.get("edge_training_concern", [])
    ]
    expected = [
        (one.device, one.metric, one.verdict)
        for one in source.verdicts(night.run_id)
        if one.verdict in ("regressed", "inconclusive")
    ]
    assert len(expected) == 1
    assert sorted(concerns) == sorted(expected)


def test_open_findings_of_the_newest_night_are_counted_in_every_category(store: Store) -> None:
    words: tuple[State, ...] = ("new", "known", "fixed", "accepted")
    made = [
        Finding(f"F-{number}", "regressed", state, "latency_ms", "worse", "boards", (), (), (), ())
        for number, state in enumerate(words)
    ]
    earlier = Finding("F-9", "missing", "new", "", "", "device", (), (), (), ())
    *_, before, newest = sorted(StoreSource(store).runs(), key=lambda run: run.started_at)
    for run, one in [*((newest, one) for one in made), (before, earlier)]:
        word = "fixed" if one.state == "fixed" else "seen"
        statement = "INSERT INTO finding (key, run_id, state, document) VALUES (?, ?, ?, ?)"
        change(store, statement, one.id, run.run_id, word, json.dumps(one.document()))
    counts = {**dict.fromkeys(CATEGORIES, 0.0), "regressed": 2.0}

    def read() -> dict[str, float]:
        found = samples(openmetrics(StoreSource(store)))["edge_training_open_findings"]
        return {labels["category"]: value for labels, value in found}

    assert read() == counts
    add_note(store, "mute", "ada", "known", finding="F-0")
    assert read() == counts | {"regressed": 1.0}


def test_workloads_that_differ_in_anything_have_samples_of_their_own(store: Store) -> None:
    before = len(samples(openmetrics(StoreSource(store)))["edge_training_latency_seconds"])
    other_rank = (
        "UPDATE measurement SET workload = json_set(workload, '$.rank', 8), "
        "document = json_set(document, '$.workload.rank', 8), workload_key = replace(workload_key, 'rank16', 'rank8') "
        "WHERE run_id = (SELECT max(id) FROM run)"
    )
    change(store, other_rank)
    found = samples(openmetrics(StoreSource(store)))["edge_training_latency_seconds"]
    assert len(found) == 2 * before
    assert {labels["rank"] for labels, _ in found} == {"8", "16"}


def test_devices_are_reached_or_not(store: Store) -> None:
    lost = (
        "UPDATE measurement SET status = 'failed', document = NULL, reason = 'the device is lost', artifact_hash = 'a' "
        "WHERE run_id = (SELECT max(id) FROM run) AND device_id = 1"
    )
    before = samples(openmetrics(StoreSource(store)))["edge_training_device_reached"]
    assert {labels["device"]: value for labels, value in before} == {"board-00": 1.0, "board-01": 1.0}
    store.record_artifact("a", {}, {"program_bytes": 1})
    change(store, lost)
    change(store, "DELETE FROM device_state WHERE device_id = 1 AND run_id = (SELECT max(id) FROM run)")
    after = samples(openmetrics(StoreSource(store)))["edge_training_device_reached"]
    assert {labels["device"]: value for labels, value in after} == {"board-00": 0.0, "board-01": 1.0}


def test_one_run_alone(store: Store) -> None:
    source = StoreSource(store)
    oldest = min(source.runs(), key=lambda run: run.started_at)
    found = samples(openmetrics(source, oldest.run_id))
    began = {value for _, value in found["edge_training_night_timestamp_seconds"]}
    assert {value for _, value in found["edge_training_measured_timestamp_seconds"]} == began


@pytest.mark.parametrize("name", ['qu"ote', "back\\slash", "two\nlines", "ümlaut", 'x"} 1\n# EOF'])
def test_names_of_any_kind_stay_labels(store: Store, name: str) -> None:
    change(store, "UPDATE device SET name = ? WHERE name = 'board-00'", name)
    change(store, "UPDATE series SET device_name = ? WHERE device_name = 'board-00'", name)
    found = samples(openmetrics(StoreSource(store)))
    assert {labels["device"] for labels, _ in found["edge_training_device_reached"]} == {name, "board-01"}


def test_an_empty_store_is_an_empty_text(tmp_path: Path) -> None:
    empty = Store.open(tmp_path / "empty.sqlite")
    assert openmetrics(StoreSource(empty)) == "# EOF\n"
    empty.close()
