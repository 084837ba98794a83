"""One session on one device: the steps of a workload in a process of their own, and whether its numbers count."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from devices.access.connect import Device
from devices.deployment.built_runner import BuiltRunner
from devices.sensors.spec import Sensor
from suite.measuring.job import Job, OnStep, run_job, step_inputs
from suite.measuring.sensor_plan import SensorPlan
from suite.preparing.preparation import Prepared
from suite.sessions.record import SessionRecord
from suite.sessions.validity import Expectation, Validity, judge

_FEWEST_WARM_UP_STEPS = 2
_SLOWEST_FLOPS_PER_S = 2e8
_SPARE_SECONDS = 300.0


@dataclass(frozen=True)
class SessionOrder:
    """What to run: a prepared workload on a device where runner and program are deployed already.

    `check_stop` raises when the session is to be given up; it is called several times a second.
    """

    session_id: str
    prepared: Prepared
    runner: BuiltRunner
    log: Path
    throttle_notes: tuple[str, ...] = ()
    check_stop: Callable[[], None] = lambda: None


def run_session(
    device: Device, order: SessionOrder, sensors: Sequence[Sensor], plan: SensorPlan, on_step: OnStep
) -> tuple[SessionRecord, Validity]:
    """Returns the session's record and what it is worth; raises what `run_job` raises."""
    record, throttled = run_job(device, _job(order, least_seconds(order, plan)), sensors, plan, on_step)
    expectation = Expectation(
        measured_steps=order.prepared.plan.steps,
        expected=order.prepared.expected_losses,
        trip_mc=plan.trip_mc,
        throttle_notes=(*order.throttle_notes, *throttled),
        cpus=device.entry.cpus,
    )
    return record, judge(record, expectation)


def _job(order: SessionOrder, lasting_s: float) -> Job:
    prepared = order.prepared
    plan, training, data = prepared.plan, prepared.training, prepared.data
    names = prepared.workload.training_method.inputs
    return Job(
        name=order.session_id,
        artifact=prepared.artifact,
        runner=order.runner,
        log=order.log,
        kept=True,
        inputs=step_inputs(names, data.arrays, training.seed, training.lr, training.eps),
        steps=plan.steps,
        warm_up=(_FEWEST_WARM_UP_STEPS, plan.max_warm_up_steps),
        least_seconds=lasting_s,
        timeout_s=lasting_s + longest_s(plan.max_warm_up_steps + plan.steps, prepared.estimate.flops_per_step),
        check_stop=order.check_stop,
    )


def longest_s(steps: int, flops_per_step: float) -> float:
    """Returns how long `steps` steps may take on the slowest board that is of any use; a hung runner ends here."""
    return _SPARE_SECONDS + steps * flops_per_step / _SLOWEST_FLOPS_PER_S


def least_seconds(order: SessionOrder, sensors: SensorPlan) -> float:
    """Returns how long the measured steps must take: as long as the plan's window of energy, where power is read."""
    # A little more: the sampler's period, of which a window needs 100, is not exactly 100 ms.
    return 1.02 * order.prepared.plan.energy_window_s if sensors.energy_sensors else 0.0
