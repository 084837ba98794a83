"""The trainings of a race: every method with every setting and seed, alike in all else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from foundation.errors import UserError, unknown_name
from suite.planning.plan import Plan
from suite.training.plan import TrainingPlan
from workloads.method import METHOD_TABLE, METHODS
from workloads.workload import require_count

MOST_SEEDS = 100


def race_plans(
    devices: tuple[str, ...],
    methods: Sequence[str],
    quants: Sequence[str],
    seeds: int,
    settings: Mapping[str, Any],
    training: Mapping[str, Any],
) -> list[TrainingPlan]:
    """Returns a plan for each method and seed, with all settings in it; seeds count up from the one in `settings`.

    `settings` are fields of a Plan, `training` those of a TrainingPlan. A `q` applies to the methods that leave it
    open. Seeds go round last, so that an interrupted race has as many of each contender as possible. Raises UserError
    for a race without rivals, unknown names, and two budgets at once.
    """
    methods, quants = list(dict.fromkeys(methods)), tuple(dict.fromkeys(quants))
    for name in methods:
        if name not in METHODS:
            raise unknown_name("method", name, METHODS)
    if len(methods) * len(quants) < 2:
        raise UserError("A race needs two contenders: give --methods two names, or --quants, or both.")
    require_count("--seeds", seeds, MOST_SEEDS)
    if training.get("budget_minutes") is not None and training.get("budget_joules") is not None:
        raise UserError("A race has one budget: give --budget-minutes or --budget-joules, not both.")
    first = int(settings["seed"])
    return [
        TrainingPlan(_plan(devices, method, quants, first + number, settings), **training)
        for number in range(seeds)
        for method in methods
    ]


def _plan(
    devices: tuple[str, ...], method: str, quants: tuple[str, ...], seed: int, settings: Mapping[str, Any]
) -> Plan:
    found, given = METHOD_TABLE[method], settings["q"]
    q = given if given is not None and found.queries is None else found.default_queries
    return Plan(devices=devices, **{**settings, "method": method, "quants": quants, "q": q, "seed": seed})
