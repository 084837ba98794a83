"""`suite run` on a device over SSH: a real OpenSSH server on this machine, so the runner is real too."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from loopback_sshd import LoopbackSshd
from suite_runs import SHAPE, Bench, by_setting, is_running, kill, wait_for, wait_for_line

ENTRY = """\
devices:
  board:
    kind: linux
    host: 127.0.0.1
    port: {port}
    key_file: {key}
    host_keys: ["{host_key}"]
    workdir: {workdir}
"""
RUN = ("run", "--device", "board", *SHAPE, "--quant", "fp32")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[LoopbackSshd]:
    server = LoopbackSshd(tmp_path / "server")
    server.start()
    yield server
    server.kill()


@pytest.fixture
def board(bench: Bench, server: LoopbackSshd) -> Path:
    """The device's folder, with a name that needs quotes."""
    workdir = server.folder / "edge 'suite'"
    text = ENTRY.format(
        port=server.port, key=server.client_key, host_key=server.host_key_text, workdir=json.dumps(str(workdir))
    )
    (bench.folder / "inventory.yaml").write_text(text)
    return workdir


def test_a_device_over_ssh_is_measured_as_a_real_one(bench: Bench, board: Path, server: LoopbackSshd) -> None:
    ran = bench(*RUN, "--quick", "--json")
    assert ran.code == 0, ran.err
    item = by_setting(ran.document)["fp32"]
    assert (item["device"], item["status"], item["emulated"]) == ("board", "ok", False), item["reason"]
    assert item["latency_ms"]["median"] > 0
    assert item["loss"]["reference_steps"] == 3
    assert not (board / "runner.pid").exists()
    assert list((board / "jobs").iterdir()) == []
    wait_for(lambda: not server.connections(), "the end of all connections")
    again = bench(*RUN, "--quick")
    assert again.code == 0
    assert "nothing pushed" in again.err


def test_a_device_that_is_not_enrolled_is_refused_with_the_command(bench: Bench, board: Path) -> None:
    inventory = bench.folder / "inventory.yaml"
    inventory.write_text("".join(line for line in inventory.open() if "host_keys" not in line))
    ran = bench(*RUN, "--quick")
    assert ran.code != 0
    assert "suite devices enroll board" in ran.err + ran.out


def test_no_runner_stays_on_a_device_whose_run_was_killed(bench: Bench, board: Path) -> None:
    process = bench.start(*RUN, "--steps", "100000")
    try:
        assert process.stderr is not None
        wait_for_line(process.stderr, "pushed")
        pid = wait_for(lambda: _pid(board / "runner.pid"), "the start of the runner")
    finally:
        kill(process.pid)
        process.communicate()
    wait_for(lambda: not is_running(pid), "the end of the runner")


def _pid(path: Path) -> int | None:
    try:
        return int(json.loads(path.read_text())["pid"])
    except (OSError, ValueError):
        return None
