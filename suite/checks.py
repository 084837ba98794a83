"""Measures the suite itself: what its sampler costs, and what its settings do to a gradient.

Sampling: sessions with and without the sampler take turns, and their step times are compared.

Gradients: projected gradients from a device are compared with exact derivatives. With a learning rate of 0 each step
draws new perturbations and changes nothing, so the losses of a session on one batch are those of many perturbations of
one adapter, which is zero or was trained. The exact derivatives come from backpropagation in float32 on the host, with
the model's own weights and with those of the setting.
"""

from __future__ import annotations

import tempfile
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from devices.access.connect import Device, connect
from devices.deployment.built_runner import BuiltRunner
from devices.inventory.entry import DeviceEntry
from devices.sensors.spec import Discovery
from foundation.text import format_rounded
from foundation.unavailable import Unavailable
from suite import stats
from suite.display import Display
from suite.errors import SuiteError
from suite.home import Home
from suite.measuring.deployment import deploy_program
from suite.measuring.job import write_state
from suite.measuring.kernels import deployed_runner
from suite.measuring.orchestrate import prepare_host
from suite.measuring.sensor_plan import sensor_plan
from suite.measuring.session import SessionOrder, run_session
from suite.planning.plan import Plan, RunPlan, interleaved
from suite.preparing.preparation import Prepared
from suite.sessions.validity import SessionStatus
from workloads.methods.noise import normal
from workloads.models.zoo import load_model
from workloads.reference.expected_losses import ReferenceLosses
from workloads.tasks.batches import TaskBatches

Array = NDArray[np.float64]

_WARM_UP_STEPS = 2
"""The fewest warm-up steps of a session; their losses count as well."""

_NOT_COMPARED = ReferenceLosses((), "a check of gradients has no reference losses")


@dataclass(frozen=True)
class Overhead:
    """Session medians in ms with and without the sampler, by round, and the percentage by which it lengthens a step."""

    with_sampler_ms: tuple[float, ...]
    without_sampler_ms: tuple[float, ...]
    percent: float
    ci95_percent: tuple[float, float] | None

    def __str__(self) -> str:
        interval = (
            ""
            if self.ci95_percent is None
            else f" (95 %: {self.ci95_percent[0]:+.2f} to {self.ci95_percent[1]:+.2f} %)"
        )
        return (
            f"sampler overhead {self.percent:+.2f} %{interval}: "
            f"{format_rounded(stats.median(self.with_sampler_ms))} ms a step with, "
            f"{format_rounded(stats.median(self.without_sampler_ms))} ms without, "
            f"{len(self.with_sampler_ms)} sessions each"
        )


def sampler_overhead(plan: Plan, entry: DeviceEntry, home: Home, display: Display) -> Overhead:
    """Runs `plan.sessions` sessions of each kind in turn (A B B A ...) and compares them.

    Raises SuiteError if a session is not valid, DeviceError if the device fails, and what `prepare_host` raises.
    """
    preparation, runners = prepare_host(RunPlan((plan,)), [entry], home, display)
    (prepared,) = preparation.prepared
    medians: dict[bool, list[float]] = {True: [], False: []}
    with connect(entry, home.locks) as device:
        chosen = deployed_runner(device, device.facts(), runners, [prepared.workload.quant], home, display.note)
        deploy_program(device, prepared.artifact)
        for ordinal in range(plan.sessions):
            for sampled in (bool(index) for index in interleaved(2, ordinal)):
                found = device.sensors() if sampled else Discovery()
                name = f"overhead-{uuid.uuid4().hex[:12]}"
                log = home.session_log("overhead", name)
                order = SessionOrder(name, prepared, chosen, log)
                label = f"{'with' if sampled else 'without'} sampler {ordinal + 1}/{plan.sessions}"
                with display.steps(label, plan.steps) as on_step:
                    record, validity = run_session(device, order, found.sensors, sensor_plan(found), on_step)
                if validity.status is not SessionStatus.OK:
                    raise SuiteError(f"A session {label} is {validity.status}: {validity.reason}; run it again.")
                medians[sampled].append(stats.median(record.latencies_ms))
                display.note(f"{label}: {format_rounded(medians[sampled][-1])} ms a step")
    return compare_step_times(medians[True], medians[False])


def compare_step_times(sampled: Sequence[float], bare: Sequence[float]) -> Overhead:
    """Returns the median over rounds of each round's ratio, with the t interval on logarithms.

    The two sessions of a round ran one after the other. So drift between rounds, which may be far larger than the cost
    of the sampler, affects both and does not change their ratio.
    """
    ratios = [with_ms / without_ms for with_ms, without_ms in zip(sampled, bare, strict=True)]
    interval = stats.session_interval(ratios)
    bounds = None if isinstance(interval, Unavailable) else (_percent(interval.low), _percent(interval.high))
    return Overhead(tuple(sampled), tuple(bare), _percent(stats.median(ratios)), bounds)


def _percent(ratio: float) -> float:
    return 100 * (ratio - 1)


@dataclass(frozen=True)
class GradientQuality:
    """How well the projected gradients of a setting agree with the exact derivatives along their perturbations.

    `correlation` is that with the derivative of the fp32 model, `own_correlation` that with the derivative of the model
    with the setting's weights. `noise`: the rms of the difference from the latter over the latter's rms. `difference`:
    the rms of L+ - L-.
    """

    quant: str
    eps: float
    perturbations: int
    correlation: float
    own_correlation: float
    noise: float
    difference: float

    def __str__(self) -> str:
        return (
            f"{self.quant}, eps {self.eps:g}: correlation {self.correlation:.4f} with the fp32 model's derivative, "
            f"{self.own_correlation:.4f} with that of its own weights, and relative noise of {self.noise:.4f}; "
            f"L+ - L- is {self.difference:.2g}; {self.perturbations} perturbations"
        )


def check_gradients(
    plan: Plan,
    sizes: Sequence[float],
    perturbations: int,
    adapter: Path | None,
    entry: DeviceEntry,
    home: Home,
    display: Display,
) -> Iterator[GradientQuality]:
    """Yields the quality of each setting of the plan at each eps of `sizes`, from at least that many perturbations.

    The perturbations are those of `adapter`, a PEFT folder, or of a zero adapter. Raises SuiteError if a session is not
    valid, DeviceError if the device fails, UserError for another workload's adapter, and what `prepare_host` raises.
    """
    preparation, runners = prepare_host(RunPlan((plan,)), [entry], home, display, references=False)
    steps = max(1, -(-perturbations // plan.q))
    with display.waiting("computing the exact derivatives"):
        around = None if adapter is None else _read_adapter(adapter, preparation.prepared[0])
        of_model, *of_settings = _exact_derivatives(plan, preparation.prepared, around, _WARM_UP_STEPS + steps, display)
    with connect(entry, home.locks) as device, tempfile.TemporaryDirectory() as folder:
        state = None if around is None else Path(folder) / "start.safetensors"
        if around is not None and state is not None:
            write_state(around, state)
        runner = deployed_runner(device, device.facts(), runners, plan.quants, home, display.note)
        for prepared, of_weights in zip(preparation.prepared, of_settings, strict=True):
            deploy_program(device, prepared.artifact)
            for eps in sizes:
                losses = _losses(device, runner, _still(prepared, eps, steps), state, home, display)
                yield compare_gradients(prepared.workload.quant, eps, losses, of_model, of_weights)


def _read_adapter(folder: Path, prepared: Prepared) -> NDArray[np.float32]:
    from workloads.export.peft_folder import read_peft_folder  # takes seconds to import: only where it is used

    return read_peft_folder(prepared.workload, prepared.plan.config, folder)


def _exact_derivatives(
    plan: Plan, settings: Sequence[Prepared], adapter: NDArray[np.float32] | None, steps: int, display: Display
) -> Array:
    """Returns the derivatives of the fp32 model, then with each setting's weights: float64 [1 + settings, steps, q]."""
    from workloads.reference.eager import Batch, Reference  # takes seconds to import: only where it is used

    weights, data = load_model(plan.model, plan.weights_path, display.note), settings[0].data
    batch = Batch(data.tokens[0], data.first[0], data.labels[0])
    workloads = [item.workload for item in settings]
    gradients = [
        Reference(workload, weights.config, weights.state, exact=True).gradient(batch, adapter)
        for workload in (replace(workloads[0], quant="fp32"), *workloads)
    ]
    return derivatives_along(gradients, plan.seed, steps, plan.q)


def derivatives_along(gradients: Sequence[NDArray[np.floating[Any]]], seed: int, steps: int, queries: int) -> Array:
    """Returns the derivative of each gradient [n] along the perturbations of a run: float64 [gradients, steps, q]."""
    stacked = np.stack(gradients).astype(np.float64)
    found = [
        [stacked @ normal(seed, step, query, 0, stacked.shape[1]) for query in range(queries)] for step in range(steps)
    ]
    return np.moveaxis(np.array(found), -1, 0)


def compare_gradients(quant: str, eps: float, losses: Array, of_model: Array, of_weights: Array) -> GradientQuality:
    """Compares losses [steps, 2, q] with exact derivatives [steps, q] of at least as many steps.

    `of_model` are derivatives of the fp32 model, `of_weights` those of the model with the setting's weights.
    """
    differences = (losses[:, 0] - losses[:, 1]).reshape(-1)
    of_model, of_weights = (exact[: len(losses)].reshape(-1) for exact in (of_model, of_weights))
    projected = differences / (2 * eps)
    return GradientQuality(
        quant=quant,
        eps=eps,
        perturbations=projected.size,
        correlation=float(np.corrcoef(projected, of_model)[0, 1]),
        own_correlation=float(np.corrcoef(projected, of_weights)[0, 1]),
        noise=_rms(projected - of_weights) / _rms(of_weights),
        difference=_rms(differences),
    )


def _rms(values: Array) -> float:
    return float(np.sqrt(np.mean(values**2)))


def _still(prepared: Prepared, eps: float, steps: int) -> Prepared:
    """Returns the workload with steps that change nothing, on its first batch only."""
    plan = replace(prepared.plan, lr=0.0, eps=eps, steps=steps, max_warm_up_steps=_WARM_UP_STEPS)
    return replace(prepared, plan=plan, data=_first_of(prepared.data), reference=_NOT_COMPARED)


def _first_of(data: TaskBatches) -> TaskBatches:
    parts = {name: getattr(data, name)[:1] for name in ("tokens", "first", "labels", "classes")}
    return replace(data, **parts)


def _losses(
    device: Device, runner: BuiltRunner, prepared: Prepared, state: Path | None, home: Home, display: Display
) -> Array:
    """Runs one session and returns its losses: float64 [steps, 2, q]."""
    name = f"gradient-{uuid.uuid4().hex[:12]}"
    order = SessionOrder(name, prepared, runner, home.session_log("gradients", name), state_before=state)
    label = f"{prepared.workload.quant}, eps {prepared.training.eps:g}"
    with display.steps(label, prepared.plan.steps) as on_step:
        record, validity = run_session(device, order, (), sensor_plan(Discovery()), on_step)
    if validity.status is not SessionStatus.OK:
        raise SuiteError(f"The session of {label} is {validity.status}: {validity.reason}; run the check again.")
    found: Array = np.array([step.losses for step in record.steps], dtype=np.float64)
    return found.reshape(len(record.steps), 2, -1)
