"""Host work before any device is touched: the model, the task's batches, the programs and their reference losses."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from devices.deployment.built_runner import BuiltRunner
from suite.errors import SuiteError
from suite.planning.plan import Plan
from suite.preparing.exporting import Exporter, exporter
from suite.preparing.inputs import Inputs
from suite.sessions.loss_check import ExpectedLosses
from workloads.estimates.estimate import Estimate, estimate
from workloads.export.artifact import Artifact, ArtifactCache
from workloads.lowering.arithmetic_probe import Accumulation
from workloads.reference.losses import ReferenceLosses, kept_losses
from workloads.tasks.batches import TaskBatches
from workloads.workload import TrainingSettings, Workload

Notify = Callable[[str], None]

EXPORT_LOG = "export.log"


@dataclass(frozen=True)
class Prepared:
    """A workload ready to be measured: its plan, program, training data, and the losses of its first steps.

    `role` distinguishes the two sides of a confirmation from ordinary measurements; `runner` is the one that a baseline
    was measured with, None the device's current one.
    """

    plan: Plan
    workload: Workload
    artifact: Artifact
    data: TaskBatches
    reference: ReferenceLosses
    estimate: Estimate
    role: Literal["measured", "candidate", "baseline"] = "measured"
    runner: BuiltRunner | None = None

    @property
    def training(self) -> TrainingSettings:
        """Learning rate, eps and seed of its steps."""
        return self.plan.training(self.workload.setting)

    @property
    def expected_losses(self) -> ExpectedLosses:
        """The losses that sessions are compared with."""
        found, training = self.reference, self.training
        noise, method = found.noise or 0.0, self.workload.method
        return ExpectedLosses(found.losses, found.untrained, noise, training.lr, training.eps, found.shortfall, method)


@dataclass(frozen=True)
class Preparation:
    """What all devices of a run share. `weights_source` says where each model's weights come from."""

    prepared: tuple[Prepared, ...]
    weights_source: Mapping[str, str]
    exported: int

    def __add__(self, other: Preparation) -> Preparation:
        return Preparation(
            self.prepared + other.prepared,
            {**self.weights_source, **other.weights_source},
            self.exported + other.exported,
        )


NOT_YET = ReferenceLosses((), "the arithmetic of its device is not known")


def depends_on_device(workload: Workload) -> bool:
    """Whether the reference depends on the device's arithmetic."""
    return workload.setting.sums_vary


def prepare(
    plan: Plan, inputs: Inputs, cache: ArtifactCache, notify: Notify, *, references: bool = True
) -> Preparation:
    """Exports missing programs and, unless not wanted, computes missing reference losses.

    Raises UserError for what the user can fix, SuiteError if the exporting process dies.
    """
    _report_truncation(inputs, notify)
    for warning in plan.warnings():
        notify(warning)
    workloads = list(plan.workloads(answers=inputs.data.labels.shape[2]))
    missing = [item for item in workloads if cache.find(item, inputs.weights.sha256, notify) is None]
    with exporter(plan, cache.root, cache.root / EXPORT_LOG) as process:
        preparing = _Preparing(plan, cache, inputs, process, notify, references)
        prepared = tuple(preparing.prepared(workload, missing) for workload in workloads)
    return Preparation(prepared, {plan.model: inputs.weights.source}, len(missing))


@dataclass(frozen=True)
class _Preparing:
    """The preparation of one plan."""

    plan: Plan
    cache: ArtifactCache
    inputs: Inputs
    process: Exporter
    notify: Notify
    references: bool

    def prepared(self, workload: Workload, missing: list[Workload]) -> Prepared:
        """Returns the workload with its program and reference losses, making only what is missing."""
        name = f"{workload.model} {workload.quant}"
        weights = self.inputs.weights
        # What `prepare` found missing has been reported.
        artifact = None if workload in missing else self.cache.find(workload, weights.sha256)
        later = not self.references or depends_on_device(workload)
        reference = None if artifact is None else (NOT_YET if later else self._kept_losses(workload, artifact))
        if reference is None:
            if workload in missing:
                self.notify(f"exporting {name} ({missing.index(workload) + 1} of {len(missing)})")
            else:
                self.notify(f"computing the reference losses of {name}")
            reference = self.process.export(workload.quant, self.notify, None if later else Accumulation.FP32)
            reference = NOT_YET if later else reference
            artifact = self.cache.find(workload, weights.sha256)
        if artifact is None:
            raise SuiteError(f"the artifact of {name} vanished from {self.cache.root} after its export: run again")
        if workload in missing:
            seconds, size_bytes = artifact.document["export_seconds"], artifact.program_bytes
            shared = (artifact.deployed_bytes - size_bytes) / 1e6
            beside = f" beside {shared:.1f} MB of shared weights"
            self.notify(f"exported {name} in {seconds:.0f} s, {size_bytes / 1e6:.1f} MB{beside}")
        if reference.shortfall is not None and not later:
            compared = f"{len(reference.losses)} steps of" if reference.losses else "nothing of"
            self.notify(f"{name}: {compared} a session is compared with the reference: {reference.shortfall}")
        needs = estimate(workload, weights.config)
        return Prepared(self.plan, workload, artifact, self.inputs.data, reference, needs)

    def _kept_losses(self, workload: Workload, artifact: Artifact) -> ReferenceLosses | None:
        steps = workload.setting.reference_steps
        return kept_losses(artifact, self.inputs.data, self.plan.training(workload.setting), steps, Accumulation.FP32)


def _report_truncation(inputs: Inputs, notify: Notify) -> None:
    data = inputs.data
    if data.truncated_rows:
        notify(
            f"{data.truncated_rows} of {data.rows} rows of {inputs.task.name} are longer than "
            f"T={data.tokens.shape[2]} and lost the beginning of their text"
        )
