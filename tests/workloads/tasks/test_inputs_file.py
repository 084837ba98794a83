"""The runner's inputs.bin."""

from pathlib import Path

import numpy as np

from workloads.models.tokenizer import byte_level_tokenizer
from workloads.tasks.batches import batches, write_arrays
from workloads.tasks.task import built_in_task


def test_each_entry_finds_its_batches_in_the_file(tmp_path: Path) -> None:
    data = batches(built_in_task(), byte_level_tokenizer(), b=4, T=32, count=5, seed=0)
    path = tmp_path / "inputs.bin"
    entries = write_arrays(data.arrays, path)
    content = path.read_bytes()
    assert [entry.name for entry in entries] == ["tokens", "first", "labels"]
    for entry, expected in zip(entries, (data.tokens, data.first, data.labels), strict=True):
        count = entry.batches * int(np.prod(entry.shape))
        found = np.frombuffer(content, dtype="<i8", count=count, offset=entry.offset)
        assert np.array_equal(found.reshape(entry.batches, *entry.shape), expected)
    last = entries[-1]
    assert last.offset + 8 * last.batches * int(np.prod(last.shape)) == len(content)
    assert [file.name for file in tmp_path.iterdir()] == ["inputs.bin"]


def test_job_entry_is_plain_json_material(tmp_path: Path) -> None:
    data = batches(built_in_task(), byte_level_tokenizer(), b=4, T=32, count=5, seed=0)
    assert write_arrays(data.arrays, tmp_path / "inputs.bin")[1].as_job_entry() == {
        "name": "first",
        "dtype": "int64",
        "shape": [4],
        "file": "inputs.bin",
        "offset": 5 * 4 * 32 * 8,
        "batches": 5,
    }


def test_arrays_keep_their_types_and_may_have_scalars_as_batches(tmp_path: Path) -> None:
    rates = np.linspace(1.0, 0.1, 7, dtype=np.float32)
    (entry,) = write_arrays({"lr": rates}, tmp_path / "inputs.bin")
    assert (entry.dtype, entry.shape, entry.batches) == ("float32", (), 7)
    assert np.array_equal(np.frombuffer((tmp_path / "inputs.bin").read_bytes(), dtype="<f4"), rates)
