"""Carries out one training on one device: segments of steps, each from the last one's state, and evaluations.

A segment is a process of the runner. Its results are on this host's disk before they are recorded in the store, and in
the store before the next segment starts. So whatever dies, the training resumes from there, on exactly the trajectory
of an undisturbed one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from devices.access.connect import Device
from devices.checks.facts import usable_cpus
from devices.deployment.built_runner import BuiltRunner
from devices.errors import DeviceLost
from foundation.errors import UserError
from foundation.unavailable import Unavailable
from reports.model.training import Evaluation, Segment, Training
from suite.energy.session_energy import SessionEnergy, session_energy
from suite.errors import SuiteError
from suite.measuring.idle_device import Clock, ThermalGate
from suite.measuring.job import Array, Job, OnStep, run_job, step_inputs
from suite.measuring.meter import open_meter
from suite.measuring.sensor_plan import SensorPlan, sensor_plan
from suite.measuring.session import longest_s
from suite.preparing.preparation import Inputs, Prepared
from suite.sessions.record import Cause, SessionRecord
from suite.store.trainings import Trainings
from suite.training.checkpoints import Checkpoint, Checkpoints, adapter_of
from suite.training.plan import TrainingPlan, next_end
from workloads.export.artifact import Artifact
from workloads.models.tokenizer import Tokenizer
from workloads.tasks.batches import Int64Array, RowLengths, TaskBatches, batches, split_task
from workloads.tasks.encoding import RowLayout, encode_examples
from workloads.tasks.evaluation import EvaluationBatches, evaluation_batches
from workloads.tasks.labelled import LabelledText
from workloads.tasks.task import Task
from workloads.tasks.template import Template

EVALUATED_ROWS = 16
"""Rows that an evaluation computes at once."""
_SAMPLED = 1000
"""At most this many examples are sampled for the lengths of rows."""
_MOST_ATTEMPTS = 3
"""Processes that may die on their own before a training is given up."""

_NO_SENSOR: SessionEnergy | Unavailable = Unavailable("the device has no power sensor that can be read")
_NO_IDLE = Unavailable("idle power is not measured during a training")
Note = Callable[[str], None]


class _Interruption(Exception):  # noqa: N818 - intended, not an error
    """A process has made the steps after which it is interrupted on purpose."""


@dataclass(frozen=True)
class HeldOut:
    """Examples that no step has seen, as rows of the evaluation program, whose shape is fixed.

    `tokens` int64 [n, b, T], `first` int64 [n, b], `labels` int64 [n, b, candidates], or [n, b, K] if each row is one
    candidate of its example.
    """

    rows: EvaluationBatches
    tokens: Int64Array
    first: Int64Array
    labels: Int64Array

    @property
    def examples(self) -> int:
        """The number of examples."""
        return len(self.rows.right)

    @property
    def candidates_of_a_row(self) -> int:
        """The number of candidates in a row of the program."""
        return self.rows.candidates

    def score(self, losses: NDArray[np.float32]) -> tuple[float, float]:
        """Returns accuracy and mean loss of the right answers. `losses`: float32 [n, candidates of a row, b]."""
        return self.rows.scores(list(losses))


@dataclass(frozen=True)
class Material:
    """A training's batches, one for each step, its held-out examples, and the lengths below T that get own programs."""

    training: TaskBatches
    held_out: HeldOut
    lengths: RowLengths
    shorter: tuple[int, ...]


def read_material(plan: TrainingPlan, inputs: Inputs) -> Material:
    """Encodes examples; the held-out ones come from the validation file, or are drawn from the task by the plan's seed.

    Raises UserError if the task has no examples left to learn from.
    """
    task, shape = inputs.task, plan.plan
    split = split_task(task, shape.split, seed=shape.seed, held_out=plan.examples)
    tokenizer, K = inputs.weights.tokenizer, inputs.data.labels.shape[2]
    learned = replace(task, examples=split.train, validation=split.validation)
    training = batches(learned, tokenizer, shape.b, shape.T, plan.steps, shape.seed, K)
    held_out = _held_out(split.validation, task.template, tokenizer, shape.T, K)
    lengths = _row_lengths(task, tokenizer, shape.b, shape.T, K)
    return Material(training, held_out, lengths, lengths.shorter(plan.steps))


def _row_lengths(task: Task, tokenizer: Tokenizer, b: int, T: int, K: int) -> RowLengths:
    """Measures the lengths of at most _SAMPLED rows of the task, whether or not a seed holds them out."""
    every = -(-len(task.examples) // _SAMPLED)
    examples = encode_examples(task.examples[::every], task.template, tokenizer)
    return RowLengths.of(examples, RowLayout.fitting(examples, task.template, tokenizer, T, K), b)


def _held_out(texts: Sequence[LabelledText], template: Template, tokenizer: Tokenizer, T: int, K: int) -> HeldOut:
    examples = encode_examples(texts, template, tokenizer)
    layout = RowLayout.fitting(examples, template, tokenizer, T, K)
    rows = evaluation_batches(examples, layout, EVALUATED_ROWS, fixed=True)
    padded = [batch.rows for batch in rows.batches]
    return HeldOut(
        rows,
        np.stack([batch.tokens for batch in padded]),
        np.stack([batch.first for batch in padded]),
        np.stack([batch.labels for batch in padded]),
    )


@dataclass(frozen=True)
class Course:
    """A training's plan, programs, data and folder of states. `shorter`: programs that train on shorter rows."""

    training_id: str
    label: str
    plan: TrainingPlan
    steps: Prepared
    evaluation: Prepared
    shorter: tuple[Artifact, ...]
    material: Material
    checkpoints: Checkpoints
    start: Path | None
    logs: Path


@dataclass(frozen=True)
class Ground:
    """Where a training takes place. `check_stop` raises when it has to end; `steps` displays a process's steps."""

    device: Device
    runner: BuiltRunner
    clock: Clock
    gate: ThermalGate
    note: Note
    check_stop: Callable[[], None]
    steps: Callable[[str, int], AbstractContextManager[OnStep]]

    def cool_down(self) -> None:
        """Waits until the device is as cool as at the start: a process may have been ended because of heat."""
        hot = self.gate.wait(self.device, self.device.sensors().sensors, self.note)
        if hot is not None:
            self.note(hot)


def train(course: Course, ground: Ground, trainings: Trainings) -> str:
    """Trains from the step recorded in the store to the plan's end. Returns why the training ended.

    Raises DeviceLost, SuiteError if the device can't train, and UserError for a budget too small for a single step.
    """
    training = trainings.one(course.training_id)
    while True:
        ground.check_stop()
        step = training.steps
        before = _state_at(course, step)
        evaluated = any(each.step == step for each in training.evaluations)
        due = course.plan.evaluates_at(step) and not evaluated
        end = None if due else next_end(course.plan, training)
        if isinstance(end, int):
            segment = _make_steps(course, ground, before, step, end)
            trainings.add_segment(course.training_id, segment)
            training = replace(training, segments=(*training.segments, segment))
            course.checkpoints.remove_old()
        elif evaluated and end is not None:
            return end
        else:
            evaluation = _evaluate(course, ground, before, step)
            trainings.add_evaluation(course.training_id, evaluation)
            training = replace(training, evaluations=(*training.evaluations, evaluation))
            ground.note(f"{course.label}: {_describe(evaluation, training)}")


def _state_at(course: Course, step: int) -> Checkpoint | None:
    """Returns the state to continue from, or None to start from zero. Raises UserError if it is missing."""
    if step == 0:
        return None if course.start is None else Checkpoint(0, course.start)
    path = course.checkpoints.place(step)
    if not path.is_file():
        raise UserError(
            f"the checkpoint {path} of step {step} is missing, so the training can't continue: start a new one."
        )
    return Checkpoint(step, path)


def _make_steps(course: Course, ground: Ground, before: Checkpoint | None, first: int, end: int) -> Segment:
    """Makes the steps `first` to `end` - 1. A process that dies is started again and mentioned in the segment's note.

    A process that is interrupted on purpose does not count as dead; if one dies earlier, the next is interrupted.
    """
    label = f"{ground.device.entry.name} {course.label}: steps {first} to {end} of {course.plan.steps}"
    job = _training_job(course, ground, before, first, end)
    lost, deaths = course.plan.steps_lost(first, end), list[str]()
    while len(deaths) < _MOST_ATTEMPTS:
        try:
            record, sensors, notes = _carry_out(ground, job, label, lost)
        except _Interruption:
            ground.note(f"{course.label}: interrupted after {lost} of {job.steps} steps; again from step {first}")
            lost = 0
            continue
        if record.complete:
            diverged = _diverged(record, first)
            if diverged is not None:
                course.checkpoints.place(end).unlink(missing_ok=True)
                raise SuiteError(f"{diverged}: the state of step {first} is kept; train with a smaller --lr")
            return _segment(record, sensors, first, [*(f"made again: {words}" for words in deaths), *notes[:1]])
        deaths.append(record.sentence)
        if record.cause is Cause.UNSUPPORTED:
            break
        ground.note(f"{course.label}: {record.sentence}; again from step {first}")
        ground.cool_down()
    raise SuiteError(f"steps {first} to {end} can't be made: {deaths[-1]}")


def _training_job(course: Course, ground: Ground, before: Checkpoint | None, first: int, end: int) -> Job:
    training, plan, count = course.steps.training, course.plan, end - first
    names = course.steps.workload.training_method.inputs
    arrays = {name: array[first:end] for name, array in course.material.training.arrays.items()}
    rates = plan.rates(training.lr, first, count)
    return Job(
        name=f"{course.training_id}.step{first}",
        artifact=course.steps.artifact,
        shorter=course.shorter,
        runner=ground.runner,
        log=course.logs / f"step-{first:09d}.jsonl",
        inputs=step_inputs(names, arrays, training.seed, rates, training.eps, first),
        steps=count,
        warm_up=(0, 0),
        timeout_s=longest_s(count, course.steps.estimate.flops_per_step),
        state_before=None if before is None else before.path,
        state_after=course.checkpoints.place(end),
        busy_loops=(len(usable_cpus(ground.device.tree)) or 1) if plan.disturbed else 0,
        check_stop=ground.check_stop,
    )


def _evaluate(course: Course, ground: Ground, at: Checkpoint | None, step: int) -> Evaluation:
    """Evaluates a state on the held-out examples."""
    job, held_out = _evaluation_job(course, ground, at, step), course.material.held_out
    label = f"{ground.device.entry.name} {course.label}: evaluating after {step} steps"
    for _ in range(_MOST_ATTEMPTS):
        record, _, _ = _carry_out(ground, job, label)
        if record.complete:
            break
        ground.note(f"{course.label}: {record.sentence}; evaluating again")
        ground.cool_down()
    else:
        raise SuiteError(f"the state of step {step} can't be evaluated: {record.sentence}")
    losses = np.array([each.losses for each in record.steps], np.float32)
    accuracy, loss = held_out.score(losses.reshape(len(losses), held_out.candidates_of_a_row, EVALUATED_ROWS))
    seconds = sum(each.latency_ms for each in record.steps) / 1e3
    return Evaluation(step, held_out.examples, accuracy, loss, seconds)


def _evaluation_job(course: Course, ground: Ground, at: Checkpoint | None, step: int) -> Job:
    held_out, prepared = course.material.held_out, course.evaluation
    inputs: dict[str, Array] = {"tokens": held_out.tokens, "first": held_out.first, "labels": held_out.labels}
    method = course.plan.method
    if not method.trains_weights:
        values = course.steps.artifact.document["adapter_values"]
        rate = course.plan.rate_after(course.steps.training.lr, step)
        q = course.steps.workload.q
        adapter = np.zeros(values, np.float32) if at is None else adapter_of(at, method, rate, values, q)
        inputs["adapter"] = adapter[None]
    count = len(held_out.tokens)
    return Job(
        name=f"{course.training_id}.evaluation{step}",
        artifact=prepared.artifact,
        runner=ground.runner,
        log=course.logs / f"evaluation-{step:09d}.jsonl",
        inputs=inputs,
        steps=count,
        warm_up=(0, 0),
        timeout_s=longest_s(count, prepared.estimate.flops_per_step),
        state_before=at.path if at is not None and method.trains_weights else None,
        check_stop=ground.check_stop,
    )


def _describe(evaluation: Evaluation, training: Training) -> str:
    """Returns a line on an evaluation and the cost up to it."""
    energy = training.energy_at(evaluation.step)
    joules = "" if isinstance(energy, Unavailable) else f" and {energy / 1e3:.1f} J"
    after = f" after {training.seconds_at(evaluation.step):.1f} s{joules} of steps" if evaluation.step else ""
    return (
        f"step {evaluation.step}: accuracy {evaluation.accuracy:.3f}, loss {evaluation.loss:.3f} on "
        f"{evaluation.examples} held-out examples{after}"
    )


def _carry_out(
    ground: Ground, job: Job, label: str, most_steps: int = 0
) -> tuple[SessionRecord, SensorPlan, list[str]]:
    """Runs a job. Raises DeviceLost if the device is lost meanwhile, and _Interruption after `most_steps`, if given."""
    found = ground.device.sensors()
    sensors = sensor_plan(found, ground.device.entry.power)
    command = ground.runner.command(ground.device.places.runner(ground.runner.hash))
    with open_meter(ground.device, command, ground.clock) as meter, ground.steps(label, job.steps) as on_step:

        def count(phase: str, steps: int) -> None:
            on_step(phase, steps)
            if steps == most_steps:
                raise _Interruption

        record, notes = run_job(ground.device, job, found.sensors, sensors, count)
    if record.cause is Cause.LOST:
        raise DeviceLost(record.sentence)
    return meter.joined(record), sensors, notes


def _diverged(record: SessionRecord, first: int) -> str | None:
    """Returns which step's loss is not finite, or None if all are."""
    for step in record.steps:
        if not step.losses or not all(math.isfinite(loss) for loss in step.losses):
            return f"the loss of step {first + step.index} is not finite"
    return None


def _segment(record: SessionRecord, sensors: SensorPlan, first: int, notes: list[str]) -> Segment:
    energy = _NO_SENSOR
    if sensors.energy_sensors:
        energy = session_energy(record, sensors.energy_sensors, sensors.wrap_range_mj, _NO_IDLE)
    curve = tuple((step.latency_ms / 1e3, sum(step.losses) / len(step.losses)) for step in record.steps)
    return Segment(
        first_step=first,
        seconds=sum(seconds for seconds, _ in curve),
        load_seconds=None if record.load_ms is None else record.load_ms / 1e3,
        energy_mj=energy if isinstance(energy, Unavailable) else energy.gross_mj * len(curve),
        peak_memory_kib=record.peak_memory_kib,
        curve=curve,
        note="; ".join(notes) or None,
    )
