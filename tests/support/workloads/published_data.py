"""Data in the layouts that GLUE, SuperGLUE, WinoGrande and ARC are published in, and the examples they must give."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from workloads.tasks.labelled import LabelledText

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
    "mnli": (
        'It rained.\nCan we infer that "It was wet"? Yes, No, or Maybe?\n',
        ("Yes", "No", "Maybe"),
        [0, 2, 1],
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
