"""Data files: shared by programs of all shapes, made once, never misread, and made again when they are lost."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import workloads.export.shared_constants as shared
from tests.support.workloads.program_bounds import workload_of
from tests.support.workloads.training_runs import ArtifactOf, Settings, some_batches, train_in_runner
from workloads.export.artifact import Artifact, ArtifactCache
from workloads.export.data_files import ADAPTERS, WEIGHTS, Catalog, DataCache, DataFile
from workloads.export.program import eager_parts
from workloads.lowering.flat_tensor import FlatTensorWriter, StoredConstant
from workloads.lowering.stored_constants import StoredConstants
from workloads.models.weights import ModelWeights
from workloads.quantize.settings import QUANTIZATION_SETTINGS
from workloads.workload import Workload

pytestmark = pytest.mark.filterwarnings("ignore")  # deprecations inside torch and executorch

SHAPE = Workload("tiny", "fp32", q=1, b=1, T=8, rank=4)
RECIPE = {"of": "a test"}


def hashes(files: Sequence[DataFile]) -> list[str]:
    return [file.hash for file in files]


def share(workload: Workload, weights: ModelWeights, cache: DataCache) -> list[str]:
    return hashes(shared.share_constants(workload, weights, cache).files)


@pytest.mark.parametrize("quant", QUANTIZATION_SETTINGS)
def test_programs_of_two_shapes_share_their_data_files(quant: str, exported: ArtifactOf) -> None:
    one, other = exported(replace(SHAPE, quant=quant)), exported(workload_of(quant))  # many tests need the latter
    assert one.hash != other.hash
    assert [file.name for file in one.data] == [WEIGHTS, ADAPTERS]
    assert hashes(one.data) == hashes(other.data)
    for artifact in (one, other):
        assert artifact.program_bytes < artifact.weight_bytes < sum(file.size_bytes for file in artifact.data)


@pytest.mark.parametrize("quant", QUANTIZATION_SETTINGS)
def test_a_layer_from_a_data_file_is_the_layer_of_the_model(quant: str, tiny: ModelWeights, tmp_path: Path) -> None:
    workload = replace(SHAPE, quant=quant)
    found = shared.share_constants(workload, tiny, DataCache(tmp_path)).parts
    made = eager_parts(workload, tiny.config, tiny.state)
    for part, expected in ((found.blocks[1], made.blocks[1]), (found.head, made.head)):
        of_part, of_expected = (dict(each.named_parameters()) | dict(each.named_buffers()) for each in (part, expected))
        assert of_part.keys() == of_expected.keys()
        assert all(torch.equal(of_part[name], value) for name, value in of_expected.items())


def test_a_second_shape_makes_one_layer_and_writes_no_data(
    tiny: ModelWeights, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = DataCache(tmp_path)
    first = share(SHAPE, tiny, cache)
    stamps = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.ptd")}
    read: list[str] = []
    watched = dict(tiny.state)

    class Watched(dict[str, torch.Tensor]):
        def __getitem__(self, name: str) -> torch.Tensor:
            read.append(name)
            return super().__getitem__(name)

    assert share(replace(SHAPE, T=16, q=2), replace(tiny, state=Watched(watched)), cache) == first
    assert {name.split(".")[2] for name in read if ".layers." in name} == {"0"}
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.ptd")} == stamps


def test_what_changes_the_constants_changes_the_file_and_nothing_else(tiny: ModelWeights, tmp_path: Path) -> None:
    cache = DataCache(tmp_path)
    weights, adapters = share(SHAPE, tiny, cache)
    assert share(replace(SHAPE, rank=2), tiny, cache)[0] == weights
    assert share(replace(SHAPE, adapter_seed=1), tiny, cache)[0] == weights
    assert share(replace(SHAPE, adapter_seed=1), tiny, cache)[1] != adapters
    assert share(replace(SHAPE, quant="int8"), tiny, cache) != [weights, adapters]
    assert share(replace(SHAPE, quant="int8"), tiny, cache)[1] == adapters
    assert share(replace(SHAPE, noise="stock"), tiny, cache) == [weights]
    other = {name: value + 1 if name == "model.norm.weight" else value for name, value in tiny.state.items()}
    assert share(SHAPE, replace(tiny, state=other, sha256="other"), cache)[0] != weights


def test_a_quantizer_that_changed_without_the_exporter_s_version_is_noticed(tiny: ModelWeights, tmp_path: Path) -> None:
    share(SHAPE, tiny, DataCache(tmp_path))
    other = {name: value + 1 if name == "model.norm.weight" else value for name, value in tiny.state.items()}
    with pytest.raises(RuntimeError, match=r"head\.norm\.weight differs .* EXPORTER_VERSION"):
        share(SHAPE, replace(tiny, state=other), DataCache(tmp_path))


def written(path: Path) -> Catalog:
    path.write_bytes(b"constants")
    return {}


def killed(path: Path) -> Catalog:
    path.write_bytes(b"half")
    os.kill(os.getpid(), signal.SIGKILL)
    return {}


def test_a_killed_export_leaves_no_data_file_and_the_next_one_cleans_up(tmp_path: Path) -> None:
    cache = DataCache(tmp_path)
    process = os.fork()
    if process == 0:
        try:
            cache.make(WEIGHTS, RECIPE, killed)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == -signal.SIGKILL
    assert list(tmp_path.glob("*/*.ptd")) == list(tmp_path.glob(".exporting-*/*.ptd")) != []
    file, _ = cache.make(WEIGHTS, {"of": "another"}, written)
    assert [path.name for path in tmp_path.iterdir() if not path.name.endswith(".lock")] == [file.hash]


def test_two_recipes_that_give_the_same_file_keep_it_once(tmp_path: Path) -> None:
    cache = DataCache(tmp_path)
    one, other = (cache.make(WEIGHTS, {"of": name}, written)[0] for name in "ab")
    assert one == other and len(list(tmp_path.glob("*/*.ptd"))) == 1
    for name in "ab":
        assert cache.make(WEIGHTS, {"of": name}, killed)[0] == one


def change_catalog(file: DataFile, constants: object) -> None:
    """Replaces the list of constants beside the file."""
    path = next(file.folder.glob("constants-*"))
    path.write_text(json.dumps(json.loads(path.read_text()) | {"constants": constants}))


@pytest.mark.parametrize("damage", [
    lambda file: file.path.unlink(),
    lambda file: os.truncate(file.path, 3),
    lambda file: file.path.write_bytes(bytes(file.size_bytes)),
    lambda file: next(file.folder.glob("constants-*")).write_text("{"),
    lambda file: change_catalog(file, {"layers.0.1": 5}),
    lambda file: change_catalog(file, {"layers.0.1": {"key": "k"}}),
    lambda file: change_catalog(file, []),
])  # fmt: skip
def test_a_damaged_data_file_is_made_again(damage: Callable[[DataFile], object], tmp_path: Path) -> None:
    cache = DataCache(tmp_path)
    made = cache.make(WEIGHTS, RECIPE, written)
    file, _ = made
    damage(file)
    assert cache.make(WEIGHTS, RECIPE, written) == made
    assert file.path.read_bytes() == b"constants"


def test_a_lost_data_file_is_reported_and_made_again_without_another_export(
    tiny: ModelWeights, cache: ArtifactCache
) -> None:
    workload = replace(SHAPE, quant="nf4")
    artifact = cache.export(workload, tiny)
    program = artifact.program.stat()
    os.truncate(artifact.data[0].path, 100)
    notes: list[str] = []
    assert cache.find(workload, tiny.sha256, notes.append) is None
    assert len(notes) == 1
    assert "weights.ptd of tiny nf4 is missing" in notes[0] and "it is created again" in notes[0]
    assert cache.by_hash(artifact.hash) is None
    assert cache.export(workload, tiny) == artifact == cache.by_hash(artifact.hash)
    assert artifact.program.stat().st_mtime_ns == program.st_mtime_ns
    assert cache.find(workload, tiny.sha256, notes.append) == artifact
    assert len(notes) == 1


def test_a_program_of_the_first_schema_needs_no_data_files(tmp_path: Path) -> None:
    """Baselines of earlier nights hold their own weights."""
    folder = tmp_path / ("a" * 32)
    folder.mkdir()
    (folder / "program.pte").write_bytes(b"1234")
    (folder / "artifact.json").write_text(json.dumps({"schema": 1, "hash": folder.name, "program_bytes": 4}))
    found = ArtifactCache(tmp_path).by_hash(folder.name)
    assert found is not None and found.data == () and found.deployed_bytes == 4


def test_equal_bytes_are_stored_once_under_a_key_for_each_shape(tmp_path: Path) -> None:
    values = torch.arange(12, dtype=torch.float32)
    with FlatTensorWriter(tmp_path / "data.ptd", 4) as writer:
        tensors = {"a": values, "b": values.reshape(3, 4), "c": values.clone(), "d": values.to(torch.bfloat16)}
        constants = {name: writer.add(value) for name, value in tensors.items()}
    assert constants["a"] == constants["c"]
    assert constants["a"].offset == constants["b"].offset
    assert (constants["a"].key, constants["b"].key) == (constants["a"].sha256, f"{constants['a'].sha256}.float32.3x4")
    stored = StoredConstants()
    stored.add_file(tmp_path / "data.ptd", constants)
    for name, value in tensors.items():
        found = stored.tensor(name)
        assert torch.equal(found, value)
        assert stored.key_of(found) == constants[name].key
        assert stored.sha256_of(found) == constants[name].sha256
    assert stored.key_of(stored.tensor("b")[0]) is None


def test_a_place_in_a_file_survives_json() -> None:
    place = StoredConstant("key", "sha", "int8", (2, 3), 128)
    assert StoredConstant.from_document(json.loads(json.dumps(place.__dict__))) == place


def test_a_program_runs_only_with_its_data_files(exported: ArtifactOf, runner: Path, tmp_path: Path) -> None:
    artifact = exported(SHAPE)
    alone = tmp_path / "alone"
    alone.mkdir()
    (alone / "program.pte").write_bytes(artifact.program.read_bytes())
    (alone / "artifact.json").write_text(json.dumps({"data": []}))
    with pytest.raises(AssertionError, match=r"external_data_map is null.*deploy it again with its data files"):
        _losses(runner, Artifact(alone, {}), tmp_path / "one")
    assert np.isfinite(_losses(runner, artifact, tmp_path / "two")).all()


def _losses(runner: Path, artifact: Artifact, folder: Path) -> np.ndarray:
    batches, settings = some_batches(SHAPE, 1), Settings(1e-3, 1e-2)
    return train_in_runner(runner, artifact.program, SHAPE, batches, 1, settings, folder).losses
