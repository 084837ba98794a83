"""Makes the A of a training that is not drawn: the task's discriminants, or the A of the adapter it starts from.

It is stored as a PEFT folder, named after what it was made from, and becomes part of the plan's workloads.
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from suite.planning.plan import Plan
from suite.preparing.preparation import Inputs, Notify
from suite.training.plan import INITS, TrainingPlan
from workloads.export.peft_folder import CONFIG, read_peft_adapter, write_peft_folder
from workloads.reference.discriminant import FEWEST, TOKENS, discriminant_a
from workloads.tasks.batches import shuffled, split_task
from workloads.tasks.encoding import Example, RowLayout, encode_examples
from workloads.workload import adapter_values, layout_of

_GIVEN = "given"
"""Stands for the digest of an A that is yet to be made."""


def with_own_a(plan: TrainingPlan, inputs: Inputs, folder: Path, notify: Notify) -> TrainingPlan:
    """Returns the plan with the A that it requests, which is made in a subfolder of `folder` unless it exists.

    Raises UserError for a task that has no discriminants, or an adapter that does not fit.
    """
    workload, config = next(plan.plan.workloads(answers=1)), inputs.weights.config
    if plan.adapter is not None:
        found = read_peft_adapter(workload, config, Path(plan.adapter))
        return _with_a(plan, plan.adapter) if found.not_drawn else plan
    if plan.init == INITS[0]:
        return plan
    examples, layout = _examples(plan, inputs)
    place = folder / _name(plan.plan, inputs.weights.sha256, examples)
    if not (place / CONFIG).is_file():
        notify(f"computing the adapters' A from {len(examples)} examples")
        given = discriminant_a(workload, config, inputs.weights.state, examples, layout)
        zeros = np.zeros(adapter_values(layout_of(workload, config)), np.float32)
        write_peft_folder(replace(workload, lora_a=_GIVEN), config, zeros, workload.model, place, given)
    return _with_a(plan, str(place))


def _with_a(plan: TrainingPlan, folder: str) -> TrainingPlan:
    return replace(plan, plan=replace(plan.plan, lora_a=folder))


def _examples(plan: TrainingPlan, inputs: Inputs) -> tuple[list[Example], RowLayout]:
    """Returns examples that the training learns from, and the layout of their rows."""
    shape, task = plan.plan, inputs.task
    learned = split_task(task, shape.split, seed=shape.seed, held_out=plan.examples).train
    chosen = shuffled(len(learned), min(len(learned), max(FEWEST, TOKENS // shape.T)), shape.seed)
    tokenizer = inputs.weights.tokenizer
    examples = encode_examples([learned[place] for place in chosen], task.template, tokenizer)
    return examples, RowLayout.fitting(examples, task.template, tokenizer, shape.T)


def _name(plan: Plan, weights_sha256: str, examples: list[Example]) -> str:
    of_adapters = [plan.rank, plan.alpha, plan.targets, plan.layers, plan.T]
    made_from = repr((weights_sha256, of_adapters, [asdict(example) for example in examples]))
    return hashlib.sha256(made_from.encode()).hexdigest()[:16]
