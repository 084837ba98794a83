"""Carries out one session on one device: a workload's steps in their own process. Decides whether its numbers count.

For a planned session the device cools down, and the session is measured and stored. It is repeated while the device
throttles.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from devices.access.connect import Device
from devices.deployment.built_runner import BuiltRunner
from devices.errors import DeployError, DeviceLost
from devices.inventory.entry import DeviceEntry
from devices.sensors.spec import Discovery, Sensor
from foundation.text import format_rounded
from foundation.unavailable import Unavailable
from suite import stats
from suite.measuring.deployment import load_afresh
from suite.measuring.idle_device import Clock, IdleBracket, ThermalGate, bracket
from suite.measuring.job import Job, OnStep, run_job, step_inputs
from suite.measuring.meter import Meter, NoMeter, open_meter
from suite.measuring.recording import OpenMeasurement, useless
from suite.measuring.run import Run
from suite.measuring.sensor_plan import SensorPlan, sensor_plan
from suite.planning.plan import describe_workload
from suite.preparing.preparation import Prepared
from suite.sessions.record import SessionRecord
from suite.sessions.validity import Expectation, SessionResult, SessionStatus, Validity, judge
from suite.store.identity import session_id, workload_key
from suite.store.store import Progress

_FEWEST_WARM_UP_STEPS = 2
_SLOWEST_FLOPS_PER_S = 2e8
_SPARE_SECONDS = 300.0
_MOST_ATTEMPTS = 3
"""A throttled session is repeated at most twice."""


@dataclass(frozen=True)
class SessionOrder:
    """What to run: a prepared workload on a device where runner and program are deployed already.

    `check_stop` is called several times a second and raises when the session has to be given up. `state_before` is a
    file on this host with the state to start from, instead of a zero adapter. `profile`: every second step reports
    where its time goes. `memory_every`: after this many steps the process reports its memory; 0: never. The measured
    steps take at least `lasting_s`.
    """

    session_id: str
    prepared: Prepared
    runner: BuiltRunner
    log: Path
    throttle_notes: tuple[str, ...] = ()
    check_stop: Callable[[], None] = lambda: None
    state_before: Path | None = None
    profile: bool = False
    memory_every: int = 0
    lasting_s: float = 0.0


def run_session(
    device: Device, order: SessionOrder, sensors: Sequence[Sensor], plan: SensorPlan, on_step: OnStep
) -> tuple[SessionRecord, Validity]:
    """Runs a session. Returns its record and whether it counts. Raises what `run_job` raises."""
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
        state_before=order.state_before,
        profile=order.profile,
        memory_every=order.memory_every,
        check_stop=order.check_stop,
    )


def longest_s(steps: int, flops_per_step: float) -> float:
    """Returns how long `steps` steps may take on the slowest useful board; a runner that takes longer hangs."""
    return _SPARE_SECONDS + steps * flops_per_step / _SLOWEST_FLOPS_PER_S


def least_seconds(order: SessionOrder, sensors: SensorPlan) -> float:
    """Returns the least time of the measured steps: the order's and, where power is read, the plan's energy window."""
    # A little more, as a window needs 100 periods of the sampler and these are not exactly 100 ms long.
    window_s = 1.02 * order.prepared.plan.energy_window_s if sensors.energy_sensors else 0.0
    return max(order.lasting_s, window_s)


class Attempts:
    """Takes the sessions of one device. `on_kept` is called after each one, unless the device was lost."""

    def __init__(
        self, run: Run, entry: DeviceEntry, clock: Clock, note: Callable[[str], None], on_kept: Callable[[], None]
    ) -> None:
        self.run, self.entry, self.clock = run, entry, clock
        self._note, self._on_kept = note, on_kept
        self._gate: ThermalGate | None = None
        self._idle = IdleBracket(clock)

    def forget_idle(self) -> None:
        """Discards the known idle power: what the device did since it was last seen is unknown."""
        self._idle.forget()

    def take(self, device: Device, item: OpenMeasurement, ordinal: int, progress: Progress) -> None:
        """Takes one planned session, with repetitions while the device throttles. Raises DeviceLost."""
        gate = self.gate(device)
        workload = describe_workload(item.prepared.workload)
        place = (self.entry.name, workload_key(workload), item.prepared.role, ordinal)
        if place in progress.done:
            return
        if item.prepared.fresh_loads:
            try:
                load_afresh(device, item.prepared.artifact)
            except DeployError as error:
                item.abandoned = str(error)
                return
        first = progress.attempts.get(place, 0)
        for attempt in range(first, first + _MOST_ATTEMPTS):
            name = session_id(self.run.run_id, self.entry.name, workload, ordinal, attempt, item.prepared.role)
            result = self._attempt(device, item, name, ordinal, attempt, gate)
            self.run.store.add_session(item.measurement_id, result)
            self._report(item, result)
            if result.validity.status is SessionStatus.LOST:
                raise DeviceLost(result.validity.reason or "the device was lost")
            self._on_kept()
            item.abandoned = useless([result])
            if result.validity.status is not SessionStatus.THROTTLED:
                return

    def gate(self, device: Device) -> ThermalGate:
        """Returns the gate that waits for a cool device. The temperature to return to is read at the first session."""
        if self._gate is None:
            self._gate = ThermalGate.at_start(device, device.sensors().sensors, self.clock)
        return self._gate

    def _attempt(
        self, device: Device, item: OpenMeasurement, name: str, ordinal: int, attempt: int, gate: ThermalGate
    ) -> SessionResult:
        found = device.sensors()  # for each session again, as a charger may have been plugged in
        sensors = sensor_plan(found, self.entry.power)
        hot = gate.wait(device, found.sensors, self._note)
        order = SessionOrder(
            session_id=name,
            prepared=item.prepared,
            runner=item.runner,
            log=self.run.home.session_log(self.run.run_id, name),
            throttle_notes=() if hot is None else (hot,),
            check_stop=self.run.stop.check,
        )
        plan = item.prepared.plan
        label = f"{self.entry.name} {item.label} session {ordinal + 1}/{plan.sessions}"
        with open_meter(device, order.runner.command(device.places.runner(order.runner.hash)), self.clock) as meter:
            before = self._idle.before(lambda: self._idle_power(meter, found, sensors))
            with self.run.display.steps(label, plan.steps) as on_step:
                record, validity = run_session(device, order, found.sensors, sensors, on_step)
            record, lost = meter.joined(record), validity.status is SessionStatus.LOST
            if lost:
                after: float | Unavailable = Unavailable("the device was lost")
            else:
                after = self._idle.after(lambda: self._idle_power(meter, found, sensors))
        return SessionResult(name, ordinal, attempt, record, validity, bracket(before, after))

    def _idle_power(self, meter: Meter | NoMeter, found: Discovery, sensors: SensorPlan) -> float | Unavailable:
        with self.run.display.waiting(f"{self.entry.name}: measuring idle power"):
            return meter.idle_power_mw(found.sensors, sensors)

    def _report(self, item: OpenMeasurement, result: SessionResult) -> None:
        label = f"{item.label} session {result.ordinal + 1}/{item.prepared.plan.sessions}"
        if result.validity.status is SessionStatus.OK:
            median, peak = stats.median(result.record.latencies_ms), result.record.peak_memory_kib
            memory = "" if peak is None else f", peak {format_rounded(peak / 1024)} MiB"
            self._note(f"{label}: {format_rounded(median)} ms a step{memory}")
        else:
            self._note(f"{label}: {result.validity.status}: {result.validity.reason}")
