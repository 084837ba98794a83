"""A host that can't build a bundle (any more) uses an existing one, if it was made from the same sources."""

from __future__ import annotations

import importlib.metadata
import json
import os
from pathlib import Path
from typing import Any

import pytest

from devices.deployment.built_runner import PLAIN_LAUNCH, kept_builds, write_manifest
from devices.runner_builds.build import RunnerBuildError, sources_sha256
from devices.runner_builds.bundle import build_bundle

LAUNCH = ("{folder}/ld.so", "{folder}/runner")


def keep(home: Path, name: str, launch: tuple[str, ...] = LAUNCH, **facts: Any) -> Path:
    folder = home / name
    folder.mkdir()
    (folder / "runner").write_text(name)
    usual = {"machine": "aarch64", "executorch": importlib.metadata.version("executorch"), "sources": sources_sha256()}
    write_manifest(folder, launch, usual | facts)
    return folder


@pytest.fixture(autouse=True)
def _without_compilers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)


def test_a_host_without_a_compiler_uses_an_existing_bundle_and_says_so(tmp_path: Path) -> None:
    folder, notes = keep(tmp_path, "made-before"), list[str]()
    assert build_bundle("aarch64", tmp_path, notes.append).folder == folder
    (line,) = notes
    assert "using an earlier build of the runner" in line
    assert "sudo apt install g++-aarch64-linux-gnu" in line


def test_a_bundle_for_a_machine_like_this_host_is_used_without_a_compiler_too(tmp_path: Path) -> None:
    machine, notes = os.uname().machine, list[str]()
    folder = keep(tmp_path, "made-before", machine=machine)
    assert build_bundle(machine, tmp_path, notes.append).folder == folder
    assert "sudo apt install g++" in notes[0]


@pytest.mark.parametrize(
    "facts", [{"sources": "0" * 64}, {"executorch": "0.1"}, {"machine": "x86_64"}, {"sources": None}]
)
def test_a_bundle_of_other_sources_is_not_used(tmp_path: Path, facts: dict[str, Any]) -> None:
    keep(tmp_path, "other", **facts)
    with pytest.raises(RunnerBuildError, match="g\\+\\+-aarch64-linux-gnu"):
        build_bundle("aarch64", tmp_path, print)


def test_a_build_that_needs_its_hosts_libraries_is_not_a_bundle(tmp_path: Path) -> None:
    keep(tmp_path, "native", launch=PLAIN_LAUNCH)
    with pytest.raises(RunnerBuildError):
        build_bundle("aarch64", tmp_path, print)


def test_a_damaged_build_is_left_out(tmp_path: Path) -> None:
    (keep(tmp_path, "damaged") / "runner").write_text("something else")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "runner.json").write_text("{")
    whole = keep(tmp_path, "whole")
    assert [built.folder for built in kept_builds(tmp_path, {"machine": "aarch64"})] == [whole]


def test_a_manifest_with_a_name_that_no_system_takes_counts_as_none(tmp_path: Path) -> None:
    folder = tmp_path / "built"
    folder.mkdir()
    files = [{"name": "a" * 5000, "sha256": "0" * 64, "bytes": 1, "executable": True}]
    (folder / "runner.json").write_text(json.dumps({"machine": "aarch64", "launch": ["runner"], "files": files}))
    assert list(kept_builds(tmp_path, {"machine": "aarch64"})) == []
