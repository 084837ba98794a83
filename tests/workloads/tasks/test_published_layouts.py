"""Files in the layouts that GLUE, SuperGLUE, WinoGrande, ARC and the Hugging Face exports have, written here."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas
import pyarrow
import pyarrow.parquet
import pytest

from foundation.errors import UserError
from workloads.tasks.labelled import LabelledText
from workloads.tasks.source import TaskSource
from workloads.tasks.task import open_task

TSV: dict[str, tuple[str, str]] = {
    "sst2": ("SST-2/train.tsv", 'sentence\tlabel\na "fine" film \t1\na dull film \t0\n'),
    "rte": (
        "RTE/train.tsv",
        "index\tsentence1\tsentence2\tlabel\n"
        '0\tThe "Fox" sank.\tA ship sank.\tentailment\n1\tIt rained.\tIt was dry.\tnot_entailment\n',
    ),
    "wnli": (
        "WNLI/dev.tsv",
        "index\tsentence1\tsentence2\tlabel\n0\tTom hit Ed as he ran.\tTom ran.\t1\n1\tI saw it.\tYou did.\t0\n",
    ),
    "mrpc": (
        "MRPC/train.tsv",
        "\ufeffQuality\t#1 ID\t#2 ID\t#1 String\t#2 String\n"
        '1\t702\t703\t"I am glad," he said.\tHe said he was glad.\n0\t704\t705\tIt rose "sharply.\tIt fell.\n',
    ),
    "qqp": (
        "QQP/train.tsv",
        "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate\n"
        "7\t1\t2\tHow do I bake?\tHow does one bake?\t1\n8\t3\t4\tWho am I?\tWho are you?\t0\n",
    ),
    "qnli": (
        "QNLI/train.tsv",
        "index\tquestion\tsentence\tlabel\n"
        "0\tWhen did it rain?\tIt rained in May.\tentailment\n1\tWhere?\tIt rained in May.\tnot_entailment\n",
    ),
    "cola": ("CoLA/train.tsv", "cj99\t1\t\tThe more the better.\ncj99\t0\t*\tMore the is.\n"),
}

JSONL: dict[str, tuple[str, Sequence[Mapping[str, Any]]]] = {
    "boolq": (
        "BoolQ/train.jsonl",
        [
            {"question": "is it wet", "passage": "Rain (A liquid) falls.", "idx": 0, "label": True},
            {"question": "is it dry", "passage": "Rain (A liquid) falls.", "idx": 1, "label": False},
        ],
    ),
    "cb": (
        "CB/train.jsonl",
        [
            {"premise": "It rained.", "hypothesis": "It was wet.", "label": "entailment", "idx": 0},
            {"premise": "It rained.", "hypothesis": "It was dry", "label": "contradiction", "idx": 1},
            {"premise": "It rained.", "hypothesis": "It was May", "label": "neutral", "idx": 2},
        ],
    ),
    "rte": (
        "RTE/train.jsonl",
        [
            {"premise": "A ship sank.", "hypothesis": "It sank.", "label": "entailment", "idx": 0},
            {"premise": "A ship sank.", "hypothesis": "It flew.", "label": "not_entailment", "idx": 1},
        ],
    ),
    "wic": (
        "WiC/train.jsonl",
        [
            {"word": "bank", "sentence1": "The bank paid.", "sentence2": "A bank closed.", "idx": 0, "label": True,
             "start1": 4, "start2": 2, "end1": 8, "end2": 6, "version": 1.1},
            {"word": "bank", "sentence1": "The bank paid.", "sentence2": "We sat on the bank.", "idx": 1,
             "label": False, "start1": 4, "start2": 14, "end1": 8, "end2": 18, "version": 1.1},
        ],
    ),
    "wsc": (
        "WSC/train.jsonl",
        [
            {"text": "Tom hit Ed as he ran.", "idx": 0, "label": label,
             "target": {"span1_index": index, "span1_text": name, "span2_index": 4, "span2_text": "he"}}
            for label, index, name in ((True, 0, "Tom"), (False, 2, "Ed"))
        ],
    ),
    "copa": (
        "COPA/train.jsonl",
        [
            {"premise": "The lawn was wet.", "choice1": "It had rained.", "choice2": "It was May.",
             "question": "cause", "label": 0, "idx": 0},
            {"premise": "I fell.", "choice1": "I laughed.", "choice2": "I limped.", "question": "effect",
             "label": 1, "idx": 1},
        ],
    ),
    "multirc": (
        "MultiRC/train.jsonl",
        [
            {"idx": 0, "version": 1.1, "passage": {"text": "Tom ran. Ed slept.", "questions": [
                {"idx": 0, "question": "Who ran?", "answers": [
                    {"text": "Tom", "idx": 0, "label": 1}, {"text": "Ed", "idx": 1, "label": 0}]},
                {"idx": 1, "question": "Who slept?", "answers": [{"text": "Ed", "idx": 2, "label": 1}]},
            ]}},
        ],
    ),
    "winogrande": (
        "winogrande_1.1/train_xl.jsonl",
        [
            {"qID": "A-1", "sentence": "The cup broke the plate as _ was hard.", "option1": "the cup",
             "option2": "the plate", "answer": "1"},
            {"qID": "A-2", "sentence": "Ann thanked Bea, since _'s help counted.", "option1": "Ann",
             "option2": "Bea", "answer": "2"},
        ],
    ),
    "arc": (
        "ARC-Easy/ARC-Easy-Train.jsonl",
        [
            {"id": "M1", "question": {"stem": "What is wet?", "choices": [
                {"text": "water", "label": "A"}, {"text": "sand", "label": "B"}, {"text": "salt", "label": "C"}]},
             "answerKey": "A"},
            {"id": "M2", "question": {"stem": "What is dry?", "choices": [
                {"text": "water", "label": "1"}, {"text": "sand", "label": "2"}]}, "answerKey": "2"},
        ],
    ),
}  # fmt: skip

#: For each layout: text and candidates of the first example, and which candidate is right in each.
EXPECTED: dict[str, tuple[str, tuple[str, ...], list[int]]] = {
    "sst2": ('a "fine" film It was', (" terrible", " great"), [1, 0]),
    "rte": (
        'The "Fox" sank.\nDoes this mean that "A ship sank" is true? Yes or No?\n',
        ("Yes", "No"),
        [0, 1],
    ),
    "wnli": (
        'Tom hit Ed as he ran.\nDoes this mean that "Tom ran" is true? Yes or No?\n',
        ("No", "Yes"),
        [1, 0],
    ),
    "mrpc": (
        '"I am glad," he said.\nHe said he was glad.\nDo these two sentences mean the same? Yes or No?\n',
        ("No", "Yes"),
        [1, 0],
    ),
    "qqp": (
        "How do I bake?\nHow does one bake?\nDo these two questions ask the same? Yes or No?\n",
        ("No", "Yes"),
        [1, 0],
    ),
    "qnli": (
        'It rained in May.\nDoes this answer the question "When did it rain?"? Yes or No?\n',
        ("Yes", "No"),
        [0, 1],
    ),
    "cola": ("The more the better. Is this sentence grammatical? Yes or No?\n", ("No", "Yes"), [1, 0]),
    "boolq": ("Rain (A liquid) falls. Is it wet?\n", ("No", "Yes"), [1, 0]),
    "cb": (
        'It rained.\nCan we infer that "It was wet"? Yes, No, or Maybe?\n',
        ("Yes", "No", "Maybe"),
        [0, 1, 2],
    ),
    "wic": (
        "The bank paid.\nA bank closed.\n"
        'Does the word "bank" have the same meaning in these two sentences? Yes or No?\n',
        ("No", "Yes"),
        [1, 0],
    ),
    "wsc": (
        'Tom hit Ed as he ran.\nIn the previous sentence, does the pronoun "he" refer to Tom? Yes or No?\n',
        ("No", "Yes"),
        [1, 0],
    ),
    "copa": ("The lawn was wet because", (" it had rained.", " it was May."), [0, 1]),
    "multirc": (
        'Tom ran. Ed slept.\nQuestion: Who ran?\nI found this answer "Tom". Is that correct? Yes or No?\n',
        ("No", "Yes"),
        [1, 0, 1],
    ),
    "winogrande": ("The cup broke the plate as", (" the cup was hard.", " the plate was hard."), [0, 1]),
    "arc": ("Question: What is wet?\nAnswer:", (" water", " sand", " salt"), [0, 1]),
}


def check(examples: tuple[LabelledText, ...], name: str) -> None:
    text, candidates, right = EXPECTED[name]
    assert (examples[0].text, examples[0].candidates) == (text, candidates)
    assert [example.right for example in examples] == right


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


#: The columns of the Hugging Face datasets `glue`, `super_glue`, `winogrande` and `ai2_arc`, with the names of classes.
EXPORTS: dict[str, tuple[dict[str, list[Any]], list[str] | None]] = {
    "sst2": (
        {"sentence": ['a "fine" film ', "a dull film"], "label": [1, 0], "idx": [0, 1]},
        ["negative", "positive"],
    ),
    "cola": (
        {"sentence": ["The more the better.", "More the is."], "label": [1, 0], "idx": [0, 1]},
        ["unacceptable", "acceptable"],
    ),
    "rte": (
        {"sentence1": ['The "Fox" sank.', "It rained."], "sentence2": ["A ship sank.", "It was dry."],
         "label": [0, 1], "idx": [0, 1]},
        ["entailment", "not_entailment"],
    ),
    "mrpc": (
        {"sentence1": ['"I am glad," he said.', "It rose."], "sentence2": ["He said he was glad.", "It fell."],
         "label": [1, 0], "idx": [0, 1]},
        ["not_equivalent", "equivalent"],
    ),
    "qqp": (
        {"question1": ["How do I bake?", "Who am I?"], "question2": ["How does one bake?", "Who are you?"],
         "label": [1, 0], "idx": [0, 1]},
        ["not_duplicate", "duplicate"],
    ),
    "qnli": (
        {"question": ["When did it rain?", "Where?"], "sentence": ["It rained in May."] * 2, "label": [0, 1],
         "idx": [0, 1]},
        ["entailment", "not_entailment"],
    ),
    "boolq": (
        {"question": ["is it wet", "is it dry"], "passage": ["Rain (A liquid) falls."] * 2, "idx": [0, 1],
         "label": [1, 0]},
        ["False", "True"],
    ),
    "cb": (
        {"premise": ["It rained."] * 3, "hypothesis": ["It was wet.", "It was dry.", "It was May."],
         "idx": [0, 1, 2], "label": [0, 1, 2]},
        ["entailment", "contradiction", "neutral"],
    ),
    "wic": (
        {"word": ["bank"] * 2, "sentence1": ["The bank paid."] * 2, "sentence2": ["A bank closed.", "Go to the bank."],
         "start1": [4, 4], "start2": [2, 10], "end1": [8, 8], "end2": [6, 14], "idx": [0, 1], "label": [1, 0]},
        ["False", "True"],
    ),
    "wsc": (
        {"text": ["Tom hit Ed as he ran."] * 2, "span1_index": [0, 2], "span2_index": [4, 4],
         "span1_text": ["Tom", "Ed"], "span2_text": ["he", "he"], "idx": [0, 1], "label": [1, 0]},
        ["False", "True"],
    ),
    "copa": (
        {"premise": ["The lawn was wet.", "I fell."], "choice1": ["It had rained.", "I laughed."],
         "choice2": ["It was May.", "I limped."], "question": ["cause", "effect"], "idx": [0, 1], "label": [0, 1]},
        ["choice1", "choice2"],
    ),
    "multirc": (
        {"paragraph": ["Tom ran. Ed slept."] * 3, "question": ["Who ran?", "Who ran?", "Who slept?"],
         "answer": ["Tom", "Ed", "Ed"], "idx": [{"paragraph": 0, "question": 0, "answer": n} for n in range(3)],
         "label": [1, 0, 1]},
        ["False", "True"],
    ),
    "winogrande": (
        {"sentence": ["The cup broke the plate as _ was hard.", "Ann thanked Bea, since _'s help counted."],
         "option1": ["the cup", "Ann"], "option2": ["the plate", "Bea"], "answer": ["1", "2"]},
        None,
    ),
    "arc": (
        {"id": ["M1", "M2"], "question": ["What is wet?", "What is dry?"],
         "choices": [{"text": ["water", "sand", "salt"], "label": ["A", "B", "C"]},
                     {"text": ["water", "sand"], "label": ["1", "2"]}],
         "answerKey": ["A", "2"]},
        None,
    ),
}  # fmt: skip

Write = Callable[[dict[str, list[Any]], list[str] | None, Path], None]


def write_parquet(columns: dict[str, list[Any]], classes: list[str] | None, path: Path) -> None:
    table = pyarrow.table(columns)
    features: dict[str, Any] = {name: {"dtype": "string", "_type": "Value"} for name in columns}
    if classes is not None:
        features["label"] = {"names": classes, "_type": "ClassLabel"}
    pyarrow.parquet.write_table(
        table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})}), path
    )


def write_jsonl(columns: dict[str, list[Any]], classes: list[str] | None, path: Path) -> None:
    pandas.DataFrame(columns).to_json(path, orient="records", lines=True)


def write_csv(columns: dict[str, list[Any]], classes: list[str] | None, path: Path) -> None:
    pandas.DataFrame(columns).to_csv(path, index=False)


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
    for name in ("cola", "sst2", "rte", "mrpc"):
        path = tmp_path / "anything.parquet"
        write_parquet(*EXPORTS[name], path)
        check(open_task(TaskSource(str(path))).examples, name)


def test_columns_of_several_templates_are_not_guessed(tmp_path: Path) -> None:
    path = tmp_path / "pairs.csv"
    write_csv(EXPORTS["mrpc"][0], None, path)
    with pytest.raises(UserError, match=r"can be read with the templates mrpc, rte, wnli: choose one with --template"):
        open_task(TaskSource(str(path)))
    check(open_task(TaskSource(str(path), template="mrpc")).examples, "mrpc")


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
