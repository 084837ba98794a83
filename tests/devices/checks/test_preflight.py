"""Checks before a measurement: each finds its problem in a copy of /proc and /sys and says how to fix it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from devices.checks.preflight import (
    GOVERNOR_REMEDY,
    Check,
    Needs,
    check_cores,
    check_cpu_files,
    check_disk,
    check_frequency_caps,
    check_governor,
    check_memory,
    check_time_and_load,
    check_workdir,
    look_twice,
)
from devices.kinds.kind import KINDS
from devices.sensors.reading import Tree
from devices.transports.local.transport import LocalTransport
from tests.support.devices.made_files import MakeTree

CPUS = "sys/devices/system/cpu"
POLICY = f"{CPUS}/cpufreq/policy0"


def test_a_workdir_is_created_tested_and_left_empty(transport: LocalTransport, tmp_path: Path) -> None:
    workdir = tmp_path / "a 'work'\ndir"
    assert check_workdir(Tree(transport), str(workdir)).status == "ok"
    assert list(workdir.iterdir()) == []


def test_a_file_in_place_of_the_workdir_fails(transport: LocalTransport, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    check = check_workdir(Tree(transport), str(tmp_path / "file"))
    assert (check.status, check.remedy) == ("failed", "move it away or set another `workdir` in the inventory")
    assert "something of another type" in check.detail


def test_a_workdir_that_cannot_be_written_fails(transport: LocalTransport) -> None:
    assert check_workdir(Tree(transport), "/sys/edge-training-suite").status == "failed"


def test_a_storage_that_returns_other_bytes_fails(tmp_path: Path) -> None:
    class Forgetful(LocalTransport):
        def read_bytes(self, path: str, *, limit_bytes: int = 1 << 20, timeout_s: float = 30.0) -> bytes:
            return super().read_bytes(path, limit_bytes=limit_bytes, timeout_s=timeout_s)[:-1]

    check = check_workdir(Tree(Forgetful()), str(tmp_path))
    assert (check.status, check.remedy) == ("failed", "check the storage")


def test_disk_is_compared_with_what_is_needed(transport: LocalTransport, tmp_path: Path) -> None:
    tree = Tree(transport)
    assert check_disk(tree, str(tmp_path), 1).status == "ok"
    check = check_disk(tree, str(tmp_path), 10**18)
    assert check.status == "failed"
    assert "1000000000000 MB needed" in check.detail
    assert check_disk(tree, str(tmp_path / "none"), 1).status == "failed"


@pytest.mark.parametrize(("needed_mib", "status"), [(999, "ok"), (1001, "failed")])
def test_memory_is_what_the_kernel_can_give_without_swap(make_tree: MakeTree, needed_mib: int, status: str) -> None:
    tree = make_tree({"proc/meminfo": f"MemFree: 5 kB\nMemAvailable: {1000 << 10} kB\nSwapFree: {9000 << 10} kB\n"})
    check = check_memory(tree, needed_mib << 20)
    assert check.status == status
    assert f"1000 MiB available, {needed_mib} MiB needed" in check.detail
    assert ("9000 MiB of swap" in check.remedy) == (status == "failed")


def test_unreported_memory_is_a_warning(make_tree: MakeTree) -> None:
    assert check_memory(make_tree({}), 1).status == "warning"


@pytest.mark.parametrize(
    "files", [{}, {"possible": "0-3"}, {"possible": "0-3", "present": ""}, {"possible": "x", "present": "0"}]
)
def test_core_files_that_xnnpack_needs_fail_when_unreadable(make_tree: MakeTree, files: Mapping[str, str]) -> None:
    check = check_cpu_files(make_tree({f"{CPUS}/{name}": text for name, text in files.items()}))
    assert check.status == "failed"
    assert "/sys/devices/system/cpu/p" in check.detail
    assert check.remedy.startswith("mount /sys")


def test_readable_core_files_pass(make_tree: MakeTree) -> None:
    check = check_cpu_files(make_tree({f"{CPUS}/possible": "0-3\n", f"{CPUS}/present": "0-3\n"}))
    assert (check.status, check.detail) == ("ok", "possible cores 0-3, present 0-3")


@pytest.mark.parametrize(
    ("needs", "status", "detail"),
    [
        (Needs(cpus=(0, 3), threads=2), "ok", "3 online (0,1,3)"),
        (Needs(cpus=(2, 3)), "failed", "cores 2 are not online (online: 0,1,3)"),
        (Needs(threads=4), "warning", "4 threads on 3 cores"),
        (Needs(cpus=(0,), threads=2), "warning", "2 threads on 1 core disturb"),
    ],
)
def test_requested_cores_must_be_online(make_tree: MakeTree, needs: Needs, status: str, detail: str) -> None:
    check = check_cores(make_tree({f"{CPUS}/online": "0-1,3\n"}), needs)
    assert check.status == status
    assert detail in check.detail


@pytest.mark.parametrize(
    ("governor", "status"), [("performance", "ok"), ("powersave", "warning"), ("schedutil", "warning")]
)
def test_a_governor_that_follows_the_load_is_a_warning(make_tree: MakeTree, governor: str, status: str) -> None:
    check = check_governor(make_tree({f"{POLICY}/scaling_governor": governor}))
    assert check.status == status
    assert f"policy0 {governor}" in check.detail
    assert ("performance" in check.remedy) == (status == "warning")


def test_a_clock_between_two_equal_limits_is_steady_whatever_its_governor(make_tree: MakeTree) -> None:
    """As `jetson_clocks` leaves a Jetson."""
    files = {"scaling_governor": "schedutil", "scaling_min_freq": "1479000", "scaling_max_freq": "1479000"}
    tree = make_tree({f"{POLICY}/{name}": text for name, text in files.items()})
    assert check_governor(tree).status == "ok"


def test_a_governor_that_the_user_cannot_change_is_no_warning(make_tree: MakeTree) -> None:
    check = check_governor(make_tree({f"{POLICY}/scaling_governor": "schedutil"}), remedy=None)
    assert (check.status, check.remedy) == ("ok", "")
    assert "policy0 schedutil; only root could change that" in check.detail


def test_each_kind_has_its_own_remedy_for_an_unsteady_clock() -> None:
    remedies = {name: kind.governor_remedy for name, kind in KINDS.items()}
    assert remedies["android"] is None
    assert "jetson_clocks" in str(remedies["jetson"])
    assert remedies["raspberrypi"] == remedies["linux"] == GOVERNOR_REMEDY


@pytest.mark.parametrize(("cap", "status"), [("3200000", "ok"), ("1600000", "warning")])
def test_a_frequency_cap_is_a_warning(make_tree: MakeTree, cap: str, status: str) -> None:
    check = check_frequency_caps(
        make_tree({f"{POLICY}/scaling_max_freq": cap, f"{POLICY}/cpuinfo_max_freq": "3200000"})
    )
    assert check.status == status
    assert ("policy0 at 1600 of 3200 MHz" in check.detail) == (status == "warning")


def test_a_missing_cpufreq_is_no_warning_as_it_would_fire_every_night(make_tree: MakeTree) -> None:
    tree = make_tree({})
    assert [check_governor(tree).status, check_frequency_caps(tree).status] == ["ok", "ok"]


class SteppedClock:
    """The host's clock, moved by hand; when the check sleeps, the device's files change."""

    def __init__(self, make_tree: MakeTree, after: Mapping[str, str]) -> None:
        self.now = 1000.0
        self.make_tree = make_tree
        self.after = after

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float, /) -> None:
        self.now += seconds
        self.make_tree(self.after)


def stat_line(busy: int, idle: int) -> str:
    return f"cpu  {busy} 0 0 {idle} 0 0 0 0 0 0\ncpu0 1 2 3\nintr 5\n"


def process(name: str, ticks: int) -> str:
    return f"42 ({name}) R 1 1 1 0 -1 4194560 1 0 0 0 {ticks} 0 0 0 20 0 1 0 100 1000 10"


QUIET = {
    "proc/uptime": "500.00 900.00\n",
    "proc/stat": stat_line(100, 1000),
    "proc/loadavg": "3.10 2.00 1.00 1/100 999\n",
    "proc/42/stat": process("make) x (", 10),
    "sys/devices/system/clocksource/clocksource0/current_clocksource": "tsc\n",
}


def look(make_tree: MakeTree, before: Mapping[str, str], after: Mapping[str, str]) -> tuple[Check, Check]:
    tree = make_tree({**QUIET, **before})
    clock, load = check_time_and_load(tree, look_twice(tree, SteppedClock(make_tree, after)))
    assert (clock.name, load.name) == ("clock", "load")
    return clock, load


@pytest.mark.parametrize(
    ("uptime", "status"), [("500.50", "ok"), ("500.00", "failed"), ("501.50", "failed"), ("499.00", "failed")]
)
def test_a_clock_that_stands_runs_or_jumps_fails(make_tree: MakeTree, uptime: str, status: str) -> None:
    clock, _ = look(make_tree, {}, {"proc/uptime": f"{uptime} 0\n"})
    assert clock.status == status


def test_a_poor_clock_source_is_a_warning(make_tree: MakeTree) -> None:
    source = {"sys/devices/system/clocksource/clocksource0/current_clocksource": "hpet"}
    clock, _ = look(make_tree, source, {"proc/uptime": "500.50 0"})
    assert clock.status == "warning"
    assert "hpet" in clock.detail


def test_a_busy_device_is_a_warning_that_names_the_process(make_tree: MakeTree) -> None:
    _, load = look(make_tree, {}, {"proc/stat": stat_line(150, 1050), "proc/42/stat": process("make) x (", 60)})
    assert load.status == "warning"
    assert "50 % of the cores' time is in use" in load.detail
    assert load.remedy == "end or pause process 42 (make) x (, 100 % of a core)"


def test_the_load_average_is_reported_but_does_not_decide(make_tree: MakeTree) -> None:
    _, load = look(make_tree, {}, {"proc/stat": stat_line(101, 1099)})
    assert load.status == "ok"
    assert "load average 3.10 2.00 1.00" in load.detail


def test_without_proc_the_clock_and_load_are_unknown(make_tree: MakeTree) -> None:
    tree = make_tree({})
    checks = check_time_and_load(tree, look_twice(tree, SteppedClock(make_tree, {})))
    assert [check.status for check in checks] == ["warning", "warning"]


def test_the_clock_of_this_machine_keeps_time(transport: LocalTransport) -> None:
    tree = Tree(transport)
    clock, _ = check_time_and_load(tree, look_twice(tree))
    assert clock.status != "failed"
