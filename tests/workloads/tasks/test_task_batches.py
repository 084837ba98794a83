"""Rows and batches of one shape: padding, cutting, labels and order."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foundation.errors import UserError
from workloads.models.tokenizer import byte_level_tokenizer
from workloads.tasks.batches import batches, shuffled
from workloads.tasks.encoding import Example, RowLayout, encode_examples
from workloads.tasks.labelled import LabelledText
from workloads.tasks.task import Task, built_in_task
from workloads.tasks.template import Template, load_template

TOKENIZER = byte_level_tokenizer()
SST2 = load_template("sst2")


def with_answers(*answers: str, tail: str = " It was") -> Template:
    candidates = dict(zip(("negative", "positive"), answers, strict=True))
    return Template.model_validate({**SST2.model_dump(), "prompt": "{sentence}" + tail, "candidates": candidates})


#: One token and six tokens, so that rows differ in how many labels they have.
UNEVEN = with_answers(" terrible", " xyzzy")


def task(*texts: str, template: Template = SST2) -> Task:
    candidates = template.constants
    assert candidates is not None
    return Task(
        "test",
        tuple(LabelledText(text + template.tail, candidates, index % 2, index + 1) for index, text in enumerate(texts)),
        template,
    )


def encoded(text: str, template: Template = UNEVEN) -> Example:
    (example,) = encode_examples(task(text, template=template).examples, template, TOKENIZER)
    return example


@settings(deadline=None)
@given(text=st.text(min_size=1), label=st.integers(0, 1), T=st.integers(12, 80))
def test_rows_are_padding_then_prefix_text_prompt_and_answer(text: str, label: int, T: int) -> None:
    text = text.strip() or "x"
    example = encoded(text)
    layout = RowLayout.fitting([example], UNEVEN, TOKENIZER, T)
    row = layout.row(example, label)
    ids, answer = TOKENIZER.encode(text), TOKENIZER.encode(list(UNEVEN.candidates.values())[label])
    real = row.tokens[row.first :]
    assert len(row.tokens) == T
    assert row.tokens[: row.first] == [TOKENIZER.pad_id] * row.first
    assert real[0] == TOKENIZER.bos_id
    ending = TOKENIZER.encode(" It was") + answer[:-1]
    assert real[-len(ending) :] == ending
    kept = real[1 : -len(ending)]
    assert kept == ids[len(ids) - len(kept) :]
    assert row.truncated == (len(kept) < len(ids))
    assert not row.truncated or row.first == 0
    assert row.labels == [-1] * (layout.K - len(answer)) + answer


@settings(deadline=None)
@given(text=st.text(min_size=1), label=st.integers(0, 1))
def test_each_label_is_the_token_after_its_position(text: str, label: int) -> None:
    example = encoded(text)
    layout = RowLayout.fitting([example], UNEVEN, TOKENIZER, 64)
    row = layout.row(example, label)
    following = [*row.tokens[1:], TOKENIZER.encode(list(UNEVEN.candidates.values())[label])[-1]]
    for predicted, expected in zip(row.labels, following[-layout.K :], strict=True):
        assert predicted in (-1, expected)


def test_batches_have_the_shapes_and_types_of_the_contract() -> None:
    uneven = Task("uneven", built_in_task().examples, UNEVEN)
    data = batches(uneven, TOKENIZER, b=4, T=64, count=6, seed=0)
    assert (data.tokens.shape, data.first.shape, data.labels.shape) == ((6, 4, 64), (6, 4), (6, 4, 6))
    assert {array.dtype for array in (data.tokens, data.first, data.labels)} == {np.dtype(np.int64)}
    last = [TOKENIZER.encode(answer)[-1] for answer in UNEVEN.candidates.values()]
    assert [row[-1] for row in data.labels.reshape(-1, 6)] == [last[c] for c in data.classes.reshape(-1)]
    assert data.candidates == 1
    assert batches(built_in_task(), TOKENIZER, b=4, T=64, count=1, seed=0).candidates == 2


def test_text_can_be_decoded_from_a_row() -> None:
    one = task("A quiet wonder.")
    data = batches(one, TOKENIZER, b=1, T=64, count=1, seed=0)
    assert TOKENIZER.decode(data.tokens[0, 0].tolist()) == "A quiet wonder. It was"


def test_truncated_rows_are_counted_once_however_often_they_occur() -> None:
    data = batches(task("short", "long " * 30, "long " * 40), TOKENIZER, b=3, T=24, count=4, seed=0)
    assert (data.rows, data.truncated_rows) == (3, 2)
    assert (data.first >= 0).all()


def test_every_example_comes_once_before_any_comes_again() -> None:
    order = shuffled(10, 25, seed=3)
    assert sorted(order[:10]) == sorted(order[10:20]) == list(range(10))
    assert order[:10] != order[10:20]
    assert shuffled(10, 10, seed=3, first_epoch=1) == order[10:20]


def test_order_never_changes() -> None:
    """The hash is that of every version before templates: programs' reference losses are stored under it."""
    assert shuffled(8, 8, seed=0) == [4, 2, 6, 0, 7, 5, 1, 3]
    data = batches(built_in_task(), TOKENIZER, b=4, T=32, count=3, seed=5)
    assert data.sha256 == "e868a6cb680dc44a0c1a6aa4a32bb54b858dc03ba2a04c7073d4a69749deb4b0"


def test_same_seed_same_batches_and_other_seed_other_batches() -> None:
    one, same, other = (batches(built_in_task(), TOKENIZER, 4, 32, 3, seed).sha256 for seed in (1, 1, 2))
    assert one == same != other


def test_shortest_possible_length_works_and_one_less_is_refused_with_the_number() -> None:
    built = built_in_task()
    data = batches(built, TOKENIZER, b=2, T=4, count=2, seed=0)
    assert data.tokens.shape == (2, 2, 4)
    with pytest.raises(UserError, match=r"T is 3, but the prompt ' It was' .* use T=4 or more"):
        batches(built, TOKENIZER, b=2, T=3, count=2, seed=0)


@pytest.mark.parametrize(
    ("b", "T", "count", "message"),
    [(0, 64, 1, "b is 0"), (1, 0, 1, "T is 0"), (1, -5, 1, "T is -5"), (1, 64, 0, "the number of batches is 0")],
)
def test_sizes_below_one_are_refused(b: int, T: int, count: int, message: str) -> None:
    with pytest.raises(UserError, match=message):
        batches(built_in_task(), TOKENIZER, b, T, count, seed=0)


def test_prompt_that_merges_with_the_text_is_refused() -> None:
    merging = with_answers("t", "d", tail=" grea")
    with pytest.raises(UserError, match="start the prompt and the answers with a space"):
        batches(task("x", template=merging), TOKENIZER, 1, 32, 1, 0)


def test_a_candidate_longer_than_the_programs_answer_is_refused_with_both_lengths() -> None:
    long = Task("long", task("x", template=UNEVEN).examples, UNEVEN)
    with pytest.raises(UserError, match=r"A candidate of line 1 has 6 tokens, but the program predicts K=2: .* K=6"):
        batches(long, TOKENIZER, 1, 32, 1, 0, K=2)
