"""Movie reviews with human ratings: how their file is read, and what is in the real one. Tasks made by rule."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from workloads.tasks import own_tasks
from workloads.tasks.own_tasks import MADE_TASKS, built_in_reviews
from workloads.tasks.source import MOVIE_REVIEWS, TaskSource
from workloads.tasks.task import Task, open_task

LINES = b'1\t2.25\tA caf\xe9 of a film.\n2\t-0.6\tDull.\r\n3\t0.5\tNeither.\n4\t-3\tIt "never" ends.\n'


def test_reviews_are_read_with_the_sign_of_a_clear_rating(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "ratings.txt"
    path.write_bytes(LINES)
    monkeypatch.setattr(own_tasks, "fetch", lambda packaged, notify: path)
    task = open_task(TaskSource(MOVIE_REVIEWS))
    assert task.name == "movie-reviews"
    assert [(each.text, each.right, each.line) for each in task.examples] == [
        ("A café of a film. It was", 1, 1),
        ("Dull. It was", 0, 2),
        ('It "never" ends. It was', 0, 4),
    ]


@pytest.mark.full
def test_the_real_reviews_are_many_and_balanced() -> None:
    examples = open_task(TaskSource(MOVIE_REVIEWS)).examples
    assert len(examples) == 10_043
    assert sum(each.right for each in examples) / len(examples) == pytest.approx(0.496, abs=5e-4)
    assert examples[0].text.startswith("The Rock is destined to be the 21st Century's new ''Conan''")


def changes_its_list(source: str) -> bool:
    """Whether a function changes the list that it is given: by calling it."""
    places: dict[str, Any] = {}
    exec(source, places)  # noqa: S102 - made by the package under test
    (function,) = (value for name, value in places.items() if name != "__builtins__")
    before = [5, 3, 9]
    after = list(before)
    function(after)
    return after != before


def test_labels_of_code_are_what_the_functions_do() -> None:
    task = open_task(TaskSource("code"))
    question = "\nDoes this function"
    for each in (*task.examples, *task.validation):
        assert changes_its_list(each.text.split(question)[0]) == (each.right == 0), each.text
    assert task.template.constants == (" yes", " no")


@pytest.mark.parametrize("name", MADE_TASKS)
def test_tasks_made_by_rule_are_balanced_and_hold_out_what_is_not_trained_on(name: str) -> None:
    task = open_task(TaskSource(name))
    assert (len(task.examples), len(task.validation)) == (640, 160)
    for part in (task.examples, task.validation):
        assert sum(each.right for each in part) * 2 == len(part)
    texts = [each.text for each in (*task.examples, *task.validation)]
    assert len(set(texts)) == len(texts)


@pytest.mark.parametrize("length", [512, 1024])
def test_long_rows_have_a_word_for_each_token_and_three_reviews_in_four_agree(length: int) -> None:
    task = open_task(TaskSource(f"long-reviews-{length}"))
    friendly = {line.split("\t")[0]: line.endswith("1") for line in built_in_reviews().splitlines()[1:]}
    for each in (*task.examples[:20], *task.validation[:20]):
        assert len(each.text.split()) >= length
        found = {review: each.text.count(review) for review in friendly if review in each.text}
        agreeing = sum(count for review, count in found.items() if friendly[review] == bool(each.right))
        assert 0.7 < agreeing / sum(found.values()) < 0.8
    seen = [{review for review in friendly if any(review in each.text for each in part)} for part in parts(task)]
    assert not seen[0] & seen[1]


def parts(task: Task) -> tuple[Any, Any]:
    return task.examples, task.validation


def test_a_made_task_is_the_same_on_every_machine() -> None:
    assert open_task(TaskSource("code")).sha256.startswith("daf916b51ee94e61")
