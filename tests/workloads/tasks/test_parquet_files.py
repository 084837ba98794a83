"""Parquet files: every type that a column of texts, lists or labels may have, and what is damaged."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from foundation.errors import UserError
from tests.workloads.tasks.test_task_files import EXPECTED, read_task, rows, write


def with_class_names(table: pyarrow.Table, names: list[str]) -> pyarrow.Table:
    """As the datasets library writes a column of classes."""
    feature = {"label": {"names": names, "_type": "ClassLabel"}, "text": {"dtype": "string", "_type": "Value"}}
    return table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": feature}})})


def test_numbers_of_classes_mean_what_the_parquet_file_calls_them(tmp_path: Path) -> None:
    table = pyarrow.table({"text": ["a bad film", "a fine film"], "label": [1, 0]})
    pyarrow.parquet.write_table(with_class_names(table, ["pos", "neg"]), tmp_path / "task.parquet")
    assert rows(tmp_path / "task.parquet") == EXPECTED[::-1]


_TEXTS = pyarrow.array(["a bad film", "a fine film"])
_INDICES = pyarrow.array([0, 1], pyarrow.int8())


@pytest.mark.parametrize(
    "kind",
    [
        *(pyarrow.large_string(), pyarrow.string_view(), pyarrow.binary(), pyarrow.large_binary()),
        *(pyarrow.dictionary(pyarrow.int32(), each) for each in (pyarrow.string(), pyarrow.large_string())),
    ],
    ids=str,
)
def test_all_kinds_of_texts_in_a_parquet_file_are_texts(tmp_path: Path, kind: pyarrow.DataType) -> None:
    table = pyarrow.table({"text": _TEXTS.cast(kind), "label": pyarrow.array(["0", "1"]).cast(kind)})
    pyarrow.parquet.write_table(table, tmp_path / "task.parquet")
    assert rows(tmp_path / "task.parquet") == EXPECTED[::-1]


@pytest.mark.parametrize(
    "kind",
    [
        pyarrow.large_list(pyarrow.large_string()),
        pyarrow.list_(pyarrow.binary()),
        pyarrow.list_(pyarrow.string(), 2),
    ],
    ids=str,
)
def test_all_kinds_of_lists_in_a_parquet_file_are_lists(tmp_path: Path, kind: pyarrow.DataType) -> None:
    choices = pyarrow.array([{"text": ["red", "blue"], "label": ["A", "B"]}]).cast(
        pyarrow.struct({"text": kind, "label": kind})
    )
    pyarrow.parquet.write_table(
        pyarrow.table({"question": ["Which?"], "choices": choices, "answerKey": ["B"]}), tmp_path / "task.parquet"
    )
    (example,) = read_task(tmp_path / "task.parquet").examples
    assert (example.candidates, example.right) == ((" red", " blue"), 1)


@pytest.mark.parametrize(
    ("column", "words"),
    [
        (
            pyarrow.array([2**31 - 1], pyarrow.int32()).cast(pyarrow.date32()),
            r"values that can't be read \(.*\): correct",
        ),
        (pyarrow.array([0]).view(pyarrow.timestamp("us", "Mars/Phobos")), r"values that can't be read \(.*\): correct"),
        (pyarrow.array([[("a", "b")]], pyarrow.map_(pyarrow.string(), pyarrow.string())), "should be text"),
        (pyarrow.array([b"\xff"]), r"text in row 1 should be text, not b'\\xff'"),
    ],
    ids=["a late date", "an unknown time zone", "a map", "bytes that are no text"],
)
def test_odd_values_in_a_parquet_file_are_one_sentence(tmp_path: Path, column: pyarrow.Array, words: str) -> None:
    pyarrow.parquet.write_table(pyarrow.table({"text": column, "label": [1]}), tmp_path / "task.parquet")
    with pytest.raises(UserError, match=words):
        read_task(tmp_path / "task.parquet")


def test_a_parquet_file_with_two_columns_of_a_name_is_refused(tmp_path: Path) -> None:
    table = pyarrow.Table.from_arrays([_TEXTS, _INDICES, _INDICES], ["text", "label", "Label"])
    pyarrow.parquet.write_table(table, tmp_path / "task.parquet")
    with pytest.raises(UserError, match="2 columns called 'label'"):
        read_task(tmp_path / "task.parquet")


def test_a_damaged_parquet_file_is_one_sentence(tmp_path: Path) -> None:
    pyarrow.parquet.write_table(pyarrow.table({"text": ["x"] * 50, "label": [1] * 50}), tmp_path / "task.parquet")
    content = (tmp_path / "task.parquet").read_bytes()
    for part in (content[:-20], content[:4], b""):
        with pytest.raises(UserError, match=r"task\.parquet is not a complete Parquet file .* copy it again"):
            read_task(write(tmp_path, part, "task.parquet"))


def test_a_parquet_file_without_pyarrow_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UserError, match=r"needs pyarrow, .*pip install 'edge-training-suite\[parquet\]'"):
        read_task(write(tmp_path, b"PAR1", "task.parquet"))
