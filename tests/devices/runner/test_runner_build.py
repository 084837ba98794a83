"""Building the runner: cached, whole, and clear about what is missing."""

from __future__ import annotations

import dataclasses
import hashlib
import re
import shutil
import subprocess

import pytest

from devices.runner_builds.build import RunnerBuildError, build_hash, build_runner, native_toolchain, toolchain_for
from devices.runner_builds.bundle import bundle_toolchain
from foundation.errors import UserError
from foundation.host_tools import find_compiler


@pytest.fixture
def broken(tmp_path):
    """The native toolchain with a compiler that always fails: nothing can be built with it."""
    compiler = tmp_path / "broken-c++"
    compiler.write_text("#!/bin/sh\necho 'fatal error: out of order' >&2\nexit 1\n")
    compiler.chmod(0o755)
    return dataclasses.replace(native_toolchain(), compiler=compiler)


def test_an_existing_build_is_reused(runner, build_home, broken):
    assert build_runner(build_home, broken).folder == runner.parent


def test_files_are_listed_with_their_hashes(runner, build_home):
    built = build_runner(build_home)
    names = {file.name for file in built.files}
    assert {"runner", "lib/libexecutorch.so", "lib/libexecutorch_backend_xnnpack.so"} <= names
    for file in built.files:
        assert hashlib.sha256(file.source.read_bytes()).hexdigest() == file.sha256
        assert file.source.stat().st_size == file.size_bytes
        assert file.executable == (file.name == "runner")


def test_a_copy_elsewhere_finds_its_libraries_beside_it(runner, tmp_path):
    copy = shutil.copytree(runner.parent, tmp_path / "moved")
    linked = subprocess.run(["ldd", copy / "runner"], capture_output=True, text=True, check=True).stdout
    libraries = re.findall(r"libexecutorch\S*\.so => (\S+)", linked)
    assert libraries
    assert all(path.startswith(str(copy / "lib")) for path in libraries)


def test_a_truncated_file_is_not_trusted(runner, tmp_path, broken):
    home = tmp_path / "home"
    copy = shutil.copytree(runner.parent, home / runner.parent.name)
    with (copy / "lib" / "libexecutorch.so").open("r+b") as file:
        file.truncate(1000)
    with pytest.raises(RunnerBuildError, match="building the runner failed"):
        build_runner(home, broken)


def test_a_bundle_for_this_host_is_made_of_its_native_build(runner, tmp_path, broken):
    home = tmp_path / "home"
    shutil.copytree(runner.parent, home / runner.parent.name)
    system = bundle_toolchain(broken.machine, home).system
    built = build_runner(home, dataclasses.replace(broken, system=system))
    assert (built.folder / "runner").read_bytes() == runner.read_bytes()
    assert built.command("") == (f"/{system.loader.name}", "--library-path", "/lib", "/runner")


def test_a_failed_build_leaves_its_log_and_no_folder(tmp_path, broken):
    with pytest.raises(RunnerBuildError, match="the log is") as raised:
        build_runner(tmp_path / "home", broken)
    assert "\n" not in str(raised.value)
    assert [path.suffix for path in (tmp_path / "home").iterdir() if not path.name.startswith(".")] == [".log"]
    assert not list((tmp_path / "home").glob(".building-*"))


def test_the_hash_follows_compiler_and_executorch():
    toolchain = native_toolchain()
    changed = [
        dataclasses.replace(toolchain, compiler_version="another"),
        dataclasses.replace(toolchain, target="aarch64-linux-gnu"),
        dataclasses.replace(toolchain, executorch_version="9.9.9"),
    ]
    assert len({build_hash(item) for item in [toolchain, *changed]}) == 4


def test_without_a_compiler_the_package_is_named(tmp_path):
    with pytest.raises(UserError, match="sudo apt install g\\+\\+"):
        find_compiler("to build the runner", {"PATH": str(tmp_path)})


def test_a_compiler_that_can_not_be_run_is_named(broken):
    with pytest.raises(RunnerBuildError, match="broken-c\\+\\+ can't be run"):
        toolchain_for(broken.compiler, broken.executorch, "1")


def test_a_folder_that_can_not_be_made_is_named(tmp_path, broken):
    (tmp_path / "file").touch()
    with pytest.raises(RunnerBuildError, match="set SUITE_HOME"):
        build_runner(tmp_path / "file" / "home", broken)
