"""Batches as long as they need be, splits, and accuracy from losses: against computations written out here."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from foundation.errors import UserError
from workloads.models.tokenizer import byte_level_tokenizer
from workloads.tasks.batches import RowLengths, first_of_each, padded_length, split_task
from workloads.tasks.encoding import Example, RowLayout, encode_examples
from workloads.tasks.evaluation import FILLER, evaluation_batches
from workloads.tasks.source import TaskSource
from workloads.tasks.task import Task, built_in_task, open_task
from workloads.tasks.template import load_template

TOKENIZER = byte_level_tokenizer()
SST2 = load_template("sst2")


@pytest.fixture(scope="module")
def reviews() -> list[Example]:
    return encode_examples(built_in_task().examples, SST2, TOKENIZER)


def layout_of(examples: list[Example], T: int = 64) -> RowLayout:
    return RowLayout.fitting(examples, SST2, TOKENIZER, T)


def test_an_example_is_its_prompt_its_candidates_and_the_right_one() -> None:
    (example,) = encode_examples(built_in_task().examples[:1], SST2, TOKENIZER)
    assert TOKENIZER.decode(example.prompt).endswith("outstays its welcome. It was")
    assert [TOKENIZER.decode(one) for one in example.candidates] == [" terrible", " great"]
    assert (example.right, example.line) == (1, 2)


def test_candidates_of_a_row_are_encoded_behind_their_prompt(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(
        "premise,choice1,choice2,question,label\nIt was good.,I have watched it.,Not me.,effect,1\n"
    )
    task = open_task(TaskSource(str(tmp_path / "a.csv")))
    (example,) = encode_examples(task.examples, task.template, TOKENIZER)
    for candidate, text in zip(example.candidates, (" i have watched it.", " not me."), strict=True):
        assert [*example.prompt, *candidate] == TOKENIZER.encode("It was good so" + text)
    assert example.right == 1


@pytest.mark.parametrize(
    ("longest", "T", "length"),
    [(1, 64, 8), (8, 64, 8), (9, 64, 16), (63, 64, 64), (64, 64, 64), (60, 60, 60), (57, 60, 60)],
)
def test_a_batch_is_rounded_up_to_eight_but_not_above_the_longest_row(longest: int, T: int, length: int) -> None:
    assert padded_length(longest, T) == length


def test_the_rows_of_a_task_are_as_long_as_their_batches_say(reviews: list[Example]) -> None:
    """Drawn batches, one by one, have the mean length that the distribution of rows gives them, within its error."""
    layout = layout_of(reviews)
    lengths = RowLengths.of(reviews, layout, b=2)
    assert lengths.needed == tuple(64 - layout.row(example, example.right).first for example in reviews)
    generator = np.random.default_rng(3)
    longest = generator.choice(np.array(lengths.needed), (20_000, 2)).max(axis=1)
    for shorter in ((), (24,), (24, 40)):
        taken = np.array([next(each for each in (*shorter, 64) if one <= each) for one in longest])
        error = taken.std() / np.sqrt(len(taken))
        assert abs(lengths.tokens_of_a_row(shorter) - taken.mean()) <= 5 * error


def test_programs_for_shorter_rows_are_those_that_save_most() -> None:
    """Half of the batches of one row have 10 tokens, a third 30: 16 and 32 hold them, and nothing else does as well."""
    lengths = RowLengths((10,) * 3 + (30,) * 2 + (60,), b=1, T=64)
    assert lengths.shorter(steps=500) == (16, 32)
    assert lengths.tokens_of_a_row((16, 32)) == pytest.approx(16 / 2 + 32 / 3 + 64 / 6)


def test_no_program_has_rows_shorter_than_the_longest_answer() -> None:
    """Three real tokens with an answer of one would fit into 8, but another candidate of the task has 12."""
    examples = [Example((7,), ((20,), tuple(range(30, 42))), 0)] * 4
    lengths = RowLengths.of(examples, RowLayout(T=64, K=12, pad_id=0, prefix=(1,)), b=1)
    assert lengths.shorter(steps=500) == (16,)


@pytest.mark.parametrize(
    ("lengths", "steps"),
    [
        (RowLengths((10,) * 3 + (60,), b=1, T=64), 40),
        (RowLengths((10,) * 3 + (60,), b=16, T=64), 500),
        (RowLengths((63,) * 5, b=1, T=64), 500),
        (RowLengths((3,) * 5, b=1, T=8), 500),
    ],
    ids=["too few steps", "hardly a batch without a long row", "no padding", "T is the least"],
)
def test_a_program_that_would_not_pay_is_not_made(lengths: RowLengths, steps: int) -> None:
    assert lengths.shorter(steps) == ()


def test_candidates_of_one_token_share_a_row(reviews: list[Example]) -> None:
    data = evaluation_batches(reviews[:10], layout_of(reviews), rows=4)
    assert (data.candidates, len(data.batches)) == (2, 3)
    assert sorted(np.concatenate([batch.example for batch in data.batches]).tolist()) == [FILLER, FILLER, *range(10)]
    terrible, great = TOKENIZER.encode(" terrible"), TOKENIZER.encode(" great")
    assert all((batch.rows.labels == [*terrible, *great]).all() for batch in data.batches)
    lengths = [batch.rows.length for batch in data.batches]
    assert lengths == sorted(lengths)
    assert {batch.rows.length for batch in evaluation_batches(reviews, layout_of(reviews), 4, fixed=True).batches} == {
        64
    }


def test_longer_candidates_have_a_row_each() -> None:
    examples = [Example((7, 8, 9), ((20,), (21, 22)), 1), Example((5,), ((30,), (31, 32), (33, 34, 35)), 0)]
    layout = RowLayout(T=16, K=3, pad_id=0, prefix=(1,))
    data = evaluation_batches(examples, layout, rows=2)
    assert data.candidates == 1
    found = {
        (int(example), int(candidate)): (batch.rows.tokens[row].tolist(), batch.rows.labels[row].tolist())
        for batch in data.batches
        for row, (example, candidate) in enumerate(zip(batch.example, batch.candidate, strict=True))
    }
    assert found.pop((FILLER, 1), None) or found.pop((FILLER, 0), None)
    assert set(found) == {(0, 0), (0, 1), (1, 0), (1, 1), (1, 2)}
    assert found[0, 1] == ([0, 0, 0, 1, 7, 8, 9, 21], [-1, 21, 22])
    assert found[1, 2] == ([0, 0, 0, 0, 1, 5, 33, 34], [33, 34, 35])


def test_the_answer_is_the_candidate_with_the_lowest_mean_loss() -> None:
    """The second candidate of the first example has twice the summed loss, but a lower mean over its three tokens."""
    examples = [Example((7,), ((20,), (21, 22, 23)), 1), Example((5,), ((30,), (31, 32)), 1)]
    data = evaluation_batches(examples, RowLayout(T=16, K=3, pad_id=0, prefix=()), rows=3)
    sums = {(0, 0): 1.0, (0, 1): 2.0, (1, 0): 0.5, (1, 1): 1.5}
    losses = [
        [[sums.get((int(e), int(c)), np.nan) for e, c in zip(batch.example, batch.candidate, strict=True)]]
        for batch in data.batches
    ]
    accuracy, loss = data.scores(losses)
    assert accuracy == 0.5
    assert loss == pytest.approx((2.0 / 3 + 1.5 / 2) / 2)


def test_accuracy_over_shared_rows_counts_ties_by_chance_and_never_what_is_no_number(reviews: list[Example]) -> None:
    examples = [Example((7,), ((20,), (21,)), right) for right in (0, 1, 0, 0, 1)]
    data = evaluation_batches(examples, RowLayout(T=8, K=1, pad_id=0, prefix=()), rows=5)
    by_example = {0: (1.0, 2.0), 1: (1.0, 2.0), 2: (1.5, 1.5), 3: (np.nan, 1.0), 4: (np.nan, 1.0)}
    (batch,) = data.batches
    losses = np.array([by_example[int(example)] for example in batch.example]).T
    assert data.scores([losses])[0] == pytest.approx((1 + 0 + 0.5 + 0 + 1) / 5)
    with pytest.raises(ValueError, match="losses of shape"):
        data.scores([losses[:, :3]])


def test_a_split_without_a_validation_file_divides_by_seed() -> None:
    task = built_in_task()
    split = split_task(task)
    assert (len(split.train), len(split.validation)) == (86, 10)
    assert set(split.train) | set(split.validation) == set(task.examples)
    assert split_task(task) == split
    assert split_task(task, seed=1) != split
    assert len(split_task(task, held_out=40).validation) == 40


def numbered(count: int, validation: int = 0) -> Task:
    text = built_in_task().examples[0]
    lines = [type(text)(f"film {number} It was", text.candidates, number % 2, number) for number in range(count)]
    return Task("films", tuple(lines[: count - validation]), SST2, tuple(lines[count - validation :]))


def test_the_papers_split_is_the_first_thousand_of_each_file() -> None:
    task = numbered(4000, validation=1500)
    split = split_task(task, "paper")
    assert (split.train, split.validation) == (task.examples[:1000], task.validation[:1000])
    assert split_task(task).validation == task.validation
    assert split_task(task, "paper", held_out=400).validation == task.validation[:400]
    assert (len(first_of_each(task).examples), len(first_of_each(task).validation)) == (1000, 1000)


@pytest.mark.parametrize(
    ("count", "held_out", "part"), [(3, None, "validation"), (3, 3, "training"), (0, None, "training")]
)
def test_an_empty_split_is_refused(count: int, held_out: int | None, part: str) -> None:
    with pytest.raises(UserError, match=f"The {part} split of films is empty: it has {count} examples"):
        split_task(numbered(count), held_out=held_out)


def test_an_unknown_split_is_refused() -> None:
    with pytest.raises(UserError, match="Unknown split 'papers': did you mean paper"):
        split_task(numbered(30), "papers")


def test_nothing_to_evaluate_is_refused(reviews: list[Example]) -> None:
    with pytest.raises(UserError, match="no examples to evaluate"):
        evaluation_batches([], layout_of(reviews), rows=4)
