"""The cache of artifacts: their names, damage, and concurrent exports."""

from __future__ import annotations

import errno
import hashlib
import importlib.metadata
import json
import os
import re
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from filelock import FileLock

import workloads.export.artifact
import workloads.export.export
import workloads.export.staging
from foundation.errors import UserError
from tests.support.workloads.counted_export import CONTENT, WORKLOAD, CountedExport
from tests.support.workloads.training_runs import ArtifactOf
from workloads.export.artifact import Artifact, ArtifactCache
from workloads.export.data_files import DataCache
from workloads.export.export import ProgramFacts
from workloads.models.weights import ModelWeights, file_sha256
from workloads.workload import Workload


def replace_export(monkeypatch: pytest.MonkeyPatch, exporting: Callable[[Path], None]) -> None:
    def export_program(_: Workload, __: ModelWeights, path: Path, ___: DataCache) -> ProgramFacts:
        exporting(path)
        return ProgramFacts(1.0, 1, {}, 1, path.stat().st_size, 1)

    monkeypatch.setattr(workloads.export.export, "export_program", export_program)


def write_content(path: Path) -> None:
    path.write_bytes(CONTENT)


def names(folder: Path) -> set[str]:
    """Lists the folder without lock files."""
    return {path.name for path in folder.iterdir() if not path.name.endswith(".lock")}


def test_same_inputs_are_exported_once(cache: ArtifactCache, export: CountedExport, tiny: ModelWeights) -> None:
    first, second = cache.export(WORKLOAD, tiny), cache.export(replace(WORKLOAD), tiny)
    assert export.calls == 1
    assert first == second == cache.find(WORKLOAD, tiny.sha256)
    assert first.folder.name == first.hash == cache.hash_of(WORKLOAD, tiny.sha256)
    assert names(cache.root) == {first.hash}


def test_artifact_describes_its_program(cache: ArtifactCache, export: CountedExport, tiny: ModelWeights) -> None:
    artifact = cache.export(WORKLOAD, tiny)
    assert artifact.program.read_bytes() == CONTENT
    assert artifact.program_bytes == len(CONTENT)
    assert artifact.program_sha256 == hashlib.sha256(CONTENT).hexdigest()
    assert artifact.document == json.loads((artifact.folder / "artifact.json").read_text())
    assert artifact.document["workload"] == json.loads(json.dumps(WORKLOAD.document()))
    assert artifact.document["weights"] == {"sha256": tiny.sha256, "source": tiny.source}
    assert artifact.document["versions"].keys() == {"torch", "executorch", "torchao"}
    assert artifact.document["delegates"] == {"partitions": 3, "other_nodes": 2}


@pytest.mark.parametrize(
    "change",
    [
        {"model": "other"},
        {"quant": "int8"},
        {"q": 2},
        {"b": 2},
        {"T": 9},
        {"rank": 3},
        {"alpha": 16.0},
        {"targets": ("q_proj",)},
        {"answers": 2},
        {"noise": "stock"},
        {"outer_parallel": False},
        {"inner_parallel": False},
        {"adapter_seed": 1},
    ],
    ids=str,
)
def test_any_other_setting_has_another_hash(change: dict[str, object], cache: ArtifactCache) -> None:
    changed = replace(WORKLOAD, **change)  # type: ignore[arg-type]
    assert cache.hash_of(changed, "weights") != cache.hash_of(WORKLOAD, "weights")


def test_other_weights_have_another_hash(cache: ArtifactCache) -> None:
    assert cache.hash_of(WORKLOAD, "weights") != cache.hash_of(WORKLOAD, "other weights")


@pytest.mark.parametrize("package", ["torch", "executorch", "torchao"])
def test_other_versions_have_another_hash(package: str, cache: ArtifactCache, monkeypatch: pytest.MonkeyPatch) -> None:
    before, version = cache.hash_of(WORKLOAD, "weights"), importlib.metadata.version
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "9.9" if name == package else version(name))
    assert cache.hash_of(WORKLOAD, "weights") != before


def test_other_exporter_has_another_hash(cache: ArtifactCache, monkeypatch: pytest.MonkeyPatch) -> None:
    before = cache.hash_of(WORKLOAD, "weights")
    monkeypatch.setattr(workloads.export.artifact, "EXPORTER_VERSION", -1)
    assert cache.hash_of(WORKLOAD, "weights") != before


def truncate_program(artifact: Artifact) -> None:
    os.truncate(artifact.program, len(CONTENT) // 2)


def change_program(artifact: Artifact) -> None:
    artifact.program.write_bytes(bytes(len(CONTENT)))


def replace_program(artifact: Artifact) -> None:
    other = artifact.folder / "other"
    other.write_bytes(CONTENT[::-1])
    status = artifact.program.stat()
    os.utime(other, ns=(status.st_atime_ns, status.st_mtime_ns))
    other.replace(artifact.program)


def remove_program(artifact: Artifact) -> None:
    artifact.program.unlink()


def make_size_endless(artifact: Artifact) -> None:
    path = artifact.folder / "artifact.json"
    path.write_text(re.sub(r'("program_bytes": ?)\d+', r"\g<1>1e999", path.read_text()))
    assert "1e999" in path.read_text()


def nest_document(artifact: Artifact) -> None:
    (artifact.folder / "artifact.json").write_text("[" * 100_000)


def cut_document(artifact: Artifact) -> None:
    path = artifact.folder / "artifact.json"
    path.write_text(path.read_text()[:40])


def empty_document(artifact: Artifact) -> None:
    (artifact.folder / "artifact.json").write_text("[]")


def age_document(artifact: Artifact) -> None:
    (artifact.folder / "artifact.json").write_text(json.dumps({**artifact.document, "schema": 0}))


def rename_document(artifact: Artifact) -> None:
    (artifact.folder / "artifact.json").write_text(json.dumps({**artifact.document, "hash": "../" * 9}))


DAMAGES = [
    rename_document,
    truncate_program,
    change_program,
    replace_program,
    remove_program,
    cut_document,
    make_size_endless,
    nest_document,
    empty_document,
    age_document,
]


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_artifact_is_found_and_exported_again(
    damage: Callable[[Artifact], None], cache: ArtifactCache, export: CountedExport, tiny: ModelWeights
) -> None:
    damage(cache.export(WORKLOAD, tiny))
    notes: list[str] = []
    assert cache.find(WORKLOAD, tiny.sha256, notes.append) is None
    assert cache.find(WORKLOAD, tiny.sha256, notes.append) is None
    assert notes == ["the program of tiny fp32 in the artifact cache is damaged: it is exported again"]
    assert cache.export(WORKLOAD, tiny).program.read_bytes() == CONTENT
    assert export.calls == 2


@pytest.mark.parametrize("sha256", ["", "..", "/", "{folder}", "0" * 32, "A" * 64])
def test_a_damaged_document_never_names_a_folder_to_remove(
    sha256: str, cache: ArtifactCache, export: CountedExport, tiny: ModelWeights, tmp_path: Path
) -> None:
    artifact = cache.export(WORKLOAD, tiny)
    other = tmp_path / "other"
    other.mkdir()
    entry = {"name": "weights.ptd", "sha256": sha256.format(folder=other), "bytes": 3}
    (artifact.folder / "artifact.json").write_text(json.dumps({**artifact.document, "data": [entry]}))
    assert cache.find(WORKLOAD, tiny.sha256, lambda _note: None) is None
    assert not artifact.folder.exists()
    assert other.exists()
    assert cache.root.exists()


def test_a_program_is_hashed_only_after_its_stamp_changed(
    cache: ArtifactCache, export: CountedExport, tiny: ModelWeights, monkeypatch: pytest.MonkeyPatch
) -> None:
    artifact = cache.export(WORKLOAD, tiny)
    hashed: list[Path] = []
    monkeypatch.setattr(workloads.export.staging, "file_sha256", lambda path: hashed.append(path) or file_sha256(path))
    assert cache.find(WORKLOAD, tiny.sha256) == artifact
    assert hashed == []
    artifact.program.write_bytes(CONTENT)  # the same content in a newer file
    assert cache.find(WORKLOAD, tiny.sha256) == cache.find(WORKLOAD, tiny.sha256) == artifact
    assert hashed == [artifact.program]


def test_leftovers_of_killed_exports_are_removed_but_not_running_ones(
    cache: ArtifactCache, export: CountedExport, tiny: ModelWeights
) -> None:
    for name in ("dead", "alive"):
        (cache.root / f".exporting-{name}").mkdir(parents=True)
    with FileLock(cache.root / ".alive.lock"):
        artifact = cache.export(WORKLOAD, tiny)
        assert names(cache.root) == {artifact.hash, ".exporting-alive"}


def in_another_process(work: Callable[[], object]) -> int:
    """Runs `work` in a process; returns its exit code, or minus the signal that ended it."""
    process = os.fork()
    if process == 0:
        try:
            work()
            os._exit(0)
        finally:
            os._exit(1)
    _, status = os.waitpid(process, 0)
    return os.waitstatus_to_exitcode(status)


def test_killed_export_leaves_nothing_under_the_name_and_the_next_one_cleans_up(
    cache: ArtifactCache, tiny: ModelWeights, monkeypatch: pytest.MonkeyPatch
) -> None:
    def half_way(path: Path) -> None:
        path.write_bytes(CONTENT[:4])
        os.kill(os.getpid(), signal.SIGKILL)

    with monkeypatch.context() as patched:
        replace_export(patched, half_way)
        assert in_another_process(lambda: cache.export(WORKLOAD, tiny)) == -signal.SIGKILL
    assert cache.find(WORKLOAD, tiny.sha256) is None
    left = names(cache.root)
    assert left and cache.hash_of(WORKLOAD, tiny.sha256) not in left
    replace_export(monkeypatch, write_content)
    artifact = cache.export(WORKLOAD, tiny)
    assert artifact.program.read_bytes() == CONTENT
    assert names(cache.root) == {artifact.hash}


def test_failed_export_leaves_nothing(
    cache: ArtifactCache, tiny: ModelWeights, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(path: Path) -> None:
        path.write_bytes(CONTENT[:4])
        raise RuntimeError("a bug")

    replace_export(monkeypatch, fail)
    with pytest.raises(RuntimeError, match="a bug"):
        cache.export(WORKLOAD, tiny)
    assert names(cache.root) == set()


def test_full_disk_is_reported_with_its_cause_and_the_next_action(
    cache: ArtifactCache, tiny: ModelWeights, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fill(_: Path) -> None:
        with Path("/dev/full").open("wb", buffering=0) as file:
            file.write(CONTENT)

    replace_export(monkeypatch, fill)
    with pytest.raises(UserError) as caught:
        cache.export(WORKLOAD, tiny)
    sentence = str(caught.value)
    assert "tiny fp32" in sentence and str(cache.root) in sentence
    assert f"No space left on device, error {errno.ENOSPC}" in sentence
    assert "free space" in sentence and "SUITE_HOME" in sentence
    assert names(cache.root) == set()


def test_folder_that_cannot_be_created_is_reported(tmp_path: Path, export: CountedExport, tiny: ModelWeights) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match=r"can't be written below .*file.artifacts .*error \d+"):
        ArtifactCache(tmp_path / "file" / "artifacts").export(WORKLOAD, tiny)
    assert export.calls == 0


def test_read_only_folder_is_reported(
    tmp_path: Path, export: CountedExport, tiny: ModelWeights, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Simulates the system's error, since permissions don't bind root, as whom tests may run."""

    def refuse(self: Path, *_: object, **__: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(self))

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(UserError, match=r"Read-only file system, error 30.*SUITE_HOME"):
        ArtifactCache(tmp_path / "artifacts").export(WORKLOAD, tiny)


def test_processes_that_need_the_same_artifact_export_it_once(
    cache: ArtifactCache, export: CountedExport, tiny: ModelWeights
) -> None:
    processes = []
    for _ in range(3):
        process = os.fork()
        if process == 0:
            try:
                cache.export(WORKLOAD, tiny)
                os._exit(0)
            finally:
                os._exit(1)
        processes.append(process)
    assert [os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) for process in processes] == [0, 0, 0]
    assert export.calls == 1


def test_artifact_of_a_real_export_describes_it(exported: ArtifactOf) -> None:
    artifact = exported(Workload("tiny", "fp32", q=2, b=2, T=32, rank=4))
    assert artifact.program.stat().st_size == artifact.program_bytes
    assert sum(file.path.stat().st_size for file in artifact.data) == artifact.deployed_bytes - artifact.program_bytes
    assert artifact.deployed_bytes - artifact.program_bytes > artifact.weight_bytes > artifact.program_bytes
    assert artifact.document["adapter_values"] == 2 * 4 * (64 + 32 + 32 + 64 + 128 + 128 + 64)
    assert artifact.document["export_seconds"] > 0
