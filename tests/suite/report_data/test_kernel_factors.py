"""What a run's document says of the kernels that its devices used, and what that means for series."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from devices.processes import ProcessEnd
from foundation.unavailable import Json
from reports.model.source import RunContents
from reports.model.statistics import Setup
from reports.pages.run import device_folds
from suite.report_data.source import StoreSource
from suite.sessions.collect import collect
from suite.sessions.validity import SessionResult, SessionStatus, Validity
from suite.store.store import Store
from tests.support.suite import recorded_session as recorded
from tests.support.suite.old_store import rows
from tests.support.suite.stored_run import HARDWARE, REFERENCE, WORKLOAD, finish
from tests.support.suite.stored_run import Begun as BegunRun

TIMES: list[dict[str, Json]] = [
    {"weights": "nf4", "kernels": "avx512", "ns": [3000, 1500]},
    {"weights": "nf4", "kernels": "avx2", "ns": [1000, 1100]},
    {"weights": "nf4", "kernels": "sse2", "ns": [4000]},
]
FACTORS = {"nf4": {"avx2": 1.0, "avx512": 1.5, "sse2": 4.0}}


def begun(store: Store, runner: str = "runner-1") -> BegunRun:
    """A run on a device whose facts have a fingerprint."""
    run_id = store.begin_run({"sessions": 3, "steps": 10}, ["suite", "run"], {})
    device_id = store.record_device("local", "local", False, HARDWARE)
    store.record_device_state(run_id, device_id, "Debian 12", {"fingerprint": "f1", "memory_kib": 5})
    store.record_artifact("abc123", WORKLOAD, {})
    measurement_id = store.begin_measurement(
        run_id, device_id, WORKLOAD, planned_sessions=1, artifact_hash="abc123", runner_hash=runner,
        reference_losses=REFERENCE,
    )  # fmt: skip
    return BegunRun(store, run_id, device_id, measurement_id)


def kernels_of(run: BegunRun) -> Any:
    return StoreSource(run.store).surroundings(run.run_id).devices["local"].facts.get("kernels")


def test_the_facts_of_a_device_have_each_variants_time_as_a_factor_of_the_used_one(tmp_path: Path) -> None:
    run = begun(Store.open(tmp_path / "store.sqlite"))
    finish(run, 100.0)
    assert kernels_of(run) is None
    run.store.keep_kernel_choice("f1", "runner-1", None, {"nf4": "avx2"}, TIMES)
    assert kernels_of(run) == FACTORS
    assert next(iter(kernels_of(run)["nf4"])) == "avx2"
    run.store.keep_kernel_choice("f1", "runner-1", None, {"nf4": "sse2"}, TIMES)  # the first one stays
    assert kernels_of(run) == FACTORS


def test_other_devices_runners_and_cpus_have_factors_of_their_own(tmp_path: Path) -> None:
    run = begun(Store.open(tmp_path / "store.sqlite"))
    finish(run, 100.0)
    for device, runner, cpus in (("f2", "runner-1", None), ("f1", "runner-2", None), ("f1", "runner-1", [0])):
        run.store.keep_kernel_choice(device, runner, cpus, {"nf4": "avx2"}, TIMES)
    assert kernels_of(run) is None
    run.store.keep_kernel_choice("f1", "runner-1", [0, 1], {"nf4": "avx512"}, TIMES)  # as its sessions had
    run.store.keep_kernel_choice("f1", "runner-1", None, {"nf4": "avx2"}, TIMES)
    assert kernels_of(run)["nf4"]["avx512"] == 1.0


def test_the_page_says_what_is_used_and_what_the_others_take() -> None:
    devices = RunContents.from_document({"devices": {"local": {"facts": {"cpu": "x", "kernels": FACTORS}}}}).devices
    (fold,) = device_folds(devices, [])
    tables = {table.caption: list(table.pairs) for table in fold.facts}
    assert tables["Facts"] == [("cpu", "x")]
    words = "avx2; a product takes avx512 1.50 and sse2 4.00 times as long"
    assert tables["Kernels of the runner"] == [("nf4", words)]


def test_facts_that_another_lab_made_up_are_a_page_all_the_same() -> None:
    found: tuple[Json, ...] = (7, [], {"nf4": 7}, {"nf4": {}}, {"nf4": {"avx2": "fast", "sse2": None}})
    for odd in found:
        devices = RunContents.from_document({"devices": {"local": {"facts": {"cpu": "x", "kernels": odd}}}}).devices
        assert len(device_folds(devices, [])) == 1


def test_kernels_beside_the_widest_make_another_series_and_the_widest_none(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    store = Store.open(path)
    finish(begun(store), 100.0)  # of a runner that says nothing of its kernels
    count = len(rows(path, "SELECT id FROM series"))
    for kernels, more in (("avx512", 0), ("avx2", count)):
        run = begun(store)
        name = f"{run.run_id}.s0.a0"
        header = recorded.header(name, kernels=kernels, variants=["avx512", "avx2"])
        lines = recorded.text([header, recorded.load(), *recorded.steps(), recorded.footer()])
        record = collect(name, lines, ProcessEnd(rc=0))
        store.add_session(run.measurement_id, SessionResult(name, 0, 0, record, Validity(SessionStatus.OK)))
        finish(run)
        assert len(rows(path, "SELECT id FROM series")) == count + more


def test_what_runs_are_compared_by_has_the_kernels_in_any_case() -> None:
    found = Setup.from_document({"threads": 2, "cpus": [0], "kernels": "avx512", "widest_kernels": "avx512"})
    assert found.known == {"threads": 2, "cpus": [0], "kernels": "avx512"}
    assert found.of_series == {"threads": 2, "cpus": [0]}
    assert Setup.from_document(found.document()) == found
    assert Setup.from_document({"threads": 2, "cpus": [0]}).document() == {
        "threads": 2, "cpus": [0], "power_mode": {"unavailable": "not recorded by this run"},
    }  # fmt: skip
