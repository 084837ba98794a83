"""Templates: what a YAML file may say, what is refused with its line, and that the built-in ones fit a tokenizer."""

from __future__ import annotations

from pathlib import Path

import pytest

from foundation.errors import UserError
from workloads.models.tokenizer import byte_level_tokenizer
from workloads.tasks.encoding import constant_answers
from workloads.tasks.source import TaskSource
from workloads.tasks.task import open_task
from workloads.tasks.template import Template, built_in_templates, load_template

GOOD = """\
about: Which topic?
fields:
  text: [headline, title]
label: topic
prompt: "{text:upper_first} Topic:"
candidates: {s: " sport", m: " money"}
"""


def load(tmp_path: Path, text: str) -> Template:
    path = tmp_path / "own.yaml"
    path.write_text(text)
    return load_template(str(path))


def test_a_template_of_the_user_reads_a_file_of_the_user(tmp_path: Path) -> None:
    load(tmp_path, GOOD)
    (tmp_path / "news.csv").write_text("Title,Topic\nteam wins,s\nshares fall,m\n")
    task = open_task(TaskSource(str(tmp_path / "news.csv"), template=str(tmp_path / "own.yaml")))
    assert [(each.text, each.right) for each in task.examples] == [
        ("Team wins Topic:", 0),
        ("Shares fall Topic:", 1),
    ]


def test_labels_and_words_of_a_template_are_compared_as_those_of_files(tmp_path: Path) -> None:
    text = GOOD.replace("{s: ", "{Sport: ").replace(" m: ", " MONEY: ")
    load(
        tmp_path,
        f"{text}labels: {{'1.0': money, Cash: Money}}\nwords: {{text: {{A Team: the team, Shares: shares}}}}\n",
    )
    (tmp_path / "news.csv").write_text("title,topic\na team,Sport\nshares,1\nSHARES,cash\nShares,Money\n")
    task = open_task(TaskSource(str(tmp_path / "news.csv"), template=str(tmp_path / "own.yaml")))
    assert [(each.text, each.right) for each in task.examples] == [("The team Topic:", 0), *[("Shares Topic:", 1)] * 3]


MISTAKES: dict[str, tuple[str, str, int, str]] = {
    "a misspelt key": ("prompt:", "promt:", 5, "unknown key 'promt'; did you mean `prompt`"),
    "no prompt": ('prompt: "{text:upper_first} Topic:"\n', "", 1, "`prompt` is missing"),
    "no fields": ("  text: [headline, title]\n", "", 2, "`fields` is empty"),
    "a field that isn't there": ("{text:upper_first}", "{txt}", 1, "names the field 'txt': name one of text"),
    "a prompt without a field": ("{text:upper_first}", "Text", 1, "the prompt names no field"),
    "an unknown change": (":upper_first", ":shout", 1, "has no change 'shout': use one of lower_first, upper_first"),
    "a brace too many": ("Topic:", "Topic: {", 1, "has a misplaced brace"),
    "a conversion": ("{text:upper_first}", "{text!r}", 1, "has a misplaced brace"),
    "one candidate": (', m: " money"', "", 1, "two or more candidates, all different"),
    "twice the same": ('" money"', '" sport"', 1, "two or more candidates, all different"),
    "an empty candidate": ('" money"', '" "', 1, "two or more candidates, all different and none empty"),
    "no candidates": ('candidates: {s: " sport", m: " money"}', "", 1, "either `candidates` or `choices`"),
    "the same label twice": ("{s:", "{M:", 6, "`candidates` is .* two of its names are the same label"),
    "a label without candidate": ("label: topic", "label: topic\nlabels: {x: art}", 1, "the label 'art' has no"),
    "choices of no field": (
        'candidates: {s: " sport", m: " money"}',
        "choices: {texts: answers, names: text}",
        1,
        "`choices` names the field 'answers'",
    ),
    "the same candidate for all": (
        'candidates: {s: " sport", m: " money"}',
        "choices: {texts: text, names: text, candidate: yes}",
        1,
        "is the same for all choices: put {choice} into it",
    ),
    "braces of no field": (
        'candidates: {s: " sport", m: " money"}',
        "choices: {texts: text, names: text, candidate: '{{choice}}'}",
        1,
        "is the same for all choices: put {choice} into it",
    ),
    "words of no field": ("label: topic", "label: topic\nwords: {x: {a: b}}", 1, "`words` has no field 'x'"),
    "a share that is none": ("label: topic", "label: topic\nsplits: {validation_share: 2.0}", 5, "_share` is 2.0"),
    "an object": ("label: topic", "label: !!python/name:os.system", 4, "the tag .* is not read here"),
    "not YAML": ("label: topic", "label: [", 6, "not valid YAML"),
    "twice the same key": ("label: topic", "label: topic\nlabel: a", 5, "'label' is there twice, first on line 4"),
}


@pytest.mark.parametrize(("old", "new", "line", "sentence"), MISTAKES.values(), ids=MISTAKES.keys())
def test_a_mistake_is_reported_with_file_and_line(tmp_path: Path, old: str, new: str, line: int, sentence: str) -> None:
    assert old in GOOD
    with pytest.raises(UserError, match=sentence) as caught:
        load(tmp_path, GOOD.replace(old, new))
    assert str(caught.value).startswith(f"{tmp_path / 'own.yaml'}:{line}: ")
    assert "\n" not in str(caught.value)


def test_an_unknown_template_is_named_with_those_that_were_meant() -> None:
    with pytest.raises(UserError, match="Unknown template 'sst': did you mean sst2"):
        load_template("sst")
    with pytest.raises(UserError, match=r"The template absent\.yaml can't be read \(No such file"):
        load_template("absent.yaml")


def test_a_missing_column_is_named_with_those_that_are_there(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("premise,label\na,0\n")
    with pytest.raises(UserError, match="has no hypothesis or sentence2, which the template rte needs, only premise"):
        open_task(TaskSource(str(tmp_path / "a.csv"), template="rte"))


def test_a_word_that_the_template_does_not_have_is_refused_with_the_line(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("premise,choice1,choice2,question,label\na.,b.,c.,reason,0\n")
    with pytest.raises(UserError, match=r"relation in line 2 is 'reason', .*: use cause, effect"):
        open_task(TaskSource(str(tmp_path / "a.csv")))


ARC = '{"id": "1", "question": "What?", "choices": {"text": %s, "label": %s}, "answerKey": "%s"}\n'


@pytest.mark.parametrize(
    ("texts", "names", "key", "sentence"),
    [
        ('["a", "b"]', '["A", "B"]', "C", "the label in line 1 is 'c', but its choices are a, b"),
        ('["a", "b"]', '["A"]', "A", "choices.label in line 1 should be a list of two or more"),
        ('["a"]', '["A", "B"]', "A", "choices.text in line 1 should be a list of two or more"),
        ('["a", "b", "c"]', '["A", "B"]', "A", "line 1 has 2 names for 3 choices"),
        ('["a", ""]', '["A", "B"]', "A", "line 1 has 2 names for 1 choices with a text"),
        ('["a", 7]', '["A", "B"]', "A", "choices.text in line 1 should be text, not 7"),
    ],
)
def test_choices_that_do_not_fit_are_refused_with_the_line(
    tmp_path: Path, texts: str, names: str, key: str, sentence: str
) -> None:
    (tmp_path / "arc.jsonl").write_text(ARC % (texts, names, key))
    with pytest.raises(UserError, match=sentence):
        open_task(TaskSource(str(tmp_path / "arc.jsonl")))


def test_a_blank_at_the_start_of_a_sentence_leaves_nothing_to_predict_from(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("sentence,option1,option2,answer\n_ ran.,Tom,Ed,1\n")
    with pytest.raises(UserError, match="line 2 has no text before its candidates"):
        open_task(TaskSource(str(tmp_path / "a.csv")))


@pytest.mark.parametrize("name", built_in_templates())
def test_verbalizers_of_the_built_in_templates_are_single_tokens(name: str) -> None:
    """With a tokenizer that knows these words, as those of real models do."""
    tokenizer = byte_level_tokenizer()
    tokenizer.backend.add_tokens(["Yes", "No", "Maybe"])
    answers = constant_answers(load_template(name), tokenizer)
    assert answers is None or [len(answer) for answer in answers] == [1] * len(answers)


def test_templates_are_part_of_the_package() -> None:
    import tomllib

    root = Path(__file__).parents[3]
    data = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]["workloads"]
    assert "tasks/templates/*.yaml" in data
