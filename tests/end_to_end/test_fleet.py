"""Several devices in one run: side by side where that disturbs nobody, and each fails alone."""

from __future__ import annotations

import signal
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import pytest
from filelock import FileLock

from devices.access import connect
from devices.errors import DeviceLost
from devices.inventory.entry import DeviceEntry
from devices.processes import ProcessEnd
from devices.transports.local.transport import LocalTransport
from tests.support.end_to_end.scripted_runner import Board, make_board
from tests.support.end_to_end.suite_runs import SHAPE, Bench, is_running, wait_for, wait_for_end

TWINS = "devices:\n  one: {kind: local, emulated: true}\n  two: {kind: local, emulated: true}\n"
SHORT = (*SHAPE, "--quant", "fp32,nf4", "--sessions", "2", "--steps", "3", "--json")


@dataclass
class Links:
    """What happens in the sessions of each device: `before` may wait or raise; `under_way` counts concurrent ones."""

    before: Callable[[str, int], None] = lambda _device, _session: None
    begun: Counter[str] = field(default_factory=Counter)
    under_way: int = 0
    most_under_way: int = 0
    counting: threading.Lock = field(default_factory=threading.Lock)

    def transport(self, entry: DeviceEntry) -> LocalTransport:
        return _Watched(self, entry.name)


class _Watched(LocalTransport):
    def __init__(self, links: Links, device: str) -> None:
        super().__init__()
        self._links, self._device = links, device

    def stream(self, *arguments: Any, **options: Any) -> ProcessEnd:
        links = self._links
        with links.counting:
            links.begun[self._device] += 1
            links.under_way += 1
            links.most_under_way = max(links.most_under_way, links.under_way)
        try:
            links.before(self._device, links.begun[self._device])
            return super().stream(*arguments, **options)
        finally:
            with links.counting:
                links.under_way -= 1


@pytest.fixture
def board(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Board:
    (bench.folder / "inventory.yaml").write_text(TWINS)
    return make_board(bench, monkeypatch)


@pytest.fixture
def links(monkeypatch: pytest.MonkeyPatch) -> Links:
    made = Links()
    monkeypatch.setattr(connect, "TRANSPORTS", MappingProxyType({"local": made.transport}))
    return made


def outcomes(document: Any) -> dict[tuple[str, str], str]:
    """(device, setting) to status."""
    return {(item["device"], item["workload"]["quant"]): item["status"] for item in document["measurements"]}


def test_devices_are_measured_side_by_side(board: Board, bench: Bench, links: Links) -> None:
    together = threading.Barrier(2, timeout=60)

    def wait(_device: str, _session: int) -> None:
        together.wait()

    links.before = wait
    ran = bench("run", "--device", "all", *SHORT)
    assert ran.code == 0, ran.err
    assert set(outcomes(ran.document).values()) == {"ok"}
    assert links.begun == {"one": 4, "two": 4}


def test_this_machine_is_measured_alone(board: Board, bench: Bench, links: Links) -> None:
    (bench.folder / "inventory.yaml").write_text(TWINS.replace(", emulated: true", ""))
    assert bench("run", "--device", "all", *SHORT).code == 0
    # Both are the same machine, whose kernels are compared once.
    assert (links.most_under_way, links.begun) == (1, {"one": 5, "two": 4})


def test_a_lost_session_is_redone_whole_over_a_new_connection(board: Board, bench: Bench, links: Links) -> None:
    def lose(device: str, session: int) -> None:
        if (device, session) == ("one", 2):
            raise DeviceLost("the link to one broke after 7 s: check the cable")

    links.before = lose
    ran = bench("run", "--device", "all", *SHORT)
    assert ran.code == 0, ran.err
    assert links.begun == {"one": 5, "two": 4}
    assert sorted(bench.sessions()).count(("nf4", 0, 0, "lost")) == 1
    assert ("nf4", 0, 1, "ok") in bench.sessions()
    assert "one: connecting again in 2 s (1 of 2)" in ran.err


def test_a_device_that_stays_lost_is_given_up_after_two_more_tries_and_the_others_finish(
    board: Board, bench: Bench, links: Links
) -> None:
    def lose(device: str, session: int) -> None:
        if device == "one" and session > 1:
            raise DeviceLost("the link to one broke after 7 s: check the cable")

    links.before = lose
    ran = bench("run", "--device", "all", *SHORT)
    assert ran.code == 4
    assert links.begun == {"one": 4, "two": 4}
    assert outcomes(ran.document) == {
        ("one", "fp32"): "partial",
        ("one", "nf4"): "failed",
        ("two", "fp32"): "ok",
        ("two", "nf4"): "ok",
    }
    reasons = [item["reason"] for item in ran.document["measurements"] if item["device"] == "one"]
    assert all("the link to one broke after 7 s" in reason for reason in reasons)


def test_occasional_losses_do_not_add_up(board: Board, bench: Bench, links: Links) -> None:
    def lose(device: str, session: int) -> None:
        if device == "one" and session % 2:
            raise DeviceLost("the link to one broke: check the cable")

    links.before = lose
    assert bench("run", "--device", "one", *SHORT).code == 0
    assert links.begun == {"one": 8}


def test_a_fault_of_the_whole_run_ends_all_devices(board: Board, bench: Bench, links: Links) -> None:
    running = threading.Event()

    def fail(device: str, _session: int) -> None:
        if device == "two":
            running.wait(60)
            raise RuntimeError("a mistake of ours")
        running.set()

    board.script(fp32={"temperature_mc": 50000.0, "hang": True})
    links.before = fail
    with pytest.raises(RuntimeError, match="a mistake of ours"):
        bench("run", "--device", "all", *SHORT)
    assert bench.runs()[-1][1] == "interrupted"
    assert not list((bench.home / "device").glob("*/runner.pid"))


def test_ctrl_c_ends_the_runners_of_all_devices(bench: Bench) -> None:
    (bench.folder / "inventory.yaml").write_text(TWINS)
    with bench.start("run", "--device", "all", *SHAPE, "--quant", "nf4", "--steps", "100000") as process:
        try:
            wait_for(lambda: len(bench.runner_pids()) == 2, "a runner on both devices")
            pids = bench.runner_pids()
            process.send_signal(signal.SIGINT)
            wait_for_end(process)
        finally:
            process.kill()
    assert process.returncode == 130
    assert not any(is_running(pid) for pid in pids)


def test_a_busy_device_keeps_its_hardware_in_the_store(board: Board, bench: Bench) -> None:
    assert bench("run", "--device", "one", *SHORT).code == 0
    with FileLock(bench.home / "locks" / "one.lock"):
        assert bench("run", "--device", "one", *SHORT).code == 4
    assert bench.rows("SELECT count(*), hardware = '{}' FROM device") == [(1, 0)]


def test_a_device_that_was_busy_at_first_gets_its_hardware_later(board: Board, bench: Bench) -> None:
    (bench.home / "locks").mkdir()
    with FileLock(bench.home / "locks" / "one.lock"):
        assert bench("run", "--device", "one", *SHORT).code == 4
    assert bench.rows("SELECT hardware FROM device WHERE name = 'one'") == [("{}",)]
    assert bench("run", "--device", "one", *SHORT).code == 0
    assert bench.rows("SELECT count(*), hardware = '{}' FROM device WHERE name = 'one'") == [(1, 0)]
