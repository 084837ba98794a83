"""Prepares a plan on the host: loads the model and the task's batches, makes programs and their reference losses."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeVar

import psutil

from devices.deployment.built_runner import BuiltRunner
from foundation.errors import UserError
from suite.errors import SuiteError
from suite.planning.plan import BATCHES, Plan
from suite.preparing.exporting import Exporter, exporter
from suite.sessions.loss_check import ExpectedLosses
from workloads.estimates.estimate import Estimate, estimate, reference_seconds
from workloads.export.artifact import Artifact, ArtifactCache
from workloads.lowering.arithmetic_probe import PROBE, Accumulation
from workloads.method import METHOD_TABLE
from workloads.models.named import named_model
from workloads.models.weights import Digest, ModelWeights
from workloads.models.zoo import load_model
from workloads.quantize.settings import UnsupportedRows
from workloads.reference.expected_losses import ReferenceLosses
from workloads.reference.losses import kept_losses
from workloads.tasks.batches import TaskBatches, batches, first_of_each
from workloads.tasks.source import PAPER, may_be_elsewhere
from workloads.tasks.task import Task, open_task
from workloads.tasks.template import load_template
from workloads.workload import TrainingSettings, Workload

Notify = Callable[[str], None]
ExpectedArithmetic = Callable[[Path], Accumulation | None]
"""Returns how a device probably sums float16 products, given the program that probes it, or None if nobody knows."""

EXPORT_LOG = "export.log"
REFERENCE_LOG = "references.log"
_LONG_SECONDS = 10.0

Made = TypeVar("Made")
Role = Literal["measured", "candidate", "baseline"]


@dataclass(frozen=True)
class Inputs:
    """The inputs of a plan, which are the same in any process and on any machine."""

    weights: ModelWeights
    task: Task
    data: TaskBatches


def check_inputs(plan: Plan) -> None:
    """Opens the task and the weights that a plan names, without hashing or downloading anything.

    Raises the same UserErrors as `load_inputs`, except for damage within tensors.
    """
    if may_be_elsewhere(plan.task):  # they may not be here yet either
        if plan.template is not None:
            load_template(plan.template)
    elif plan.weights is None and named_model(plan.model).packaged is not None:  # its tokenizer may not be here yet
        _task(plan, _nobody)
    else:
        load_inputs(plan, _nobody, digest=str)


def _nobody(_text: str) -> None:
    """Drops a note."""


def load_inputs(
    plan: Plan, notify: Callable[[str], None], digest: Digest | None = None, weights: ModelWeights | None = None
) -> Inputs:
    """Loads and tokenizes the inputs of a plan. `notify` gets a line before a download and for rows that are cut.

    `digest` is that of `load_model`. `weights` are the plan's if they are already loaded, as that takes seconds.

    Raises the workloads' UserError.
    """
    task = _task(plan, notify)
    weights = weights or load_model(plan.model, plan.weights_path, notify, digest)
    weights.config.require_length(plan.T, weights.source)
    if plan.lora_a is not None:
        from workloads.export.peft_folder import read_peft_adapter  # loads torch, which most commands don't need

        given = read_peft_adapter(next(plan.workloads(answers=1)), weights.config, Path(plan.lora_a)).given
        weights = weights.with_tensors(given)
    data = batches(task, weights.tokenizer, plan.b, plan.T, BATCHES, plan.seed)
    if data.truncated_rows:
        notify(
            f"{data.truncated_rows} of {data.rows} rows of {task.name} are longer than T={plan.T} and lost the "
            "start of their text"
        )
    return Inputs(weights, task, data)


def _task(plan: Plan, notify: Callable[[str], None]) -> Task:
    task = open_task(plan.task_source, notify)
    for note in task.notes:
        notify(note)
    return first_of_each(task) if plan.split == PAPER else task


def workloads_of(plan: Plan, data: TaskBatches) -> list[Workload]:
    """Returns the plan's workload for each setting, on these batches."""
    answers = data.labels.shape[2]
    candidates = 1 if METHOD_TABLE[plan.method].public else data.candidates
    return list(plan.workloads(answers, candidates))


@dataclass(frozen=True)
class Prepared:
    """A workload that is ready to be measured: its plan, program, training data, and the losses of its first steps.

    `role` distinguishes the two sides of a confirmation from ordinary measurements. `runner` is the one with which a
    baseline was measured, or None for the device's current one. With `fresh_loads`, each session gets a fresh copy of
    the program.
    """

    plan: Plan
    workload: Workload
    artifact: Artifact
    data: TaskBatches
    reference: ReferenceLosses
    estimate: Estimate
    role: Role = "measured"
    runner: BuiltRunner | None = None
    fresh_loads: bool = False

    @property
    def training(self) -> TrainingSettings:
        """The learning rate, eps and seed of the steps."""
        return self.plan.training(self.workload.setting)

    @property
    def expected_losses(self) -> ExpectedLosses:
        """The losses that sessions are compared with."""
        found, training = self.reference, self.training
        return ExpectedLosses(
            found.losses,
            found.untrained,
            found.noise or 0.0,
            training.lr,
            training.eps,
            found.shortfall,
            self.workload.method,
            found.late,
        )


@dataclass(frozen=True)
class LeftOut:
    """A workload that can't be measured on any device, unlike the others of its run."""

    plan: Plan
    workload: Workload
    error: UserError | SuiteError
    role: Role = "measured"

    @property
    def status(self) -> str:
        """`unsupported` if another attempt would not help, else `failed`."""
        return "unsupported" if isinstance(self.error, UnsupportedRows) else "failed"


@dataclass(frozen=True)
class Preparation:
    """What all devices of a run share. `weights_source`: where each model's weights come from."""

    prepared: tuple[Prepared, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    weights_source: Mapping[str, str] = field(default_factory=dict)
    exported: int = 0

    def __add__(self, other: Preparation) -> Preparation:
        return Preparation(
            self.prepared + other.prepared,
            self.left_out + other.left_out,
            {**self.weights_source, **other.weights_source},
            self.exported + other.exported,
        )

    def require_any(self) -> None:
        """Raises the first error if nothing can be measured."""
        if self.left_out and not self.prepared:
            raise self.left_out[0].error

    def left_out_lines(self) -> list[str]:
        """Returns a line for each error, with the settings that are left out for it."""
        settings: dict[tuple[str, str], list[str]] = {}
        for item in self.left_out:
            settings.setdefault((item.plan.model, str(item.error)), []).append(item.workload.quant)
        return [
            f"{model} {', '.join(quants)} {'is' if len(quants) == 1 else 'are'} left out: {reason}"
            for (model, reason), quants in settings.items()
        ]


NOT_YET = ReferenceLosses((), "the arithmetic of its device is unknown")


def depends_on_device(workload: Workload) -> bool:
    """Returns whether the reference depends on the device's arithmetic."""
    return workload.sums_vary


def prepare(
    plan: Plan,
    inputs: Inputs,
    cache: ArtifactCache,
    notify: Notify,
    *,
    references: bool = True,
    obstacles: Mapping[str, UserError | SuiteError] | None = None,
    exporters: Exporters | None = None,
    expected: ExpectedArithmetic | None = None,
) -> Preparation:
    """Exports missing programs and computes missing reference losses, if wanted.

    A setting with one of `obstacles`, or whose export fails, is left out with its reason. `exporters` export for
    several plans; without them, this plan gets its own. Reference losses that depend on the device are computed ahead
    for the arithmetic that is `expected` of it.
    """
    for warning in plan.warnings():
        notify(warning)
    errors: dict[str, UserError | SuiteError] = dict(obstacles or {})
    workloads = workloads_of(plan, inputs.data)

    def without_errors(make: Callable[[Workload], Made]) -> dict[Workload, Made]:
        """Collects the errors of settings, which are not tried again."""
        made = {}
        for workload in workloads:
            if workload.quant not in errors:
                try:
                    made[workload] = make(workload)
                except (UserError, SuiteError) as error:
                    errors[workload.quant] = error
        return made

    found = without_errors(lambda workload: cache.find(workload, inputs.weights.sha256, notify))
    missing = [workload for workload, artifact in found.items() if artifact is None]
    last = max((workloads.index(workload) for workload in missing), default=0)
    with contextlib.nullcontext(exporters) if exporters is not None else open_exporters(cache) as opened:
        preparing = _Preparing(plan, cache, inputs, opened, notify, references, expected)
        programs = without_errors(
            lambda workload: preparing.program(workload, missing, exports_follow=workloads.index(workload) < last)
        )
        prepared = without_errors(lambda workload: preparing.prepared(workload, *programs[workload]))
    left_out = leave_out(plan, errors, answers=inputs.data.labels.shape[2])
    exported = len(prepared.keys() & missing)
    return Preparation(tuple(prepared.values()), left_out, {plan.model: inputs.weights.source}, exported)


@dataclass(frozen=True)
class Exporters:
    """A process that exports programs, and another one that computes reference losses of those that are exported."""

    programs: Exporter
    references: Exporter
    waiting: ThreadPoolExecutor  # of one thread, which waits for the losses


@contextlib.contextmanager
def open_exporters(cache: ArtifactCache) -> Iterator[Exporters]:
    """Opens the exporting processes of a cache for a block. Each starts when there is something to do."""
    root = cache.root
    with (
        ThreadPoolExecutor(1, thread_name_prefix="references") as waiting,
        exporter(root, root / EXPORT_LOG) as programs,
        exporter(root, root / REFERENCE_LOG) as references,
    ):
        yield Exporters(programs, references, waiting)


def leave_out(plan: Plan, errors: Mapping[str, UserError | SuiteError], *, answers: int = 1) -> tuple[LeftOut, ...]:
    """Returns the workloads of settings that have an error. `answers` as in `Plan.workloads`, 1 without the task."""
    return tuple(
        LeftOut(plan, workload, errors[workload.quant])
        for workload in plan.workloads(answers)
        if workload.quant in errors
    )


@dataclass(frozen=True)
class _Preparing:
    """The preparation of one plan."""

    plan: Plan
    cache: ArtifactCache
    inputs: Inputs
    exporters: Exporters
    notify: Notify
    references: bool
    expected: ExpectedArithmetic | None

    def program(
        self, workload: Workload, missing: list[Workload], *, exports_follow: bool
    ) -> tuple[Artifact, Future[ReferenceLosses]]:
        """Returns a workload's program, exported if it is missing, and its reference losses to be."""
        name = self._name(workload)
        # `prepare` has reported what it found missing.
        artifact = None if workload in missing else self._find(workload)
        if artifact is None:
            if workload in missing:
                self.notify(f"exporting {name} ({missing.index(workload) + 1} of {len(missing)})")
            self.exporters.programs.export(self.plan, workload.quant, self.notify, None)
            artifact = self._find(workload)
        if artifact is None:
            raise SuiteError(f"the artifact of {name} disappeared from {self.cache.root} after its export: run again")
        if workload in missing:
            seconds, size_bytes = artifact.document["export_seconds"], artifact.program_bytes
            shared = (artifact.deployed_bytes - size_bytes) / 1e6
            shared_text = f" plus {shared:.1f} MB of shared weights"
            self.notify(f"exported {name} in {seconds:.0f} s, {size_bytes / 1e6:.1f} MB{shared_text}")
        beside = self._goes_on_beside(workload)
        if exports_follow and beside:
            return artifact, self._submit(workload, artifact, self.exporters.references)
        if beside:  # those that wait for the other process needn't be waited for
            losses = Future[ReferenceLosses]()
            losses.set_result(self._losses(workload, artifact, self.exporters.programs))
            return artifact, losses
        losses = self._submit(workload, artifact, self.exporters.programs)
        wait([losses])
        return artifact, losses

    def prepared(self, workload: Workload, artifact: Artifact, losses: Future[ReferenceLosses]) -> Prepared:
        """Returns a workload that is ready, once its reference losses are."""
        reference, name = losses.result(), self._name(workload)
        if reference.shortfall is not None and reference is not NOT_YET:
            compared = f"{len(reference.losses)} steps of" if reference.losses else "nothing of"
            self.notify(f"{name}: {compared} a session is compared with the reference: {reference.shortfall}")
        needs = estimate(workload, self.inputs.weights.config)
        return Prepared(self.plan, workload, artifact, self.inputs.data, reference, needs)

    def _name(self, workload: Workload) -> str:
        name = f"{workload.model} {workload.quant}" + ("" if workload.training_method.public else ", to evaluate")
        return name + (f", rows of {workload.T}" if self.inputs.data.tokens.shape[2] > workload.T else "")

    def _find(self, workload: Workload) -> Artifact | None:
        return self.cache.find(workload, self.inputs.weights.sha256)

    def _submit(self, workload: Workload, artifact: Artifact, process: Exporter) -> Future[ReferenceLosses]:
        """Lets losses be computed after those that wait already."""
        return self.exporters.waiting.submit(self._losses, workload, artifact, process)

    def _goes_on_beside(self, workload: Workload) -> bool:
        """Returns whether the losses of this program are computed while something else is exported or computed.

        They have to take longer than one more process takes to start, and there must be memory for both.
        """
        config = self.inputs.weights.config
        seconds = reference_seconds(workload, config, workload.reference_steps)
        memory_bytes = 2 * estimate(workload, config).export_memory_bytes
        return seconds > _LONG_SECONDS and memory_bytes < psutil.virtual_memory().available

    def _losses(self, workload: Workload, artifact: Artifact, process: Exporter) -> ReferenceLosses:
        if not self.references:
            return NOT_YET
        if not depends_on_device(workload):
            return self._losses_with(Accumulation.FP32, workload, artifact, process)
        if self.expected is None or any(self._kept(workload, artifact, one) for one in Accumulation):
            return NOT_YET  # a probe would only take time
        accumulation = self.expected(artifact.folder / PROBE)
        if accumulation is not None:
            self._losses_with(accumulation, workload, artifact, process)  # kept until the device is known to have it
        return NOT_YET

    def _losses_with(
        self, accumulation: Accumulation, workload: Workload, artifact: Artifact, process: Exporter
    ) -> ReferenceLosses:
        kept = self._kept(workload, artifact, accumulation)
        if kept is not None:
            return kept
        self.notify(f"computing the reference losses of {self._name(workload)}")
        return process.export(self.plan, workload.quant, self.notify, accumulation)

    def _kept(self, workload: Workload, artifact: Artifact, accumulation: Accumulation) -> ReferenceLosses | None:
        training = self.plan.training(workload.setting)
        return kept_losses(artifact, self.inputs.data, training, workload.reference_steps, accumulation)
