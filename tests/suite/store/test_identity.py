from datetime import UTC, datetime, timedelta, timezone

from hypothesis import given, settings
from hypothesis import strategies as st

from suite.home import Home
from suite.store.identity import canonical, fingerprint, new_run_id, session_id, timestamp, workload_key
from tests.support.suite.stored_run import KEY, WORKLOAD

FACTS = {
    "kind": "jetson",
    "emulated": False,
    "hardware": {"cpu": "A57", "cores": 4},
    "os_build": "R32.7.4",
    "workload": KEY,
    "measurement_version": 1,
    "setup": {"threads": 2, "cpus": [0, 1], "power_mode": "15W (0)"},
}


def test_a_run_id_tells_the_second_it_began_in_utc():
    now = datetime(2026, 11, 22, 15, 3, 22, tzinfo=timezone(timedelta(hours=1)))
    assert new_run_id(now).startswith("2026-11-22T14-03-22-")
    assert len({new_run_id(now) for _ in range(50)}) > 40


def test_timestamps_are_utc_with_an_offset():
    assert timestamp(datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)) == "2026-01-02T03:04:05.678+00:00"


def test_a_workload_key_can_be_read_and_leaves_nothing_out():
    assert workload_key(WORKLOAD) == KEY
    assert workload_key(WORKLOAD | {"noise": "stock", "inner": True}) == f'{KEY}/inner=true/noise="stock"'


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(sorted(WORKLOAD)), st.sampled_from([1, 2, 3]), min_size=1))
def test_other_workloads_have_other_keys(change):
    changed = WORKLOAD | change
    assert (workload_key(changed) == KEY) == (changed == WORKLOAD)


def test_session_ids_differ_and_are_file_names(tmp_path):
    ids = {
        session_id("2026-11-22T14-03-22-ab12", device, WORKLOAD | {"quant": quant}, ordinal, attempt)
        for device in ("pi", "my phone/\n", "x" * 300)
        for quant in ("fp32", "int8")
        for ordinal in (0, 1)
        for attempt in (0, 1)
    }
    assert len(ids) == 24
    assert all(Home(tmp_path).session_log("run", name).parent.name == "run" for name in ids)


def test_a_fingerprint_changes_with_everything_in_it_and_nothing_else():
    first = fingerprint(**FACTS)
    assert first == fingerprint(**FACTS | {"hardware": {"cores": 4, "cpu": "A57"}})
    others = [
        {"kind": "linux"},
        {"emulated": True},
        {"hardware": {"cpu": "A57", "cores": 6}},
        {"os_build": "R32.7.5"},
        {"workload": "x"},
        {"measurement_version": 2},
        {"setup": {"threads": 1, "cpus": [0, 1], "power_mode": "15W (0)"}},
        {"setup": {"threads": 2, "cpus": [0], "power_mode": "15W (0)"}},
        {"setup": {"threads": 2, "cpus": [0, 1], "power_mode": "MAXN (1)"}},
        {"setup": {"threads": 2, "cpus": [0, 1]}},
        {"setup": {}},
    ]
    assert len({first, *(fingerprint(**FACTS | other) for other in others)}) == len(others) + 1


def test_canonical_text_does_not_depend_on_order_and_is_strict_json():
    assert canonical({"b": 1, "a": [float("nan")]}) == '{"a":[{"unavailable":"the value was nan"}],"b":1}'
