"""Files in the layouts that GLUE, SuperGLUE, WinoGrande and ARC have, written here."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from foundation.errors import UserError
from tests.support.workloads.published_data import JSONL, TSV, check
from workloads.tasks.source import TaskSource
from workloads.tasks.task import open_task


@pytest.mark.parametrize("name", TSV)
def test_glue_is_recognized_and_read(tmp_path: Path, name: str) -> None:
    file, text = TSV[name]
    path = tmp_path / file
    path.parent.mkdir()
    path.write_text(text, encoding="utf-8")
    check(open_task(TaskSource(str(path))).examples, name)


@pytest.mark.parametrize("name", JSONL)
def test_superglue_winogrande_and_arc_are_recognized_and_read(tmp_path: Path, name: str) -> None:
    file, entries = JSONL[name]
    path = tmp_path / file
    path.parent.mkdir()
    path.write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    examples = open_task(TaskSource(str(path))).examples
    if name == "rte":
        assert [example.right for example in examples] == [0, 1]
        assert examples[0].text.startswith('A ship sank.\nDoes this mean that "It sank" is true?')
    else:
        check(examples, name)


def test_the_rest_of_a_winogrande_sentence_belongs_to_its_candidates(tmp_path: Path) -> None:
    path = tmp_path / "winogrande.jsonl"
    path.write_text("".join(json.dumps(entry) + "\n" for entry in JSONL["winogrande"][1]))
    second = open_task(TaskSource(str(path))).examples[1]
    assert second.text == "Ann thanked Bea, since"
    assert second.candidates == (" Ann's help counted.", " Bea's help counted.")


def test_a_question_is_never_left_out(tmp_path: Path) -> None:
    """A sentence of QNLI is no answer without its question; the template of sentences alone must not read it."""
    path = tmp_path / "pairs.jsonl"
    path.write_text('{"question": "When?", "sentence": "In May.", "label": 1}\n')
    (example,) = open_task(TaskSource(str(path))).examples
    assert "When?" in example.text
    assert "In May." in example.text
    with pytest.raises(UserError, match=r"columns that the template sst2 does not use \(question\)"):
        open_task(TaskSource(str(path), template="sst2"))


def test_a_test_split_without_labels_is_refused(tmp_path: Path) -> None:
    for name, text in {
        "glue.tsv": "index\tsentence1\tsentence2\n0\ta\tb\n",
        "cola.tsv": "index\tsentence\n0\tThe more.\n",
        "superglue.jsonl": '{"question": "is it", "passage": "It is.", "idx": 0}\n',
        "hub.csv": "sentence,label,idx\na film,-1,0\n",
    }.items():
        path = tmp_path / name
        path.write_text(text)
        with pytest.raises(UserError, match=r"has no labels.*(use a split with a label|use the training or)"):
            open_task(TaskSource(str(path)))
