"""Plans the trainings of a race: one for each contender and seed.

Contenders are either every method with every quantization setting, equal in everything else, or they are given one by
one in words that start with the method, such as `prge q=4 b=4 lr=1e-3`. What the words leave open comes from the race's
options.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

from foundation.errors import UserError, unknown_name
from foundation.text import printable
from foundation.unavailable import Json
from suite.planning.plan import Fields, Plan, shapes_of_total
from suite.training.plan import TrainingPlan
from workloads.method import METHOD_TABLE, training_method
from workloads.quantize.settings import SETTINGS
from workloads.workload import require_count

OwnFields = dict[str, Any]
"""The values in a contender's words, while they are read."""

_MOST_SEEDS = 100
_DEFAULT_QUANT = "fp32"


def plans_of_methods(
    devices: tuple[str, ...],
    methods: Sequence[str],
    quants: Sequence[str],
    seeds: int,
    settings: Fields,
    training: Fields,
    robustness: bool = False,
) -> list[TrainingPlan]:
    """Returns a plan with all settings for each method and seed; seeds count up from the one in `settings`.

    `settings` are fields of a Plan, `training` those of a TrainingPlan. A `q` applies to methods that leave it open.
    With `robustness`, each training is followed by a disturbed copy. Raises UserError for a race without rivals,
    unknown names, or two budgets.
    """
    methods, quants = list(dict.fromkeys(methods)), tuple(dict.fromkeys(quants))
    for name in methods:
        training_method(name)
    if len(methods) * len(quants) < 2:
        raise UserError("A race needs two contenders: give --methods two names, or --quants, or both.")
    plans = [TrainingPlan(_plan(devices, method, {"quants": quants}, settings), **training) for method in methods]
    return _with_each_seed(plans, seeds, robustness)


def plans_of_contenders(
    devices: tuple[str, ...],
    contenders: Sequence[str],
    seeds: int,
    settings: Fields,
    training: Fields,
    robustness: bool = False,
) -> list[TrainingPlan]:
    """Returns a plan for each contender and seed, as `plans_of_methods` does; `contenders` are their words.

    Also raises UserError for words that can't be read, and for contenders that are the same training.
    """
    found = [
        (words, _training_of(devices, one, settings, training))
        for words in contenders
        for one in _read(words, {*settings, *training})
    ]
    if len(found) < 2:
        raise UserError("A race needs two contenders: give --contender once more.")
    beside = [_beside_workload(plan) for _, plan in found]
    _require_different(found, beside)
    alike = {key for key in _BESIDE if len({each[key] for each in beside if key in each}) == 1}
    plans = [
        replace(plan, own_settings=_naming_values(own, alike)) for (_, plan), own in zip(found, beside, strict=True)
    ]
    return _with_each_seed(plans, seeds, robustness)


def _with_each_seed(plans: Sequence[TrainingPlan], seeds: int, robustness: bool) -> list[TrainingPlan]:
    """Repeats the plans of the first seed for every seed.

    Each seed trains all contenders before the next one, so that an interrupted race has about as many of each.
    """
    require_count("--seeds", seeds, _MOST_SEEDS)
    if plans[0].budget_minutes is not None and plans[0].budget_joules is not None:
        raise UserError("A race has one budget: give --budget-minutes or --budget-joules, not both.")
    return [
        replace(one, plan=replace(one.plan, seed=one.plan.seed + number), disturbed=disturbed)
        for number in range(seeds)
        for one in plans
        for disturbed in ((False, True) if robustness else (False,))
    ]


def _plan(devices: tuple[str, ...], method: str, own: Fields, settings: Fields) -> Plan:
    found, given = METHOD_TABLE[method], settings["q"]
    q = given if given is not None and found.queries is None else found.default_queries
    return Plan(devices=devices, **{**settings, "method": method, "q": q, **own})


@dataclass(frozen=True)
class _Contender:
    """A contender's words as read: its method, and fields of a Plan and of a TrainingPlan."""

    words: str
    method: str
    shape: Fields
    training: Fields


def _number_or_auto(value: str) -> float | None:
    return None if value == "auto" else float(value)


_WHOLE: tuple[Callable[[str], Any], str] = (int, "a whole number such as 4")
_NUMBER: tuple[Callable[[str], Any], str] = (_number_or_auto, "a number such as 0.001, or auto")
_SWITCH: tuple[Callable[[str], Any], str] = ({"on": True, "off": False}.__getitem__, "on or off")
_NAME: tuple[Callable[[str], Any], str] = (str, "a name")

_OF_TRAINING = {"schedule": _NAME, "init": _NAME, "steps": _WHOLE, "eval_every": _WHOLE}
_KEYS = {
    **{"quant": _NAME, "q": _WHOLE, "b": _WHOLE, "total": _WHOLE, "lr": _NUMBER, "eps": _NUMBER},
    **{"layers": _NAME, "outer": _SWITCH, "inner": _SWITCH},
    **_OF_TRAINING,
}
"""A contender's keys, each with a reader of its value and a description of valid ones. Task, held-out examples, their
length T, seeds and ends belong to the race, as contenders are compared on them."""

CONTENDER_KEYS = tuple(_KEYS)

_BESIDE = ("lr", "eps", "schedule", "init", "steps")
"""Values that make another contender of the same workload. `eval_every` does not, as it changes no training."""


def _read(words: str, of_race: set[str]) -> list[_Contender]:
    """Returns the contenders that the words stand for: one, or with `total` one for each shape.

    `of_race` are the names of the race's options. Raises UserError for words that can't be read.
    """
    printed = printable(words, 80)
    method, *pairs = words.split() or [""]
    if not method or "=" in method:
        raise UserError(f'Contender "{printed}" does not start with a method: give one such as "prge q=4 lr=1e-3".')
    values: OwnFields = {}
    try:
        training_method(method)
        for pair in pairs:
            key, value = _read_pair(pair, of_race)
            if key in values:
                raise UserError(f"{key} is given twice: leave out one of them.")
            values[key] = value
        if "eps" in values and METHOD_TABLE[method].noise is None:
            raise UserError(f"{method} perturbs nothing, so eps has no meaning: leave it out.")
        shapes = _shapes(method, values)
    except UserError as error:
        raise UserError(f'Contender "{printed}": {error}') from None
    training = {key: values.pop(key) for key in _OF_TRAINING if key in values}
    return [_Contender(printed, method, values | shape, training) for shape in shapes]


def _read_pair(pair: str, of_race: set[str]) -> tuple[str, Any]:
    name, mark, value = pair.partition("=")
    key = name.replace("-", "_")
    if not mark:
        raise UserError(f"{pair!r} is not of the form key=value: give one such as lr=0.001.")
    if key not in _KEYS and key in of_race:
        raise UserError(f"{name} is the same for all contenders: give it to the race as an option.")
    if key not in _KEYS:
        raise unknown_name("key", name, _KEYS)
    read, expected = _KEYS[key]
    try:
        return key, read(value)
    except (ValueError, KeyError):
        raise UserError(f"{name} is {value!r}, but it must be {expected}.") from None


def _shapes(method: str, values: OwnFields) -> list[dict[str, int]]:
    """Removes `total` from the values. Returns q and b for each of its shapes, or one empty shape without it."""
    total = values.pop("total", None)
    if total is None:
        return [{}]
    if given := [key for key in ("q", "b") if key in values]:
        raise UserError(f"total stands for q * b, but {given[0]} is given too: leave out one of them.")
    return [{"q": q, "b": b} for q, b in shapes_of_total(total, method)]


def _training_of(devices: tuple[str, ...], one: _Contender, settings: Fields, training: Fields) -> TrainingPlan:
    own = dict(one.shape)
    own["quants"] = (own.pop("quant", _DEFAULT_QUANT),)
    try:
        return TrainingPlan(_plan(devices, one.method, own, settings), **{**training, **one.training})
    except UserError as error:
        raise UserError(f'Contender "{one.words}": {error}') from None


def _beside_workload(plan: TrainingPlan) -> dict[str, Json]:
    """Returns the plan's values of the keys in _BESIDE, with defaults resolved."""
    own = plan.plan.training(SETTINGS[plan.plan.quants[0]])
    values = (own.lr, own.eps, plan.schedule, plan.init, plan.steps)
    found: dict[str, Json] = dict(zip(_BESIDE, values, strict=True))
    if METHOD_TABLE[plan.plan.method].noise is None:
        del found["eps"]
    return found


def _naming_values(beside: Mapping[str, Json], alike: set[str]) -> dict[str, Json]:
    """Returns the values that name a contender: those that differ, except default schedules and inits."""
    defaults = (("schedule", TrainingPlan.schedule), ("init", TrainingPlan.init))
    return {key: value for key, value in beside.items() if key not in alike and (key, value) not in defaults}


def _require_different(found: Sequence[tuple[str, TrainingPlan]], beside: Sequence[Mapping[str, Json]]) -> None:
    ways = [(next(plan.plan.workloads(answers=1)), own) for (_, plan), own in zip(found, beside, strict=True)]
    for one, other in combinations(range(len(ways)), 2):
        if ways[one] == ways[other]:
            raise UserError(
                f'The contenders "{printable(found[one][0], 80)}" and "{printable(found[other][0], 80)}" have a '
                "training in common: change one of them, or leave it out."
            )
