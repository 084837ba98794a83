"""Task files: both formats, and every way in which they can be wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from foundation.errors import UserError
from workloads.tasks.task import Template, built_in_task, read_task


def write(tmp_path: Path, content: str | bytes, name: str = "task.tsv") -> Path:
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def rows(path: Path) -> list[tuple[str, int]]:
    return [(example.text, example.label) for example in read_task(path).examples]


EXPECTED = [("a fine film", 1), ("a bad film", 0)]


@pytest.mark.parametrize(
    "content",
    [
        "sentence\tlabel\na fine film \t1\na bad film\t0\n",
        "a fine film\t1\na bad film\t0",
        "\ufeffsentence\tlabel\r\na fine film\t1\r\n\r\na bad film\t0\r\n",
        "label\tindex\ttext\n1\t7\ta fine film\nnegative\t8\ta bad film\n",
        "Sentence\tLabel\na fine film\tPositive\na bad film\tnegative\n",
    ],
    ids=["glue", "no header", "windows", "other columns", "words"],
)
def test_tsv_forms_read_alike(tmp_path: Path, content: str) -> None:
    assert rows(write(tmp_path, content)) == EXPECTED


def test_jsonl_takes_numbers_and_words(tmp_path: Path) -> None:
    content = '{"text": "a fine film", "label": 1}\n\n{"sentence": "a bad film", "label": "negative", "idx": 4}\n'
    assert rows(write(tmp_path, content, "task.jsonl")) == EXPECTED


def test_quotes_and_unusual_line_separators_belong_to_the_text(tmp_path: Path) -> None:
    path = write(tmp_path, 'sentence\tlabel\n"so\u2028 good\t1\n')
    assert rows(path) == [('"so\u2028 good', 1)]


def test_task_is_named_after_its_file_and_hashed_by_its_content(tmp_path: Path) -> None:
    first = read_task(write(tmp_path, "fine\t1\n", "one.tsv"))
    second = read_task(write(tmp_path, '{"text": "fine", "label": 1}', "two.jsonl"))
    other = read_task(write(tmp_path, "fine\t0\n", "three.tsv"))
    assert (first.name, second.name) == ("one", "two")
    assert first.sha256 == second.sha256 != other.sha256


def test_other_classes_need_only_a_template(tmp_path: Path) -> None:
    template = Template(" Topic:", (" sport", " money", " art"), {"s": 0, "m": 1, "a": 2})
    task = read_task(write(tmp_path, "goal\ts\nshare\tm\npaint\ta\n"), template)
    assert [example.label for example in task.examples] == [0, 1, 2]


def test_built_in_reviews_are_many_different_and_balanced() -> None:
    examples = built_in_task().examples
    assert len(examples) >= 64
    assert len({example.text for example in examples}) == len(examples)
    assert sum(example.label for example in examples) * 2 == len(examples)


BAD_TSV = {
    "empty": ("", "has no examples"),
    "header only": ("sentence\tlabel\n", "has no examples"),
    "no label column": ("index\tsentence\n0\tgood\n", r"has no labels, only the columns index, sentence"),
    "one column": ("good\nbad\n", "has no labels, only one column"),
    "labels left empty": ("sentence\tlabel\ngood\t-1\nbad\t-1\n", "has no labels in its 2 rows"),
    "unknown label": (
        "good\t1\nso so\t2\nbad\t3\n",
        "has an unknown label in 2 of 3 rows, the first is '2' in line 2",
    ),
    "some labels left empty": ("good\t1\nbad\t\n", "has an unknown label in 1 of 2 rows, the first is '' in line 2"),
    "more columns": ("sentence\tlabel\ngood\t1\nb\ta\td\t0\n", "line 3 has 4 tab-separated columns instead of 2"),
    "no text": ("sentence\tlabel\ngood\t1\n \t0\n", "has no text in 1 of 2 rows, the first is line 3"),
}


@pytest.mark.parametrize("case", BAD_TSV)
def test_bad_tsv_is_refused_with_the_line(tmp_path: Path, case: str) -> None:
    content, message = BAD_TSV[case]
    with pytest.raises(UserError, match=message):
        read_task(write(tmp_path, content))


BAD_JSONL = {
    "empty": ("\n", "has no examples"),
    "cut off": ('{"text": "good", "label": 1}\n{"text": "ba', "line 2 is not JSON"),
    "nested beyond reason": ("[" * 100_000, "line 1 is not JSON"),
    "no object": ("[1]\n", "line 1 should be an object"),
    "no text": ('{"label": 1}\n', "line 1 should be an object"),
    "text is a number": ('{"text": 5, "label": 1}\n', "line 1 should be an object"),
    "half a surrogate pair": ('{"text": "\\ud800", "label": 1}\n', "line 1 should be an object"),
    "no labels": ('{"text": "good"}\n', "has no labels in its 1 rows"),
    "label is true": (
        '{"text": "good", "label": true}\n',
        "label in line 1 should be a string or a whole number, not True",
    ),
    "label is a list": ('{"text": "good", "label": [1]}\n', "label in line 1"),
}


@pytest.mark.parametrize("case", BAD_JSONL)
def test_bad_jsonl_is_refused_with_the_line(tmp_path: Path, case: str) -> None:
    content, message = BAD_JSONL[case]
    with pytest.raises(UserError, match=message):
        read_task(write(tmp_path, content, "task.jsonl"))


def test_other_encoding_is_refused_with_the_byte(tmp_path: Path) -> None:
    path = write(tmp_path, "sentence\tlabel\ncaf\xe9\t1\n".encode("latin-1"))
    with pytest.raises(UserError, match=r"is not UTF-8 .byte 0xe9 at offset 18."):
        read_task(path)


def test_other_ending_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"ends in '.csv': a task is a .tsv or a .jsonl file"):
        read_task(write(tmp_path, "good,1\n", "task.csv"))


@pytest.mark.parametrize("name", ["absent.tsv", "folder.tsv"])
def test_file_that_can_not_be_read_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder.tsv").mkdir()
    with pytest.raises(UserError, match=f"{name} can't be read"):
        read_task(tmp_path / name)


@pytest.mark.parametrize(
    "arguments",
    [
        {"suffix": ""},
        {"answers": (" great",)},
        {"answers": (" great", " great")},
        {"answers": (" great", "")},
        {"answers": (" a", " b", " c")},
    ],
)
def test_ambiguous_template_is_refused(arguments: dict[str, object]) -> None:
    with pytest.raises(UserError):
        Template(**arguments)  # type: ignore[arg-type]


def test_error_about_a_label_is_a_single_line(tmp_path: Path) -> None:
    path = write(tmp_path, json.dumps({"text": "x", "label": "y\n" * 5000}), "task.jsonl")
    with pytest.raises(UserError) as caught:
        read_task(path)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400
