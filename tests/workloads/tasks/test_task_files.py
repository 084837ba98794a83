"""Task files: both formats, and every way in which they can be wrong."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pandas
import pytest

from foundation.errors import UserError
from workloads.tasks.source import TaskSource, parse_label_map
from workloads.tasks.task import Task, built_in_task, open_task


def write(tmp_path: Path, content: str | bytes, name: str = "task.tsv") -> Path:
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def read_task(path: Path, **how: Any) -> Task:
    return open_task(TaskSource(str(path), **how))


def rows(path: Path, **how: Any) -> list[tuple[str, int]]:
    """The sentences without the prompt, and which candidate is right: 1 for a friendly one."""
    examples = read_task(path, **how).examples
    assert all(example.text.endswith(" It was") for example in examples)
    return [(example.text.removesuffix(" It was"), example.right) for example in examples]


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
    template = write(
        tmp_path,
        "fields: {text: headline}\nlabel: topic\nprompt: '{text} Topic:'\n"
        "candidates: {s: ' sport', m: ' money', a: ' art'}\n",
        "topics.yaml",
    )
    path = write(tmp_path, "topic\theadline\ns\tgoal\nm\tshare\na\tpaint\n")
    examples = read_task(path, template=str(template)).examples
    assert [example.right for example in examples] == [0, 1, 2]
    assert examples[0].text == "goal Topic:"
    assert examples[0].candidates == (" sport", " money", " art")


def test_built_in_reviews_are_many_different_and_balanced() -> None:
    examples = built_in_task().examples
    assert len(examples) >= 64
    assert len({example.text for example in examples}) == len(examples)
    assert sum(example.right for example in examples) * 2 == len(examples)


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
    "more columns": ("sentence\tlabel\ngood\t1\nb\ta\td\t0\n", "line 3 has 4 columns instead of 2"),
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
    "no object": ("[1]\n", r"line 1 should be an object, such as .*, not \[1\]"),
    "no text": ('{"label": 1}\n', "has the columns label, which none of the templates .* reads"),
    "no text in one line": (
        '{"text": "good", "label": 1}\n{"label": 1}\n',
        "line 2 has no sentence or text or review: add it",
    ),
    "text is a number": ('{"text": 5, "label": 1}\n', "text in line 1 should be text, not 5"),
    "half a surrogate pair": ('{"text": "\\ud800", "label": 1}\n', "line 1 is not JSON"),
    "no labels": ('{"text": "good"}\n', "has no labels, only the columns text: use a split with a label column"),
    "empty labels": ('{"text": "good", "label": null}\n', "has no labels in its 1 rows"),
    "label is a list": ('{"text": "good", "label": [1]}\n', "the label in line 1 should be a word or a number"),
    "label is a fraction": ('{"text": "good", "label": 0.5}\n', "unknown label in 1 of 1 rows, the first is '0.5'"),
    "label is true": ('{"text": "good", "label": true}\n', "the first is 'true' in line 1: .* --label-map"),
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
    with pytest.raises(UserError, match=r"ends with '.xlsx': a task is a .tsv, .csv, .jsonl, .json or .parquet file"):
        read_task(write(tmp_path, "good,1\n", "task.xlsx"))


@pytest.mark.parametrize("ending", ["tsv", "csv", "json", "jsonl", "parquet"])
def test_file_that_can_not_be_read_is_named(tmp_path: Path, ending: str) -> None:
    with pytest.raises(UserError, match=rf"absent\.{ending} can't be read"):
        read_task(tmp_path / f"absent.{ending}")


WITH_QUOTES = 'He said "great" film'


@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC])
@pytest.mark.parametrize("header", [True, False])
def test_a_tsv_of_pandas_is_read_as_it_was_written(tmp_path: Path, quoting: int, header: bool) -> None:
    texts = [WITH_QUOTES, "plain", "a\ttab", 'two\nlines "here"', '"quoted"', "it's"]
    frame = pandas.DataFrame({"sentence": texts, "label": [1, 0, 1, 0, 1, 0]})
    frame.to_csv(tmp_path / "task.tsv", sep="\t", index=False, header=header, quoting=quoting)
    assert rows(tmp_path / "task.tsv") == list(zip(texts, [1, 0, 1, 0, 1, 0], strict=True))


RAW = {
    "a quotation": '"A fine film," he said\t1',
    "quoted throughout": '"a fine film"\t1',
    "quotes in the middle": 'He said "great" film\t1',
    "a quote that never ends": '"so good\t1',
    "an end without a beginning": 'so good"\t1',
    "an inch sign": 'a 7" reel\t1',
    "doubled and single": '"a ""great"" film" indeed\t1',
}


@pytest.mark.parametrize("line", RAW.values(), ids=RAW.keys())
@pytest.mark.parametrize("header", ["sentence\tlabel\n", ""])
def test_quotation_marks_of_glue_are_characters_of_the_text(tmp_path: Path, line: str, header: str) -> None:
    """GLUE's own reader is csv with QUOTE_NONE."""
    path = write(tmp_path, f"{header}plain\t0\n{line}\nplain too\t0\n")
    expected = list(csv.reader(path.read_text().splitlines(), delimiter="\t", quoting=csv.QUOTE_NONE))[bool(header) :]
    assert rows(path) == [(text, int(label)) for text, label in expected]


def test_quotation_marks_of_two_lines_are_not_one_text(tmp_path: Path) -> None:
    path = write(tmp_path, 'sentence\tlabel\n"so good\t1\nplain\t0\nhe said bad"\t0\n')
    assert rows(path) == [('"so good', 1), ("plain", 0), ('he said bad"', 0)]


def test_a_few_damaged_rows_of_a_large_file_are_left_out_and_counted(tmp_path: Path) -> None:
    """As in GLUE's QQP, where a question with a line's end breaks its row."""
    lines = [f"film number {index}\t{index % 2}" for index in range(2500)]
    lines[700] = "broken"
    task = read_task(write(tmp_path, "sentence\tlabel\n" + "\n".join(lines) + "\n"))
    assert len(task.examples) == 2499
    assert task.notes == (
        f"1 of 2500 rows of {tmp_path / 'task.tsv'} differ in columns and are left out, first line 702",
    )


@pytest.mark.parametrize("sep", [",", ";", "\t", "|"])
def test_csv_is_read_with_the_delimiter_of_its_header(tmp_path: Path, sep: str) -> None:
    frame = pandas.DataFrame({"text": [WITH_QUOTES, "a; b, c|d"], "label": [1.0, 0.0]})
    frame.to_csv(tmp_path / "task.csv", sep=sep)
    assert rows(tmp_path / "task.csv") == [(WITH_QUOTES, 1), ("a; b, c|d", 0)]


def test_a_quotation_mark_of_a_csv_that_is_never_closed_is_refused_with_the_line(tmp_path: Path) -> None:
    path = write(tmp_path, 'text,label\nfine,1\n"so good,1\nbad,0\n', "task.csv")
    with pytest.raises(UserError, match="the row that starts in line 3 is not valid CSV"):
        read_task(path)


TWO = [{"text": "a fine film", "label": 1}, {"text": "a bad film", "label": 0}]


@pytest.mark.parametrize(
    "document",
    [
        TWO,
        {"data": TWO},
        {"text": ["a fine film", "a bad film"], "label": [1, 0]},
        json.loads(pandas.DataFrame(TWO).to_json()),
        json.loads(pandas.DataFrame(TWO).to_json(orient="split")),
        json.loads(pandas.DataFrame(TWO).to_json(orient="index")),
        json.loads(pandas.DataFrame(TWO).to_json(orient="table")),
    ],
    ids=["records", "data", "lists", "columns", "split", "index", "table"],
)
def test_every_shape_of_a_json_document_reads_alike(tmp_path: Path, document: object) -> None:
    assert rows(write(tmp_path, json.dumps(document), "task.json")) == EXPECTED


@pytest.mark.parametrize(
    ("document", "words"),
    [
        (7, "has no list of objects"),
        ({"text": ["a", "b", "c"], "label": [1]}, r"has lists of different lengths \(3, 1\)"),
        ({"text": {"0": "a"}, "label": {"0": 1, "1": 0}}, "has no text in 1 of 2 rows"),
        ({"columns": ["text", "label"], "data": [["a", 1], ["b"]]}, "not all lists of 2 values, as `columns` has"),
        ({"columns": ["text", "label"], "data": [["a", 1], {"text": "b"}]}, "not all lists of 2 values"),
        ({"columns": [["text", "x"], ["label", "y"]], "data": [["a", 1]]}, "which none of the templates"),
        ({"data": [TWO[0], None]}, "entry 2 should be an object"),
    ],
)
def test_no_value_of_a_json_document_is_dropped_in_silence(tmp_path: Path, document: object, words: str) -> None:
    with pytest.raises(UserError, match=words):
        read_task(write(tmp_path, json.dumps(document), "task.json"))


def test_an_item_that_is_no_object_is_not_passed_over(tmp_path: Path) -> None:
    answers = [{"text": "Tom", "label": 1}, "Ed"]
    entry = {"passage": {"text": "Tom ran.", "questions": [{"question": "Who ran?", "answers": answers}]}}
    with pytest.raises(UserError, match=r"does not use \(passage\.questions\.answers\)"):
        read_task(write(tmp_path, json.dumps(entry), "task.jsonl"))


def test_json_lines_called_json_are_read_and_their_mistakes_have_a_line(tmp_path: Path) -> None:
    lines = "".join(json.dumps(row) + "\n" for row in TWO)
    assert rows(write(tmp_path, lines, "task.json")) == EXPECTED
    with pytest.raises(UserError, match="line 3 is not JSON"):
        read_task(write(tmp_path, lines + "{", "task.json"))


LABELS = {"number": [1, 0], "float": [1.0, 0.0], "text": ["1", "0"], "float text": ["1.0", "0.0"]}


@pytest.mark.parametrize("labels", LABELS.values(), ids=LABELS.keys())
@pytest.mark.parametrize("ending", [".csv", ".tsv", ".jsonl", ".parquet"])
def test_a_label_may_be_a_whole_float(tmp_path: Path, labels: list[Any], ending: str) -> None:
    frame = pandas.DataFrame({"text": ["a fine film", "a bad film"], "label": labels})
    path = tmp_path / f"task{ending}"
    writers = {
        ".csv": lambda: frame.to_csv(path, index=False),
        ".tsv": lambda: frame.to_csv(path, sep="\t", index=False),
        ".jsonl": lambda: frame.to_json(path, orient="records", lines=True),
        ".parquet": lambda: frame.to_parquet(path),
    }
    writers[ending]()
    assert rows(path) == EXPECTED


def test_labels_are_read_as_the_user_says(tmp_path: Path) -> None:
    path = write(tmp_path, "text,label\na fine film,thumbs up\na bad film,2\n", "task.csv")
    with pytest.raises(UserError, match=r"label in 2 of 2 rows, the first is 'thumbs up' in line 2: .*--label-map"):
        read_task(path)
    assert rows(path, label_map={"thumbs up": "positive", "2": "negative"}) == EXPECTED
    with pytest.raises(UserError, match=r"--label-map reads '2' as 'bad', .* choose from negative, positive"):
        read_task(path, label_map={"2": "bad"})


def test_a_label_map_can_swap_what_the_template_says(tmp_path: Path) -> None:
    path = write(tmp_path, "text,label\na fine film,0\na bad film,1\n", "task.csv")
    for pairs in (["0=positive", "1=negative"], ["0.0=Positive", "1.0=NEGATIVE"]):
        assert rows(path, label_map=parse_label_map(pairs)) == EXPECTED


def test_a_column_that_no_template_uses_is_refused_unless_the_user_says_it_does_not_matter(tmp_path: Path) -> None:
    path = write(tmp_path, "date,text,label\n1999,a fine film,1\n2000,a bad film,0\n", "task.csv")
    with pytest.raises(UserError, match=r"1 columns that the template sst2 does not use \(date\): .*--ignore-columns"):
        read_task(path)
    with pytest.raises(UserError, match=r"the template sst2 does not use \(date\)"):
        read_task(path, template="sst2")
    assert rows(path, ignored_columns=("Date",)) == EXPECTED


def test_columns_that_only_number_the_rows_are_passed_over(tmp_path: Path) -> None:
    path = write(tmp_path, "Unnamed: 0,idx,text,label\n0,7,a fine film,1\n1,8,a bad film,0\n", "task.csv")
    assert rows(path) == EXPECTED


def test_an_unknown_header_is_not_data(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"unknown label .* 'intent' in line 1: .* name the columns in a header"):
        read_task(write(tmp_path, "utterance\tintent\ngood\t1\n"))
    with pytest.raises(UserError, match="has no labels, only the columns sentence, polarity"):
        read_task(write(tmp_path, "sentence\tpolarity\ngood\t1\n"))


def test_a_text_that_is_called_like_a_column_is_no_header(tmp_path: Path) -> None:
    assert rows(write(tmp_path, "text\t1\nlabel\t0\n")) == [("text", 1), ("label", 0)]


def test_two_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has 2 columns called 'text'"):
        read_task(write(tmp_path, "text,Text,label\na,b,1\n", "task.csv"))


def test_error_about_a_label_is_a_single_line(tmp_path: Path) -> None:
    path = write(tmp_path, json.dumps({"text": "x", "label": "y\n" * 5000}), "task.jsonl")
    with pytest.raises(UserError) as caught:
        read_task(path)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400
