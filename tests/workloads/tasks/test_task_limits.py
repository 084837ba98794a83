"""Task files without end, or with more in them than their size shows."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from foundation.errors import UserError
from workloads.tasks import rows, table
from workloads.tasks.rows import read_table
from workloads.tasks.template import load_template

KNOWN = frozenset({"text", "label"})


def write(folder: Path, name: str, content: str) -> Path:
    path = folder / name
    path.write_text(content)
    return path


@pytest.mark.parametrize("name", ["t.tsv", "t.csv", "t.json", "t.jsonl", "t.parquet"])
def test_a_pipe_is_no_task(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / name)
    with pytest.raises(UserError, match="is a pipe, and a task must be a file"):
        read_table(tmp_path / name, KNOWN)


def test_a_device_is_no_template(tmp_path: Path) -> None:
    (tmp_path / "t.yaml").symlink_to("/dev/zero")
    with pytest.raises(UserError, match="is a device, and a template must be a file"):
        load_template(str(tmp_path / "t.yaml"))


def test_files_beyond_the_limit_are_not_read(tmp_path: Path) -> None:
    for name in ("t.tsv", "t.parquet"):
        (tmp_path / name).touch()
        os.truncate(tmp_path / name, rows.MOST_BYTES + 1)
        with pytest.raises(UserError, match="is the limit for a task: keep a part of it"):
            read_table(tmp_path / name, KNOWN)


_ENTRY = {"text": "fine", "label": 1}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("t.tsv", "text\tlabel\n" + "fine\t1\n" * 11),
        ("t.csv", "text,label\n" + "fine,1\n" * 11),
        ("t.jsonl", (json.dumps(_ENTRY) + "\n") * 11),
        ("t.json", json.dumps([_ENTRY] * 11)),
        ("t.json", json.dumps({"text": ["fine"] * 11, "label": [1] * 11})),
        ("t.json", json.dumps({"text": [{"deep": "fine", "label": 1}] * 11})),
    ],
)
def test_more_rows_than_the_limit_are_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, content: str
) -> None:
    monkeypatch.setattr(table, "MOST_ROWS", 10)
    path = write(tmp_path, name, content)
    with pytest.raises(UserError, match="more than 10 rows, 1000 columns"):
        read_table(path, KNOWN).unfolded("text")


def test_lists_in_a_wide_row_do_not_multiply(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table, "MOST_CELLS", 5000)
    wide = {f"k{index}": 0 for index in range(100)} | {"questions": [{"text": "a"}] * 100}
    found = read_table(write(tmp_path, "t.json", json.dumps([wide])), KNOWN)
    with pytest.raises(UserError, match=r"unfolded, has more than .* 5000 cells"):
        found.unfolded("questions")


def test_columns_of_different_rows_do_not_multiply(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table, "MOST_CELLS", 5000)
    columns: dict[str, dict[str, int]] = {"text": {}, "label": {}} | {
        f"c{index}": {f"{index}": 0} for index in range(100)
    }
    with pytest.raises(UserError, match=r"has more than .* 5000 cells"):
        read_table(write(tmp_path, "t.json", json.dumps(columns)), KNOWN)


def test_a_header_of_very_many_columns_is_not_compared_with_itself(tmp_path: Path) -> None:
    path = write(tmp_path, "t.tsv", "text\tlabel" + "\tx" * 5000 + "\n")
    with pytest.raises(UserError, match="1 rows of 5002 columns"):
        read_table(path, KNOWN)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("t.tsv", "text\tlabel\n" + "x" * (1 << 20) + "\t1\n"),
        ("t.tsv", 'text\tlabel\n"' + "xxxx\n" * (1 << 18) + '"\t1\n'),
        ("t.csv", "text,label\n" + "x" * (1 << 20) + ",1\n"),
        ("t.jsonl", json.dumps({"text": "x" * (1 << 21), "label": 1})),
        ("t.json", json.dumps([{"text": ["x" * (1 << 21)], "label": 1}])),
    ],
)
def test_a_text_without_end_is_named_by_its_row(tmp_path: Path, name: str, content: str) -> None:
    with pytest.raises(UserError, match=r"(line|entry|row that starts in line) \d .*(1048576|limit)") as caught:
        read_table(write(tmp_path, name, content), KNOWN)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize(
    "content", ["[" * 5000, '[{"text": ' + "1" * 5000 + "}]", '[{"text": ' + "[" * 90 + "]" * 90 + "}]"]
)
def test_json_beyond_the_limits_is_one_sentence(tmp_path: Path, content: str) -> None:
    for name in ("t.json", "t.jsonl"):
        with pytest.raises(UserError, match="is not JSON"):
            read_table(write(tmp_path, name, content), KNOWN)


def test_what_a_small_parquet_file_holds_is_counted_while_it_is_decompressed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows, "MOST_BYTES", 1 << 20)
    content = pyarrow.table({"text": ["x" * 1000] * 100_000, "label": [1] * 100_000})
    path = tmp_path / "t.parquet"
    pyarrow.parquet.write_table(content, path, compression="zstd")
    assert path.stat().st_size < 1 << 20
    with pytest.raises(UserError, match="more than 1048576 bytes, decompressed"):
        read_table(path, KNOWN)


_NESTED: dict[str, Callable[[pyarrow.Array], pyarrow.Array]] = {
    "text": lambda shared: shared,
    "object": lambda shared: pyarrow.StructArray.from_arrays([shared], ["inner"]),
    "large list": lambda shared: pyarrow.LargeListArray.from_arrays(range(len(shared) + 1), shared),
    "list view": lambda shared: pyarrow.ListViewArray.from_arrays(range(len(shared)), [1] * len(shared), shared),
    "map": lambda shared: pyarrow.MapArray.from_arrays(range(len(shared) + 1), ["a"] * len(shared), shared),
}


@pytest.mark.parametrize("nested", _NESTED.values(), ids=_NESTED.keys())
def test_a_text_that_all_rows_of_a_parquet_file_share_is_not_multiplied_first(
    tmp_path: Path, nested: Callable[[pyarrow.Array], pyarrow.Array]
) -> None:
    """A dictionary holds it once: 2 GB of text in a small file."""
    path, count = tmp_path / "t.parquet", 2000
    indices = pyarrow.array([0] * count, pyarrow.int32())
    shared = pyarrow.DictionaryArray.from_arrays(indices, pyarrow.array(["x" * (1 << 20)]))
    content = pyarrow.table({"text": nested(shared), "label": [0] * count})
    pyarrow.parquet.write_table(content, path, compression="zstd")
    assert path.stat().st_size < 1 << 20
    with pytest.raises(UserError, match="bytes, decompressed: keep a part of it"):
        read_table(path, KNOWN)
    assert pyarrow.default_memory_pool().max_memory() < 4 * rows.MOST_BYTES


def test_a_text_that_a_row_of_a_parquet_file_shares_with_itself_is_not_multiplied_first(tmp_path: Path) -> None:
    """Its list has no Arrow types, so that nothing says that its texts are references."""
    path, count = tmp_path / "t.parquet", 4000
    indices = pyarrow.array([0] * count, pyarrow.int32())
    shared = pyarrow.DictionaryArray.from_arrays(indices, pyarrow.array(["x" * (1 << 20)]))
    content = pyarrow.table({"text": pyarrow.ListArray.from_arrays([0, count], shared), "label": [0]})
    pyarrow.parquet.write_table(content, path, compression="zstd", store_schema=False)
    with pytest.raises(UserError, match="bytes, decompressed: keep a part of it"):
        read_table(path, KNOWN)
    assert pyarrow.default_memory_pool().max_memory() < 4 * rows.MOST_BYTES


def test_what_lies_inside_lists_of_a_parquet_file_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "MOST_CELLS", 10_000)
    path = tmp_path / "t.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"text": ["x"], "label": [[True] * 20_000]}), path)
    with pytest.raises(UserError, match="including the contents of its lists, has more than"):
        read_table(path, KNOWN)
