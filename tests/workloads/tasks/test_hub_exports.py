"""Files as the Hugging Face datasets library exports them, written here."""

from __future__ import annotations

from pathlib import Path

import pytest

from foundation.errors import UserError
from tests.support.workloads.hub_exports import EXPORTS, Write, write_csv, write_jsonl, write_parquet
from tests.support.workloads.published_data import check
from workloads.tasks.source import TaskSource
from workloads.tasks.task import open_task


@pytest.mark.parametrize("name", EXPORTS)
@pytest.mark.parametrize(
    ("ending", "write"),
    [("parquet", write_parquet), ("jsonl", write_jsonl), ("json", write_jsonl), ("csv", write_csv)],
    ids=["parquet", "jsonl", "json lines called json", "csv"],
)
def test_exports_of_the_datasets_library_are_recognized_and_read(
    tmp_path: Path, name: str, ending: str, write: Write
) -> None:
    columns, classes = EXPORTS[name]
    path = tmp_path / name / f"train.{ending}"
    path.parent.mkdir()
    write(columns, classes, path)
    if (name, ending) == ("arc", "csv"):  # lists become the text that Python prints for them
        with pytest.raises(UserError, match=r"has the columns id, question, choices, answerkey, which none of"):
            open_task(TaskSource(str(path)))
        return
    check(open_task(TaskSource(str(path))).examples, name)


def test_names_of_classes_tell_templates_with_the_same_columns_apart(tmp_path: Path) -> None:
    for name in ("cola", "sst2", "rte", "mrpc", "cb", "mnli"):
        path = tmp_path / "anything.parquet"
        write_parquet(*EXPORTS[name], path)
        check(open_task(TaskSource(str(path))).examples, name)


def test_columns_of_several_templates_are_not_guessed(tmp_path: Path) -> None:
    path = tmp_path / "pairs.csv"
    write_csv(EXPORTS["mrpc"][0], None, path)
    with pytest.raises(UserError, match=r"can be read with the templates mrpc, rte, wnli: choose one with --template"):
        open_task(TaskSource(str(path)))
    check(open_task(TaskSource(str(path), template="mrpc")).examples, "mrpc")


def test_numbers_that_mean_something_else_in_another_template_are_not_guessed(tmp_path: Path) -> None:
    """MNLI's 1 is neutral, CB's a contradiction; the columns and the words are the same."""
    path = tmp_path / "pairs.csv"
    write_csv(EXPORTS["mnli"][0], None, path)
    with pytest.raises(UserError, match=r"can be read with the templates cb, mnli: choose one with --template"):
        open_task(TaskSource(str(path)))
    for name in ("cb", "mnli"):
        read = open_task(TaskSource(str(path), template=name)).examples
        assert [example.right for example in read] == {"cb": [0, 1, 2], "mnli": [0, 2, 1]}[name]


def test_a_label_map_that_leaves_no_number_open_decides(tmp_path: Path) -> None:
    path = tmp_path / "pairs.csv"
    write_csv(EXPORTS["mnli"][0], None, path)
    with pytest.raises(UserError, match="can be read with the templates cb, mnli"):
        open_task(TaskSource(str(path), label_map={"0": "entailment"}))
    examples = open_task(TaskSource(str(path), label_map={"1": "neutral", "2": "contradiction"})).examples
    assert [example.right for example in examples] == [0, 2, 1]
