"""Folders and files of training and validation data."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from foundation.errors import UserError
from tests.support.workloads.hub_exports import EXPORTS, write_parquet
from tests.support.workloads.published_data import JSONL, TSV
from workloads.tasks.source import TaskSource
from workloads.tasks.task import open_task

FOLDERS: dict[str, tuple[str, str]] = {
    "glue": ("train.tsv", "dev.tsv"),
    "superglue": ("train.jsonl", "val.jsonl"),
    "hub": ("train-00000-of-00001.parquet", "validation-00000-of-00001.parquet"),
    "arc": ("ARC-Easy-Train.jsonl", "ARC-Easy-Dev.jsonl"),
    "mrpc": ("msr_paraphrase_train.txt", "msr_paraphrase_test.txt"),
}


@pytest.mark.parametrize("layout", FOLDERS)
def test_a_folder_gives_training_and_validation_files(tmp_path: Path, layout: str) -> None:
    for file in FOLDERS[layout]:
        path = tmp_path / file
        if layout == "glue":
            path.write_text(TSV["qnli"][1])
        elif layout == "hub":
            write_parquet(*EXPORTS["qnli"], path)
        elif layout == "mrpc":
            path.write_text(TSV["mrpc"][1])
        else:
            name = "boolq" if layout == "superglue" else "arc"
            path.write_text("".join(json.dumps(entry) + "\n" for entry in JSONL[name][1]))
    task = open_task(TaskSource(str(tmp_path)))
    assert task.name == tmp_path.name
    assert len(task.examples) == len(task.validation) == 2


def test_pieces_of_a_published_file_are_joined(tmp_path: Path) -> None:
    for number in range(3):
        write_parquet(*EXPORTS["qnli"], tmp_path / f"train-{number:05}-of-00003.parquet")
    assert len(open_task(TaskSource(str(tmp_path))).examples) == 6


@pytest.mark.parametrize("pattern", ["", ".", "/train.tsv", "**x", "[", "../*"])
def test_a_pattern_that_is_no_file_name_finds_nothing(tmp_path: Path, pattern: str) -> None:
    (tmp_path / "own.yaml").write_text(
        "fields: {text: text}\nprompt: '{text} is'\ncandidates: {a: ' a', b: ' b'}\n"
        f"splits: {{train: ['{pattern}']}}\n"
    )
    (tmp_path / "train.tsv").write_text("text\tlabel\nx\ta\n")
    with pytest.raises(UserError, match=r"has no train file, .*data files: train\.tsv"):
        open_task(TaskSource(str(tmp_path), template=str(tmp_path / "own.yaml")))


def test_a_folder_with_two_training_files_is_not_guessed(tmp_path: Path) -> None:
    for name in ("train.tsv", "train.csv"):
        (tmp_path / name).write_text("")
    with pytest.raises(UserError, match=r"has 2 train files \(train.csv, train.tsv\): name the one to use"):
        open_task(TaskSource(str(tmp_path)))


def test_a_validation_file_can_be_named(tmp_path: Path) -> None:
    for name, text in (("a.tsv", "good\t1\nbad\t0\n"), ("b.csv", "text,label\nfine,1\n")):
        (tmp_path / name).write_text(text)
    task = open_task(TaskSource(str(tmp_path / "a.tsv"), validation=str(tmp_path / "b.csv")))
    assert [example.text for example in task.validation] == ["fine It was"]
