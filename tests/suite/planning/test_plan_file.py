"""Plan files: what they unfold to, and how a mistake in one is told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from devices.inventory.inventory_file import Inventory, load
from foundation.errors import UserError
from suite.planning.plan import Plan, RunPlan
from suite.planning.plan_file import load_plan_file

ROOT = Path(__file__).parents[3]
DEVICES = "devices:\n  local: {kind: local}\n  pi: {kind: raspberrypi, host: h}\n  phone: {kind: android, serial: s}\n"


@pytest.fixture
def inventory(tmp_path: Path) -> Inventory:
    path = tmp_path / "inventory.yaml"
    path.write_text(DEVICES)
    return load(path)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "plan.yaml"


def test_lists_multiply_and_defaults_fill_in(path: Path, inventory: Inventory) -> None:
    path.with_name("t.tsv").write_text("good\t1\nbad\t0\n")
    path.write_text(
        "budget_minutes: 30\n"
        "defaults: {sessions: 5, lr: 0.5, quants: int8}\n"
        "plans:\n"
        "  a: {devices: ['kind:android', local], models: [tiny, smollm2-135m], shapes: [{q: 1, b: 2}, {T: 32}]}\n"
        "  b: {devices: pi, models: tiny, quants: [fp32, nf4], sessions: 2, task: t.tsv}\n"
    )
    plan = load_plan_file(path, inventory)
    assert plan.budget_minutes == 30.0
    assert plan.devices == ("phone", "local", "pi")
    shapes = [(part.model, part.q, part.b, part.T) for part in plan.plans[:4]]
    assert shapes == [("tiny", 1, 2, 64), ("tiny", 4, 4, 32), ("smollm2-135m", 1, 2, 64), ("smollm2-135m", 4, 4, 32)]
    assert [(part.sessions, part.lr, part.quants) for part in plan.plans[:1]] == [(5, 0.5, ("int8",))]
    last = plan.plans[4]
    assert (last.sessions, last.quants, last.task) == (2, ("fp32", "nf4"), str(path.parent / "t.tsv"))


def test_tasks_can_be_named_and_read_as_the_plan_says(path: Path, inventory: Inventory) -> None:
    path.with_name("t.csv").write_text("when,text,label\nnow,good,pos\nthen,bad,x\n")
    path.with_name("own.yaml").write_text(
        "fields: {text: text}\nprompt: '{text} Was it'\ncandidates: {positive: ' good', negative: ' bad'}\n"
    )
    path.write_text(
        "defaults: {models: tiny, devices: local}\n"
        "plans:\n"
        "  a: {task: movie-reviews, split: paper}\n"
        "  b: {shapes: [{T: 48}], task: t.csv, template: own.yaml,"
        " label_map: {pos: positive, x: negative}, ignored_columns: when}\n"
        "  c: {shapes: [{T: 32}], task: t.csv, validation: t.csv, template: sst2, label_map: 'x=negative',"
        " ignored_columns: [when]}\n"
    )
    first, second, third = load_plan_file(path, inventory).plans
    assert (first.task, first.split) == ("movie-reviews", "paper")
    assert (second.task, second.template) == (str(path.parent / "t.csv"), str(path.parent / "own.yaml"))
    assert second.task_source.label_map == {"pos": "positive", "x": "negative"}
    assert (third.template, third.validation) == ("sst2", str(path.parent / "t.csv"))
    words = second.arguments("int8")
    assert words[words.index("--label-map") + 1] == "pos=positive,x=negative"
    assert words[words.index("--ignore-columns") + 1] == "when"
    assert Plan.from_document(json.loads(json.dumps(second.document()))) == second


def test_a_total_is_a_plan_for_each_split_into_queries_and_rows(path: Path, inventory: Inventory) -> None:
    path.write_text("plans:\n  a: {devices: local, models: tiny, shapes: [{total: 8, T: 32}]}\n")
    assert [(part.q, part.b, part.T) for part in load_plan_file(path, inventory).plans] == [
        (1, 8, 32),
        (2, 4, 32),
        (4, 2, 32),
        (8, 1, 32),
    ]


@pytest.mark.parametrize(("word", "value"), [("on", True), ("off", False), ("true", True)])
def test_loops_are_switched_on_and_off(word: str, value: bool, path: Path, inventory: Inventory) -> None:
    path.write_text(f"plans:\n  a: {{devices: local, models: tiny, outer: {word}, inner: {word}}}\n")
    assert load_plan_file(path, inventory).plans == (Plan(("local",), model="tiny", outer=value, inner=value),)


def test_a_method_with_fixed_queries_needs_no_q(path: Path, inventory: Inventory) -> None:
    path.write_text("plans:\n  a: {devices: local, models: tiny, methods: [prge, mezo-lora-fa]}\n")
    plans = load_plan_file(path, inventory).plans
    assert [(part.method, part.q, part.b) for part in plans] == [("prge", 4, 4), ("mezo-lora-fa", 1, 4)]


def test_auto_is_the_eps_of_each_setting(path: Path, inventory: Inventory) -> None:
    path.write_text(
        "defaults: {models: tiny, devices: local, eps: 0.5}\n"
        "plans:\n  a: {eps: auto, lr: auto}\n  b: {shapes: [{T: 32}]}\n"
    )
    assert [(part.eps, part.lr) for part in load_plan_file(path, inventory).plans] == [(None, None), (0.5, None)]


def test_a_plan_that_says_nothing_is_what_suite_run_does_on_every_device(path: Path, inventory: Inventory) -> None:
    path.write_text("plans:\n  everything: {}\n")
    assert load_plan_file(path, inventory).plans == (Plan(("local", "pi", "phone")),)


def test_the_plan_file_that_ships_is_valid() -> None:
    plan = load_plan_file(ROOT / "nightly.yaml", load(ROOT / "inventory.yaml"))
    assert plan.devices == ("local",)
    assert plan.plans[0].sessions >= 5


def test_a_run_plan_comes_back_from_its_document() -> None:
    plan = RunPlan((Plan(("a",), model="tiny"), Plan(("a", "b"), model="tiny", q=1)), 12.5)
    assert RunPlan.from_document(json.loads(json.dumps(plan.document()))) == plan


def test_a_run_plan_of_another_version_is_refused() -> None:
    with pytest.raises(UserError, match="another version"):
        RunPlan.from_document(Plan(("a",), model="tiny").document())


MISTAKES = {
    "an unknown template": (
        "plans:\n  a:\n    devices: local\n    template: sst\n",
        4,
        "Unknown template 'sst': did you mean sst2",
    ),
    "a label map of another form": (
        "plans:\n  a:\n    devices: local\n    label_map: pos\n",
        2,
        "--label-map has 'pos': write LABEL=NAME",
    ),
    "an unknown split": ("plans:\n  a:\n    devices: local\n    split: papers\n", 2, "Unknown split 'papers'"),
    "a missing task": ("plans:\n  a:\n    devices: local\n    task: nowhere.csv\n", 4, "nowhere.csv can't be read"),
    "total beside q": (
        "plans:\n  a: {devices: local, shapes: [{total: 16, q: 4}]}\n",
        2,
        "total stands for q * b, but q or b is given too",
    ),
    "queries of a fixed method": (
        "plans:\n  a: {devices: local, models: tiny, methods: mezo-lora-fa, shapes: [{q: 4}]}\n",
        2,
        "mezo-lora-fa has 1 query a step, but q is 4",
    ),
    "empty": ("", 1, "`plans` is missing"),
    "no plans": ("plans: {}\n", 1, "`plans` is empty, and must have at least one entry"),
    "nothing after plans": ("plans:\n", 1, "`plans` is empty, and must be names with values"),
    "another word for plans": ("plan: {a: {}}\n", 1, "unknown key 'plan'; did you mean `plans`"),
    "a list": ("[1, 2]\n", 1, "`the file` is [1, 2], and must be names with values"),
    "no shape": ("plans:\n  a:\n    shapes: []\n", 3, "`shapes` is empty, and must have at least one entry"),
    "a number for devices": ("plans:\n  a:\n    devices: {a: b}\n", 3, "must be a list"),
    "a task that is not there": ("plans:\n  a:\n    task: none.csv\n", 3, "none.csv"),
    "a task of defaults": ("defaults:\n  task: none.csv\nplans: {a: {}}\n", 2, "none.csv"),
    "a home that nobody has": ("plans:\n  a:\n    task: ~nosuchuser/t.tsv\n", 3, "The home folder in"),
    "a path with a NUL": ('plans:\n  a:\n    template: "a\\0.yaml"\n', 3, "contains a NUL, which no path can"),
    "weights that are not there": ("plans:\n  a:\n    weights: none\n", 3, "don't exist: name a Hugging Face"),
    "unknown key": ("plans:\n  a:\n    modles: [tiny]\n", 3, "did you mean `models`"),
    "unknown key of a shape": ("plans:\n  a:\n    shapes: [{qq: 4}]\n", 3, "unknown key 'shapes.0.qq'"),
    "unknown key of defaults": ("defaults: {session: 3}\nplans: {a: {}}\n", 1, "did you mean `sessions`"),
    "unknown device": ("plans:\n  a:\n    devices: [phnoe]\n", 3, "did you mean phone"),
    "unknown model": ("plans:\n  a:\n    models: [tinny]\n", 2, "Unknown model 'tinny': did you mean tiny"),
    "impossible shape": ("plans:\n  a:\n    shapes:\n    - {q: 1}\n    - {T: 0}\n", 5, "T is 0, but it must be"),
    "text for a number": ("plans:\n  a:\n    sessions: five\n", 3, "`sessions` is 'five', and must be"),
    "text for a budget": ("budget_minutes: long\nplans: {a: {}}\n", 1, "`budget_minutes` is 'long', and must be a"),
    "no budget": ("budget_minutes: 0\nplans: {a: {}}\n", 1, "`budget_minutes` is 0, and must be greater than 0"),
    "a workload twice": (
        "plans:\n  a: {models: tiny}\n  b: {models: tiny, seed: 3}\n",
        1,
        "is planned 2 times on local",
    ),
}


@pytest.mark.parametrize(("text", "line", "message"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_reported_with_its_line(
    path: Path, inventory: Inventory, text: str, line: int, message: str
) -> None:
    path.write_text(text)
    with pytest.raises(UserError) as caught:
        load_plan_file(path, inventory)
    assert str(caught.value).startswith(f"{path}:{line}: "), str(caught.value)
    assert message in str(caught.value)


def test_a_file_that_is_not_there_is_called_a_plan_file(path: Path, inventory: Inventory) -> None:
    with pytest.raises(UserError, match=r"the plan file .* can't be read because it doesn't exist"):
        load_plan_file(path, inventory)
