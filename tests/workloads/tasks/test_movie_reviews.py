"""Movie reviews with human ratings: how their file is read, and what is in the real one."""

from __future__ import annotations

from pathlib import Path

import pytest

from workloads.tasks import movie_reviews
from workloads.tasks.source import MOVIE_REVIEWS, TaskSource
from workloads.tasks.task import open_task

LINES = b'1\t2.25\tA caf\xe9 of a film.\n2\t-0.6\tDull.\r\n3\t0.5\tNeither.\n4\t-3\tIt "never" ends.\n'


def test_reviews_are_read_with_the_sign_of_a_clear_rating(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "ratings.txt"
    path.write_bytes(LINES)
    monkeypatch.setattr(movie_reviews, "fetch", lambda packaged, notify: path)
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
