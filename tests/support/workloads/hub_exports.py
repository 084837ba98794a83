"""The same data as the Hugging Face datasets library holds and exports it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas
import pyarrow
import pyarrow.parquet

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
    "mnli": (
        {"premise": ["It rained."] * 3, "hypothesis": ["It was wet.", "It was May.", "It was dry."],
         "label": [0, 1, 2], "idx": [0, 1, 2]},
        ["entailment", "neutral", "contradiction"],
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
