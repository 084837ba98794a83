"""A runner that the user brings: deployed as it is, refused when it can't run on the device."""

from __future__ import annotations

import shutil

import pytest

from devices.deployment.built_runner import write_manifest
from devices.deployment.deploy import deploy
from devices.inventory.inventory_file import load
from devices.runner_builds.bundle import own_runner, runner_for
from devices.transports.local.transport import LocalTransport
from foundation.errors import UserError

AARCH64, ARM, X86_64 = 183, 40, 62


def elf(machine):
    """The first bytes of a program for `machine` (e_machine of elf(5))."""
    return b"\x7fELF\x02\x01\x01" + bytes(9) + (2).to_bytes(2, "little") + machine.to_bytes(2, "little") + bytes(44)


@pytest.fixture
def program(tmp_path):
    path = tmp_path / "my-runner"
    path.write_bytes(elf(AARCH64))
    return path


def test_it_takes_precedence_over_the_bundle_and_starts_by_itself(program, tmp_path):
    built = runner_for("aarch64", tmp_path / "home", print, own=program)
    assert built.command("/data/r") == ("/data/r/runner",)
    assert [file.source for file in built.files] == [program]
    assert not (tmp_path / "home").exists()


def test_it_arrives_executable_whatever_its_mode_here(program, tmp_path):
    program.chmod(0o600)
    deploy(LocalTransport(), own_runner(program, "aarch64").files, str(tmp_path / "device"))
    assert (tmp_path / "device/runner").stat().st_mode & 0o111
    assert (tmp_path / "device/runner").read_bytes() == program.read_bytes()


def test_a_folder_comes_with_its_libraries(program, tmp_path):
    folder = tmp_path / "mine"
    (folder / "lib").mkdir(parents=True)
    shutil.copy(program, folder / "runner")
    (folder / "lib/libc++_shared.so").write_bytes(elf(AARCH64))
    built = own_runner(folder, "aarch64")
    assert {file.name for file in built.files} == {"runner", "lib/libc++_shared.so"}


def test_a_bundle_from_another_host_is_started_through_its_loader(program, tmp_path):
    folder = tmp_path / "bundle"
    folder.mkdir()
    shutil.copy(program, folder / "runner")
    write_manifest(folder, ("{folder}/ld.so", "{folder}/runner"), {"machine": "aarch64"})
    assert own_runner(folder, "aarch64").command("/r") == ("/r/ld.so", "/r/runner")
    with pytest.raises(UserError, match="is for aarch64"):
        own_runner(folder, "x86_64")


def test_its_hash_follows_its_content(program):
    before = own_runner(program, "aarch64").hash
    program.write_bytes(elf(AARCH64) + b"\0")
    assert own_runner(program, "aarch64").hash != before


def test_a_program_for_another_machine_is_refused(program):
    with pytest.raises(UserError, match=r"is for aarch64, but the device is a 'armv7l'"):
        own_runner(program, "armv7l")


@pytest.mark.parametrize("machine", ["armv7l", "armv8l"])
def test_a_program_of_32_bits_runs_on_every_arm_that_says_so(program, machine):
    program.write_bytes(elf(ARM))
    assert own_runner(program, machine).machine == machine


@pytest.mark.parametrize("content", [b"", b"#!/bin/sh\nexit 0\n# padding padding\n", elf(AARCH64)[:19]])
def test_a_file_that_is_not_a_program_is_refused(program, content):
    program.write_bytes(content)
    with pytest.raises(UserError, match="is not a program for Linux or Android"):
        own_runner(program, "aarch64")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"nowhere can't be read .*correct `runner` in the inventory"):
        own_runner(tmp_path / "nowhere", "aarch64")


def test_the_inventory_finds_it_beside_itself(program, tmp_path):
    path = tmp_path / "inventory.yaml"
    path.write_text("devices:\n  phone: {kind: android, serial: X, runner: my-runner}\n  pi: {kind: linux, host: h}\n")
    devices = load(path).devices
    assert devices["phone"].runner == str(program)
    assert devices["pi"].runner is None
