"""The bundle brings everything it needs; a build says what is missing on the host."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shutil
import subprocess

import pytest

from devices.deployment.deploy import deploy
from devices.runner_builds import bundle as bundles
from devices.runner_builds.build import RunnerBuildError, ask, build_hash, build_runner
from devices.runner_builds.bundle import build_bundle, bundle_toolchain, runner_for
from devices.transports.local.transport import LocalTransport
from foundation.errors import UserError
from tests.support.twins.twin_emulator import emulated
from tests.support.twins.twin_needs import find_program, need_aarch64_programs, need_root
from tests.support.twins.twin_processors import NANO

JETSON_NANO_KERNEL = "4.9.337-tegra"


def run_bundle(bundle, folder, job):
    """Returns how the emulated bundle of a Nano ended, and the events it printed."""
    path = folder / "job.json"
    path.write_text(json.dumps(job))
    command = emulated(bundle.command(str(bundle.folder)), NANO, JETSON_NANO_KERNEL)
    ended = subprocess.run([*command, path], capture_output=True, text=True, timeout=120, check=False)
    return ended, [json.loads(line) for line in ended.stdout.splitlines()]


def test_the_bundle_runs_the_job_as_the_native_runner_does(aarch64_runner, run, job, tmp_path):
    native = run(job)
    ended, events = run_bundle(aarch64_runner, tmp_path, job)
    assert ended.returncode == 0
    assert [event["losses"] for event in events if event["event"] == "step"] == native.losses
    assert events[0]["machine"] == "aarch64"
    assert events[0]["kernel"] == JETSON_NANO_KERNEL


def test_the_bundle_runs_in_a_root_without_any_library(aarch64_runner, job, accumulator, tmp_path):
    need_root()
    need_aarch64_programs()
    root = tmp_path / "root"
    deploy(LocalTransport(), aarch64_runner.files, str(root / "runner"))
    cores = {f"sys/devices/system/cpu/{name}": "0-3\n" for name in ("possible", "present")}
    for file, text in (cores | {"proc/cpuinfo": NANO.cpuinfo()}).items():
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).write_text(text)
    shutil.copy(accumulator, root / "program.pte")
    shutil.copy(tmp_path / "inputs.bin", root)
    (root / "job.json").write_text(json.dumps(job | {"program": "program.pte"}))
    command = [find_program("chroot"), root, *aarch64_runner.command("/runner"), "/job.json"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env={})
    footer = json.loads(ended.stdout.splitlines()[-2])
    assert (ended.returncode, footer["cause"], footer["reason"]) == (0, "completed", "")
    assert not [path for path in root.rglob("*.so*") if root / "runner" not in path.parents]


def test_it_asks_for_no_kernel_newer_than_that_of_a_nano(aarch64_runner):
    """glibc files record the oldest kernel they work on; the newest of these counts."""
    readelf = bundle_toolchain("aarch64", aarch64_runner.folder.parent).system.readelf
    notes = [ask(readelf, "--notes", str(file.source)) for file in aarch64_runner.files]
    oldest = {tuple(map(int, found.split("."))) for note in notes for found in re.findall(r"ABI: ([\d.]+)", note)}
    assert oldest
    assert max(oldest) <= (4, 9, 0)


def test_newer_system_calls_may_be_missing(aarch64_runner, job, tmp_path):
    """Every call that this kernel lacks must have a fallback; the emulator itself lacks clone3 and rseq."""
    path = tmp_path / "job.json"
    path.write_text(json.dumps(job | {"threads": 2}))
    command = emulated(aarch64_runner.command(str(aarch64_runner.folder)), NANO)
    ended = subprocess.run(
        [command[0], "-strace", *command[1:], path], capture_output=True, text=True, timeout=120, check=False
    )
    assert ended.returncode == 0
    newer = {"clone3", "rseq", "statx", "faccessat2", "openat2", "close_range", "futex_waitv", "io_uring_setup"}
    succeeded = set(re.findall(r"^\d+ (\w+)\(.*= (?!-1)", ended.stderr, re.MULTILINE))
    assert succeeded
    assert not newer & succeeded


@pytest.mark.parametrize("machine", ["armv7l", "riscv64", "mips"])
def test_an_unknown_machine_needs_its_own_runner(machine, tmp_path):
    with pytest.raises(UserError, match=f"aarch64.*{machine}.*`runner: PATH` in the inventory"):
        runner_for(machine, tmp_path, print)


def test_a_missing_cross_compiler_is_named_with_its_package(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RunnerBuildError, match="sudo apt install g\\+\\+-aarch64-linux-gnu"):
        runner_for("aarch64", tmp_path, print)


def test_this_host_gets_the_native_build(build_home, runner):
    assert runner_for(os.uname().machine, build_home, print, here=True) == build_runner(build_home)


def test_a_remote_device_like_this_host_gets_a_bundle(build_home, job, tmp_path):
    """Its C library may be older than that of this host."""
    built = runner_for(os.uname().machine, build_home, print)
    (tmp_path / "job.json").write_text(json.dumps(job))
    ended = subprocess.run(
        [*built.command(str(built.folder)), tmp_path / "job.json"], capture_output=True, timeout=120, check=False
    )
    assert len(built.launch) > 1
    assert ended.returncode == 0


def test_an_existing_bundle_is_used_without_a_notice(aarch64_runner):
    notes = []
    again = build_bundle("aarch64", aarch64_runner.folder.parent, notes.append)
    assert (again, notes) == (aarch64_runner, [])


def test_what_takes_long_is_announced(tmp_path, monkeypatch):
    notes = []
    monkeypatch.setattr(bundles, "fetch", lambda wheel, cache, notify: notify(f"fetching {wheel.version}"))
    monkeypatch.setattr(bundles, "build_runner", lambda home, toolchain: toolchain)
    build_bundle("aarch64", tmp_path, notes.append)
    assert [line.split()[0] for line in notes] == ["fetching", "building"]


def test_the_hash_follows_the_libraries_of_the_system(aarch64_runner, tmp_path):
    toolchain = bundle_toolchain("aarch64", tmp_path)
    first, *others = toolchain.system.libraries
    changed = tmp_path / first.name
    changed.write_bytes(first.read_bytes() + b"\0")
    system = dataclasses.replace(toolchain.system, libraries=(changed, *others))
    assert build_hash(dataclasses.replace(toolchain, system=system)) != build_hash(toolchain)
    assert build_hash(toolchain) == aarch64_runner.hash


def test_a_library_that_is_missing_from_the_bundle_is_named(aarch64_runner, tmp_path):
    system = bundle_toolchain("aarch64", tmp_path).system
    stage = shutil.copytree(aarch64_runner.folder, tmp_path / "stage")
    (stage / "lib" / "libm.so.6").unlink()
    without = tuple(path for path in system.libraries if path.name != "libm.so.6")
    with pytest.raises(RunnerBuildError, match=r"needs libm\.so\.6"):
        dataclasses.replace(system, libraries=without).place(stage)
