"""Two documents side by side: what is matched, which numbers are compared, and what else is not the same."""

from __future__ import annotations

from typing import Any

import pytest

from reports.model.histories import Compared, ComparedMetric
from reports.model.source import RunContents
from suite.report_data.comparison import compare_runs

WORKLOAD = {"model": "tiny", "method": "prge", "quant": "int8", "backend": "xnnpack", "q": 4, "b": 4, "T": 64}
QUIET = [100.0, 101.0, 99.0, 100.5, 99.5]


def sessions(**columns: list[Any]) -> list[dict[str, Any]]:
    rows = zip(*columns.values(), strict=True)
    return [{"status": "ok", "load_ms": None, "hwm_kib": None} | dict(zip(columns, row, strict=True)) for row in rows]


def measurement(**changed: Any) -> dict[str, Any]:
    missing = {"unavailable": "not measured"}
    plain = {
        "device": "board", "emulated": False, "workload": WORKLOAD, "latency_ms": missing, "load_ms": missing,
        "sessions": [],
    }  # fmt: skip
    return plain | changed


def latency(medians: list[float]) -> dict[str, Any]:
    return {"latency_ms": {"median": sorted(medians)[len(medians) // 2], "sessions": medians}}


def run(*found: dict[str, Any], run_id: str = "a", **changed: Any) -> RunContents:
    document = {"run_id": run_id, "measurements": list(found), "environment": {}, "devices": {}}
    return RunContents.from_document(document | changed)


def compared(before: dict[str, Any], after: dict[str, Any]) -> Compared:
    return compare_runs(run(before), run(after, run_id="b"))


def only(found: Compared, metric: str) -> ComparedMetric:
    (one,) = (one for one in found.metrics if one.metric == metric)
    return one


def test_latency_is_compared_by_the_medians_of_the_sessions():
    found = only(
        compared(measurement(**latency(QUIET)), measurement(**latency([value * 1.2 for value in QUIET]))), "latency_ms"
    )
    assert (found.outcome, found.before, found.after) == ("worse", 100.0, 120.0)
    assert found.ratio == pytest.approx(1.2) and found.sessions == (5, 5)
    assert found.low <= 1.2 <= found.high and found.p < 0.05


@pytest.mark.parametrize(("metric", "key", "stored"), [
    ("load_ms", "load_ms", {"load_ms": {"median": 100.0}}), ("peak_memory_kib", "hwm_kib", {"peak_memory_kib": 100}),
])  # fmt: skip
def test_load_and_memory_are_compared_by_the_valid_sessions_that_have_them(metric, key, stored):
    rows = sessions(**{key: [*QUIET, 900.0, None], "status": [*["ok"] * 5, "throttled", "ok"]})
    faster = sessions(**{key: [value / 2 for value in QUIET]})
    found = only(compared(measurement(**stored, sessions=rows), measurement(**stored, sessions=faster)), metric)
    assert (found.outcome, found.sessions) == ("better", (5, 5))
    assert found.ratio == pytest.approx(0.5)


@pytest.mark.parametrize(("after", "outcome"), [(1020, "same"), (980, "same"), (1040, "worse"), (960, "better")])
def test_the_size_of_a_program_needs_no_sessions_to_differ(after, outcome):
    found = only(compared(measurement(program_bytes=1000), measurement(program_bytes=after)), "program_bytes")
    assert (found.outcome, found.ratio) == (outcome, pytest.approx(after / 1000))
    assert found.sentence == f"Known exactly: {outcome}." and found.sessions == (0, 0)


def test_a_metric_that_is_one_number_a_run_is_reported_without_a_test():
    found = only(compared(measurement(power_mw={"mean": 100.0}), measurement(power_mw={"mean": 150.0})), "power_mw")
    assert (found.outcome, found.sessions, found.p, found.low) == ("insufficient", (0, 0), None, None)
    assert found.sentence == "+50.0 %, one number for each run, which can't be tested."


def test_a_number_that_only_one_run_has_is_missing():
    one, other = measurement(**latency(QUIET)), measurement(program_bytes=10)
    found = compared(one, other)
    assert {(one.metric, one.outcome, one.before, one.after) for one in found.metrics} == {
        ("latency_ms", "missing", 100.0, None), ("program_bytes", "missing", None, 10.0),
    }  # fmt: skip
    alone = compare_runs(run(one), run(run_id="b"))
    assert [one.outcome for one in alone.metrics] == ["missing"]


@pytest.mark.parametrize(
    ("more", "words"), [({"busy": "90 % in use"}, "a first look."), ({"status": "unstable"}, "is unstable.")]
)
def test_a_difference_from_a_busy_device_or_an_unstable_measurement_says_so(more, words):
    before, after = latency([100.0, 101.0, 99.0, 100.5, 99.5]), latency([110.0, 111.0, 109.0, 110.5, 109.5])
    found = only(compared(measurement(**before), measurement(**after, **more)), "latency_ms")
    assert found.outcome == "worse"
    assert found.sentence.endswith(words)


def energy(*net: float, kept: bool = True) -> dict[str, Any]:
    sessions = {"sessions_gross": [value + 50 for value in net], "sessions_net": list(net)} if kept else {}
    middle = sorted(net)[len(net) // 2]
    return {"energy_mj_per_step": {"gross": middle + 50, "net": middle, **sessions}}


def test_energy_is_judged_from_its_sessions():
    before, after = (100.0, 101.0, 99.0, 100.5, 99.5), (110.0, 111.0, 109.0, 110.5, 109.5)
    found = only(compared(measurement(**energy(*before)), measurement(**energy(*after))), "energy_net_mj_per_step")
    assert (found.outcome, found.sessions, found.p) == ("worse", (5, 5), pytest.approx(2 / 252))
    assert found.low is not None and found.low > 1


def test_energy_of_a_run_that_kept_no_sessions_is_one_number():
    before, after = measurement(**energy(100.0, kept=False)), measurement(**energy(*[110.0] * 5))
    found = only(compared(before, after), "energy_net_mj_per_step")
    assert (found.outcome, found.sessions) == ("insufficient", (0, 0))
    assert "one number for each run" in found.sentence


def test_a_number_that_is_not_positive_has_no_ratio():
    found = only(compared(measurement(power_mw={"mean": 0.0}), measurement(power_mw={"mean": 5.0})), "power_mw")
    assert (found.outcome, found.ratio) == ("insufficient", None)


@pytest.mark.parametrize("other", [{"emulated": True}, {"device": "other"}, {"workload": WORKLOAD | {"quant": "nf4"}}])
def test_an_emulated_device_another_one_and_another_workload_are_never_compared(other):
    found = compared(measurement(program_bytes=10), measurement(program_bytes=20, **other))
    assert [one.outcome for one in found.metrics] == ["missing", "missing"]


def test_another_eps_is_named_with_its_device_and_setting():
    before, after = ({"first": 7.0, "lr": 1e-3, "eps": eps} for eps in (0.01, 0.03))
    assert compared(measurement(loss=before), measurement(loss=after)).differences == [
        ("board int8: eps", "0.01", "0.03")
    ]


def test_what_only_one_of_two_runs_recorded_is_no_difference():
    loss, setup = {"first": 7.0, "lr": 1e-3, "eps": 0.01}, {"threads": 2, "cpus": [0, 1], "power_mode": "MAXN (0)"}
    new, old = measurement(loss=loss, setup=setup), measurement(loss={"first": 7.0})
    assert compared(old, new).differences == compared(new, old).differences == []


@pytest.mark.parametrize(
    ("name", "other", "words"),
    [("threads", 1, ("2", "1")), ("cpus", [0], ("[0, 1]", "[0]")), ("power_mode", "15W (1)", ("MAXN (0)", "15W (1)"))],
)
def test_another_setup_of_the_device_is_named(name, other, words):
    setup = {"threads": 2, "cpus": [0, 1], "power_mode": "MAXN (0)"}
    found = compared(measurement(setup=setup), measurement(setup=setup | {name: other}))
    assert found.differences == [(f"board int8: {name.replace('_', ' ')}", *words)]


def test_differences_name_versions_and_facts_of_devices_that_both_runs_have():
    facts = {"os_build": "Debian 12", "kernel": "6.1", "uptime_s": 5}
    before = run(
        environment={"torch": "2.12", "numpy": "2"}, devices={"board": {"facts": facts}, "gone": {"facts": facts}}
    )
    changed = facts | {"os_build": "Debian 13", "uptime_s": 6, "settings": {"nvpmodel": 2}}
    after = run(environment={"torch": "2.13", "numpy": "2"}, devices={"board": {"facts": changed}})
    assert compare_runs(before, after).differences == [
        ("torch", "2.12", "2.13"), ("board: os build", "Debian 12", "Debian 13"),
        ("board: settings", "", '{"nvpmodel": 2}'),
    ]  # fmt: skip
