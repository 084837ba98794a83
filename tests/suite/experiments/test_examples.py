"""Experiments that are kept as examples (docs/examples): whole ones, whose answers the docs quote."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from reports.model.experiment import Experiment
from reports.pages.experiment import experiment_page
from suite.experiments import EXPERIMENTS
from suite.experiments.experiment import planned

_DOCS = Path(__file__).parents[3] / "docs"
_EXAMPLES = sorted((_DOCS / "examples").glob("*.json"))


@pytest.fixture(params=_EXAMPLES, ids=lambda path: path.stem)
def example(request: pytest.FixtureRequest) -> Experiment:
    path: Path = request.param
    found = Experiment.from_document(json.loads(path.read_text(encoding="utf-8")))
    assert found.name == path.stem
    return found


def test_there_are_examples() -> None:
    assert {path.stem for path in _EXAMPLES} <= set(EXPERIMENTS)
    assert _EXAMPLES


def test_an_example_is_a_whole_experiment(example: Experiment) -> None:
    assert (example.status, example.quick, example.emulated) == ("finished", False, ())
    assert example.question == planned(example.name, quick=False).question
    assert set(example.answers) == set(example.hardware) == set(example.devices)
    assert experiment_page(example).banner is not None


def test_the_docs_quote_its_command_and_answer_and_lead_to_its_page(example: Experiment) -> None:
    text = " ".join((_DOCS / "experiments.md").read_text(encoding="utf-8").split()).replace("\u00a0", " ")
    assert f"(examples/{example.name}.html)" in text
    assert " ".join(example.command) in text
    for answer in example.answers.values():
        assert " ".join(answer.sentence.split()).replace("\u00a0", " ") in text
