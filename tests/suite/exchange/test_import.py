"""Another lab's run: the same numbers, told apart, and never believed without a look."""

from __future__ import annotations

import json
import os
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from foundation import foreign_files
from foundation.errors import UserError
from suite.exchange import importing
from suite.exchange.document import step_median_ms
from suite.exchange.dump import export_documents
from suite.exchange.importing import import_run, read_document
from suite.report_data.source import StoreSource
from suite.results.measurement import Subject, measure, with_ratios
from suite.sessions.record import IdlePower, SensorFact
from suite.store import schema
from suite.store.nights import series_of_night
from suite.store.run_contents import chosen_runs
from suite.store.series import series_list
from suite.store.store import Store
from tests.support.suite import recorded_session as recorded
from tests.support.suite.stored_run import KEY, WORKLOAD, begin, finish


@pytest.fixture
def exported(tmp_path: Path) -> Path:
    """A run with everything that a document can have."""
    begun = begin(tmp_path / "theirs.sqlite", device="jetson")
    sensors = (SensorFact("VDD_IN", "power_mw", "INA3221"), SensorFact("soc", "temperature_mc", unavailable="no zone"))
    for ordinal, ms in enumerate((100.0, 101.0, 102.0)):
        samples = recorded.samples("VDD_IN", 5000.0, seconds=1.2)
        losses = [(2.0, 2.5), (1.99, 2.49), (1.5, "-inf"), (1.5, "inf"), *[(1.5, "nan")] * 3]
        session = f"{begun.run_id}.s{ordinal}.a0"
        made = recorded.result(
            ordinal, *samples, session=session, quantities={"VDD_IN": "power_mw"}, ms=ms, losses=losses
        )
        object.__setattr__(made, "idle", IdlePower(2000.0, 2100.0))
        begun.store.add_session(begun.measurement_id, made)
    subject = Subject(
        "jetson", "local", False, WORKLOAD, 3, sensors=sensors, energy_sensors=("VDD_IN",), program_bytes=10
    )
    (found,) = with_ratios([measure(subject, begun.store.sessions_of(begun.measurement_id))])
    begun.store.finish_measurement(begun.measurement_id, found)
    begun.store.finish_run(begun.run_id, "finished")
    (path,) = export_documents(begun.store, [begun.run_id], tmp_path / "out")
    begun.store.close()
    return path


@pytest.fixture
def store(tmp_path: Path):
    opened = Store.open(tmp_path / "ours.sqlite")
    yield opened
    opened.close()


def changed(path: Path, change: Any) -> Path:
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))
    return path


def contents(store: Store) -> list[str]:
    connection = sqlite3.connect(store.database.path)
    try:
        return list(connection.iterdump())
    finally:
        connection.close()


def without_names(document: Any) -> Any:
    """All that is no name of a run, a session, a device or a program."""
    names = ("run_id", "device", "session_id", "hash", "artifact", "runner", "name", "command", "environment")
    if isinstance(document, dict):
        return {key: without_names(item) for key, item in document.items() if key not in names}
    return [without_names(item) for item in document] if isinstance(document, list) else document


def test_export_import_export_gives_the_same_numbers(exported, store, tmp_path):
    found = import_run(store, read_document(exported), "bonn", exported.name)
    (again,) = export_documents(store, [found.run_id], tmp_path / "again")
    before, after = json.loads(exported.read_text()), json.loads(again.read_text())
    assert without_names(after) == without_names(before)
    assert len(before["measurements"][0]["sessions"]) == 3
    assert before["measurements"][0]["document"]["energy_mj_per_step"]["net"] > 0
    losses = [values for _, values in before["measurements"][0]["sessions"][0]["steps"]["losses"]]
    assert losses == [2.5, 2.49, "-inf", "inf", "nan", "nan", "nan"]


def test_a_device_that_changed_meanwhile_is_one_with_the_states_of_all_its_time(tmp_path):
    begun = begin(tmp_path / "theirs.sqlite", device="jetson")
    later = begun.store.record_device("jetson", "local", False, {"cpu": "Another CPU"})
    begun.store.record_device_state(begun.run_id, later, "Debian 13", {})
    finish(begun, 100.0, device="jetson")
    (path,) = export_documents(begun.store, [begun.run_id], tmp_path / "out")
    begun.store.close()
    (device,) = json.loads(path.read_text())["devices"]
    assert device["hardware"] == {"cpu": "Another CPU"}
    assert [state["os_build"] for state in device["states"]] == ["Debian 12", "Debian 13"]


def test_what_a_file_of_the_earlier_schema_calls_int8_is_int8_dynamic(exported, store):
    def age(document):
        assert document["measurements"][0]["workload"]["quant"] == "int8"
        document.update(schema=1, plan={"plans": [{"quants": ["fp32", "int8"]}]})

    import_run(store, read_document(changed(exported, age)), "bonn", exported.name)
    with store.database.reading() as connection:
        (row,) = connection.execute(schema.measurement.select()).all()
        (program,) = connection.execute(schema.artifact.select()).all()
        (run,) = connection.execute(schema.run.select()).all()
    assert json.loads(row.workload)["quant"] == json.loads(program.workload)["quant"] == "int8-dynamic"
    document = json.loads(row.document)
    assert (document["workload"]["quant"], document["ratio_to_reference"]["setting"]) == ("int8-dynamic",) * 2
    assert json.loads(run.plan)["plans"] == [{"quants": ["fp32", "int8-dynamic"]}]
    assert {series.workload_key for series in series_list(store)} == {KEY.replace("int8", "int8-dynamic")}


def test_int8_of_a_file_of_today_stays_int8(exported, store):
    import_run(store, read_document(exported), "bonn", exported.name)
    assert {series.workload_key for series in series_list(store)} == {KEY}


def test_control_characters_are_taken_out_of_whatever_text_comes_along(exported, store):
    def hide(document):
        document["plan"] = {"notes\x1b": ["a\x1b[31mb", {"c": "d\x07"}]}

    found = import_run(store, read_document(changed(exported, hide)), "bonn", exported.name)
    with store.database.reading() as connection:
        plan = connection.execute(schema.run.select().where(schema.run.c.id == found.run_id)).one().plan
    gone = "\N{REPLACEMENT CHARACTER}"
    assert json.loads(plan) == {f"notes{gone}": [f"a{gone}[31mb", {"c": f"d{gone}"}]}


def test_programs_and_runners_of_another_lab_are_none_of_this_one(exported, store):
    changed(exported, lambda document: document["measurements"][0].update(runner="r1"))
    import_run(store, read_document(exported), "bonn", exported.name)
    with store.database.reading() as connection:
        (row,) = connection.execute(schema.measurement.select()).all()
    assert (row.artifact_hash, row.runner_hash) == ("bonn:abc123", "bonn:r1")
    assert json.loads(row.document)["device"] == "bonn:jetson"


def test_the_median_of_a_session_is_that_of_its_measured_steps():
    phases = ("warm_up", "measured", "measured", "measured")
    assert step_median_ms(phases, (0, 0, 0, 0), (1_000_000, 9_000_000, 7_000_000, 8_000_000)) == 8.0
    assert step_median_ms(("warm_up",), (0,), (1_000_000,)) is None


def test_export_of_an_imported_run_can_be_imported_by_a_third(exported, store, tmp_path):
    found = import_run(store, read_document(exported), "bonn", exported.name)
    (again,) = export_documents(store, [found.run_id], tmp_path / "again")
    third = import_run(store, read_document(again), "rome", again.name)
    assert third.run_id == f"{found.run_id}.rome"
    assert {series.device for series in series_list(store)} == {"bonn:jetson", "rome:bonn:jetson"}


def test_importing_twice_changes_nothing(exported, store):
    first = import_run(store, read_document(exported), "bonn", exported.name)
    before = contents(store)
    second = import_run(store, read_document(exported), "bonn", exported.name)
    assert (first.new, second.new) == (True, False)
    assert contents(store) == before


def test_imported_run_is_distinguished_everywhere(exported, store, tmp_path):
    own = begin(tmp_path / "ours.sqlite", device="jetson")
    finish(own, 90.0, 91.0, 92.0)
    found = import_run(store, read_document(exported), "bonn", exported.name)
    latency = [item for item in series_list(store) if item.metric == "latency_ms"]
    assert [(item.device, item.points) for item in latency] == [("bonn:jetson", 1), ("jetson", 1)]
    summary = next(item for item in StoreSource(store).runs() if item.run_id == found.run_id)
    assert (summary.purpose, list(summary.devices)) == ("imported", ["bonn:jetson"])
    assert summary.command == f"suite data import {exported.name} --from bonn"
    assert StoreSource(store).document(found.run_id)["measurements"][0]["device"] == "bonn:jetson"
    assert chosen_runs(store, "all", own_only=True) == [own.run_id]
    own.store.close()


def test_night_of_own_devices_sees_no_imported_point(exported, store, tmp_path):
    import_run(store, read_document(exported), "bonn", exported.name)
    own = begin(tmp_path / "ours.sqlite", device="jetson")
    finish(own, 90.0, 91.0, 92.0)
    assert {item.device for item in series_of_night(store, own.run_id)} == {"jetson"}
    assert all(not item.before for item in series_of_night(store, own.run_id))
    assert store.open_runs() == store.open_runs("nightly") == []
    own.store.close()


def test_hostile_names_are_text(exported, store, tmp_path):
    hostile = "<script>alert(1)</script>'; DROP TABLE run;--\x1b[31m"

    def rename(document):
        document["devices"][0]["name"] = document["measurements"][0]["device"] = hostile
        document["measurements"][0]["sessions"][0]["samples"][0]["sensor"] = hostile

    found = import_run(store, read_document(changed(exported, rename)), "bonn", "x.json")
    (device,) = {item.device for item in series_list(store)}
    assert device == "bonn:<script>alert(1)</script>'; DROP TABLE run;--\N{REPLACEMENT CHARACTER}[31m"
    export_documents(store, [found.run_id], tmp_path / "again")


def first_step_takes(document, ns):
    steps = document["measurements"][0]["sessions"][0]["steps"]
    steps["t1_ns"][0] = steps["t0_ns"][0] + ns


def samples_of(document):
    return document["measurements"][0]["sessions"][0]["samples"]


def latency_of(document):
    return document["measurements"][0]["document"]["latency_ms"]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda d: d.update(schema=3), r"has schema 3, but this suite reads 2: update this suite"),
        (lambda d: d.update(schema="x"), r"has schema x, but this suite reads 2: export the run again"),
        (lambda d: d.update(format="other"), "is not an exported run"),
        (lambda d: d.update(measurement_version=9), "version 9 of the method"),
        (lambda d: d.update(measurement_version=0), "version 0 of the method"),
        (lambda d: d.update(status="running"), "exported while its run was in progress"),
        (lambda d: d.update(run_id="../../etc"), "damaged or was changed, 1 of its values.*: run_id: "),
        (lambda d: d.update(surprise=1), "surprise: Extra inputs are not permitted"),
        (lambda d: d["measurements"][0].update(device="nobody"), "'nobody', which is not among its devices"),
        (lambda d: d["measurements"].append(d["measurements"][0]), "the session .* occurs twice"),
        (lambda d: d["measurements"][0]["document"].update(status="fine"), r"measurements\.0\.document\.status"),
        (lambda d: d["measurements"][0]["document"]["latency_ms"].update(median="fast"), "latency_ms"),
        (lambda d: d["measurements"][0]["sessions"][0]["steps"]["t0_ns"].pop(), "columns of steps have 7"),
        (lambda d: d["measurements"][0]["sessions"][0]["steps"]["t1_ns"].__setitem__(0, 0), ": a step ends before"),
        (lambda d: first_step_takes(d, -1), ": a step ends before"),
        (lambda d: latency_of(d).update(median=latency_of(d)["median"] * 1.0001), "is not the median of its sessions"),
        (lambda d: d["artifacts"].append(d["artifacts"][0]), "the artifact 'abc123' occurs twice"),
        (lambda d: d["measurements"][0]["sessions"][1].update(ordinal=0), r"the session \(0, 0\) occurs twice"),
        (lambda d: d["devices"].append(d["devices"][0]), "the device 'jetson' occurs twice"),
        (lambda d: d["measurements"][0].update(artifact="other"), "'other', which is not among its"),
        (lambda d: latency_of(d).update(median=latency_of(d)["median"] * 10), "is not the median of its sessions"),
        (lambda d: latency_of(d)["sessions"].__setitem__(0, 1e-3), "0.001 ms matches no steps"),
        (lambda d: d["measurements"][0]["sessions"][0]["samples"][0]["value"].append(float("nan")), "finite"),
        (lambda d: d["measurements"][0]["sessions"][0].update(session_id="other.s0"), "does not begin with"),
        (lambda d: d["devices"][0]["hardware"].update(x=float("inf")), "not finite"),
        (lambda d: d["devices"][0]["hardware"].update(x=[-(2**63)]), "larger than 64 bits"),
        (lambda d: samples_of(d).append(samples_of(d)[0]), "the sensor 'VDD_IN' occurs twice"),
    ],
)
def test_wrong_document_is_refused_in_one_sentence(exported, store, change, sentence):
    before = contents(store)
    with pytest.raises(UserError, match=sentence) as refused:
        import_run(store, read_document(changed(exported, change)), "bonn", "x.json")
    assert "\n" not in str(refused.value)
    assert contents(store) == before


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "not a readable JSON document"),
        (b"[1]", "not an exported run"),
        (b"\xff{", "not a readable JSON document"),
    ],
)
def test_file_of_another_kind_is_refused(tmp_path, content, sentence):
    (tmp_path / "x.json").write_bytes(content)
    with pytest.raises(UserError, match=sentence):
        read_document(tmp_path / "x.json")


def test_deeply_nested_file_is_refused(exported):
    deep: Any = 1
    for _ in range(12):
        deep = {"a": deep}
    with pytest.raises(UserError, match="nested more than 8 levels"):
        read_document(changed(exported, lambda document: document.update(plan=deep)))


def test_file_beyond_the_limit_is_not_read(exported, monkeypatch):
    monkeypatch.setattr(importing, "MOST_BYTES", 100)
    with pytest.raises(UserError, match="is the limit for an exported run: export single runs"):
        read_document(exported)
    monkeypatch.setattr(importing, "MOST_BYTES", exported.stat().st_size - 1)
    with pytest.raises(UserError, match="is the limit"):
        read_document(exported)
    monkeypatch.setattr(importing, "MOST_BYTES", exported.stat().st_size)
    assert read_document(exported).measurements


def test_missing_file_is_one_sentence(tmp_path):
    with pytest.raises(UserError, match=r"cannot be read \(No such file or directory, error 2\)"):
        read_document(tmp_path / "nothing.json")


@pytest.mark.parametrize("lab", ["", "a:b", "../x", "x" * 33, "1st", "a b"])
def test_text_that_cannot_name_a_lab_is_refused(exported, store, lab):
    with pytest.raises(UserError, match="can't name a lab"):
        import_run(store, read_document(exported), lab, "x.json")


def test_import_that_fails_halfway_leaves_nothing(exported, store, monkeypatch):
    def fail(*_: object) -> None:
        raise KeyboardInterrupt

    before = contents(store)
    monkeypatch.setattr(importing, "replace_points", fail)
    with pytest.raises(KeyboardInterrupt):
        import_run(store, read_document(exported), "bonn", "x.json")
    assert contents(store) == before


def grown(path: Path, where: str, value: Any) -> Path:
    """Sets a value of the file, at keys and indices divided by blanks."""

    def change(document: Any) -> None:
        *outer, last = where.split()
        for key in outer:
            document = document[int(key) if key.isdigit() else key]
        document[last] = value

    return changed(path, change)


_SESSION = "measurements 0 sessions 0"


@pytest.mark.parametrize(
    ("where", "value"),
    [
        ("measurements", [0] * 20_000),
        ("devices", [{}] * 9_000),
        ("artifacts", [[]] * 20_000),
        ("command", [0] * 20_000),
        ("environment", {f"key{index}": index for index in range(9_000)}),
        ("environment", {f"key{index}": "" for index in range(9_000)}),
        (f"{_SESSION} steps losses", [["wrong"] * 50] * 1000),
        (f"{_SESSION} steps t0_ns", ["wrong"] * 20_000),
        (f"{_SESSION} sensor_errors", {f"key{index}": 0 for index in range(9_000)}),
        (f"{_SESSION} defects", [0] * 9_000),
        (f"{_SESSION} samples", [0] * 9_000),
        (f"{_SESSION} header cpu_features", [0] * 9_000),
        ("measurements 0 reference_losses", [[None] * 100] * 100),
        ("measurements 0 document latency_ms sessions", [None] * 20_000),
        ("devices 0 states", [0] * 9_000),
    ],
)
def test_no_error_is_built_for_each_wrong_item(exported, where, value):
    """Of which only one would be reported: a million of them take a gigabyte."""
    with pytest.raises(UserError, match="damaged or was changed") as refused:
        read_document(grown(exported, where, value))
    cause = refused.value.__cause__
    assert isinstance(cause, ValidationError)
    assert cause.error_count() < 20


@pytest.mark.parametrize(
    ("where", "value", "sentence"),
    [
        ("environment", {f"key{index}": "x" for index in range(20_000)}, "an object in it has 20000 keys, more than"),
        ("plan", [{f"key{index}": 0 for index in range(20_000)}], "has 20000 keys"),
        ("plan", {"list": [0] * 200_000}, "it has more than 100000 values"),
        ("plan", 10**400, "a number in it has 401 digits"),
        ("run_id", 10**400, "a number in it has 401 digits"),
    ],
)
def test_what_a_file_holds_is_bounded_before_it_is_validated(exported, where, value, sentence):
    with pytest.raises(UserError, match=sentence):
        read_document(grown(exported, where, value))


def test_values_are_counted_before_they_are_parsed(tmp_path, monkeypatch):
    path = tmp_path / "zeros.json"
    path.write_bytes(b"[" + b"0," * 5_000_001 + b"0]")
    monkeypatch.setattr(foreign_files, "from_json", lambda *given, **named: pytest.fail("it was parsed"))
    with pytest.raises(UserError, match="it holds more than 5000000 values"):
        read_document(path)


def test_only_a_regular_file_is_read(tmp_path):
    os.mkfifo(tmp_path / "pipe.json")
    for path, kind in (("/dev/zero", "a device"), (tmp_path / "pipe.json", "a pipe"), (tmp_path, "a folder")):
        with pytest.raises(UserError, match=f"is {kind}, and an exported run must be a file"):
            read_document(Path(path))
