"""One device's part of a run: connect, check, deploy, and its sessions, interleaved over the settings.

Every session is stored before the next one starts; what cannot be measured becomes a measurement that says why. A
device that is lost is connected to again, and goes on where the store says it was.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from tenacity import Retrying, retry_if_exception_type

from devices.built_runner import BuiltRunner
from devices.connect import Device, connect
from devices.entry import DeviceEntry
from devices.errors import DeployError, DeviceError, DeviceLost
from devices.preflight import Check, check_memory
from devices.sensors.spec import Discovery
from foundation.unavailable import Unavailable
from suite import stats
from suite.arithmetic import probe_accumulation, reference_for
from suite.deployment import CacheRoom, deploy_program, deploy_runner, needs, remove_old_jobs
from suite.display import Display
from suite.gate import Clock, ThermalGate
from suite.home import Home
from suite.idle_bracket import IdleBracket, bracketed
from suite.measurement import SensorFact, SessionResult, Subject, measure, usable
from suite.meter import Meter, NoMeter, metered
from suite.plan import described, interleaved
from suite.preparation import NOT_YET, Preparation, Prepared, depends_on_device
from suite.run_plan import RunPlan
from suite.runners import Runners
from suite.sensors import SensorPlan, sensor_plan
from suite.session import SessionOrder, run_session
from suite.shown import rounded
from suite.stopping import StopSign
from suite.store.identity import session_id, workload_key
from suite.store.store import Progress, Store
from suite.validity import SessionStatus
from workloads.arithmetic_probe import PROBE, Accumulation
from workloads.reference_losses import ReferenceLosses

MOST_ATTEMPTS = 3
"""A throttled session is redone at most twice."""

MOST_RECONNECTS = 2
"""So often in a row a lost device is connected to again; a session that ends well starts the count anew."""

RECONNECT_SECONDS = (2.0, 60.0)
"""The waits before it: a link that broke is back soon, a device that starts anew takes about a minute."""

_HARDWARE = (
    "machine",
    "board",
    "cpu_models",
    "cpu_count",
    "cpu_features",
    "microcode",
    "memory_kib",
    "virtual_machine",
)


@dataclass(frozen=True)
class Run:
    """What all devices of a run share.

    `stop` ends all devices' threads. `clock` is what waits between sessions, and `root` stands in for the devices' "/"
    when /proc and /sys are read: tests bring their own.
    """

    run_id: str
    plan: RunPlan
    preparation: Preparation
    runners: Runners
    home: Home
    store: Store
    display: Display
    stop: StopSign = field(default_factory=StopSign)
    clock: Clock | None = None
    root: str = "/"


@dataclass
class _Measuring:
    """A measurement under way. `label` names its workload among those of the run."""

    measurement_id: int
    label: str
    prepared: Prepared
    subject: Subject
    abandoned: str | None = None


class Campaign:
    """The sessions of one run on one device."""

    def __init__(self, run: Run, entry: DeviceEntry) -> None:
        self.run, self.entry = run, entry
        self.prepared = [item for item in run.preparation.prepared if entry.name in item.plan.devices]
        self.clock = run.clock or Clock(sleep=run.stop.sleep)
        self._begun_ns = self.clock.monotonic_ns()
        self._device_id: int | None = None
        self._sensors: SensorPlan | None = None
        self._gate: ThermalGate | None = None
        self._runner: BuiltRunner | None = None
        self._losses_in_a_row = 0
        self._told_loss: str | None = None
        self._arithmetic: Accumulation | None = None
        self._idle = IdleBracket(self.clock)

    def measure_all(self) -> list[dict[str, Any]]:
        """Measure every setting -> the measurement documents. A DeviceError becomes their reason, not an exception.

        Raises Stopped when the run is to end, and what concerns the whole run (StoreError, UserError).
        """
        retrying = Retrying(
            retry=retry_if_exception_type(DeviceLost),
            stop=lambda _state: self._losses_in_a_row > MOST_RECONNECTS,
            wait=lambda _state: self._reconnect_seconds(),
            sleep=self.clock.sleep,
            before_sleep=lambda state: self._tell_reconnect(state.upcoming_sleep),
            reraise=True,
        )
        try:
            return retrying(self._connected)
        except DeviceError as error:
            return self._failed(str(error))

    def _connected(self) -> list[dict[str, Any]]:
        """Everything that is not in the store yet, over one connection. Raises DeviceLost when that breaks."""
        self.run.stop.check()
        self._idle.forget()
        try:
            with connect(self.entry, self.run.home.locks, root=self.run.root) as device:
                return self._on(device)
        except DeviceLost as error:
            self._losses_in_a_row += 1
            if self._losses_in_a_row == 1 or str(error) != self._told_loss:
                self._note(str(error))
            self._told_loss = str(error)
            raise

    def _reconnect_seconds(self) -> float:
        """Long only for a device that this run has met: one that is off, or misspelt, is not worth a minute."""
        met = self._device_id is not None
        return RECONNECT_SECONDS[min(self._losses_in_a_row, len(RECONNECT_SECONDS)) - 1 if met else 0]

    def _tell_reconnect(self, seconds: float) -> None:
        attempt = f"{self._losses_in_a_row} of {MOST_RECONNECTS}"
        kept = "" if self._device_id is None else "; sessions that are stored stay"
        self._note(f"connecting again in {seconds:g} s ({attempt}){kept}")

    def _on(self, device: Device) -> list[dict[str, Any]]:
        if device.left_over_pid is not None:
            self._note(f"ended the runner {device.left_over_pid} that an earlier run left behind")
        facts = device.facts()
        checks = device.preflight(needs(device, self.prepared))
        device_id = self._device_id = self._record_device(facts.as_document(), checks)
        self._runner = self.run.runners.runner_of(self.entry, facts.machine, self._note)
        for check in checks:
            if check.status != "ok":
                self._note(_told(check))
        if all(check.status != "failed" for check in checks):
            self._settle_arithmetic(device)
        sensors = self._sensors = sensor_plan(device.sensors(), self.entry.power)
        measuring = [self._begin(device_id, prepared, sensors) for prepared in self.prepared]
        reason = next((_told(check) for check in checks if check.status == "failed"), None)
        if reason is None:
            try:
                self._carry_out(device, measuring)
            except DeviceLost:
                raise
            except DeviceError as error:
                reason = str(error)
        return [self._finish(item, reason) for item in measuring]

    def _settle_arithmetic(self, device: Device) -> None:
        """Find out how the device sums products of float16, and take the reference that sums in the same way."""
        waiting = [item for item in self.prepared if item.reference is NOT_YET]
        probes = [probe for item in waiting if (probe := item.artifact.folder / PROBE).is_file()]
        if not probes or self._runner is None:
            return
        if self._arithmetic is None:
            found = probe_accumulation(device, self._runner, probes[0], self.run.stop.check)
            if isinstance(found, Unavailable):
                self._note(found.reason)
                return
            self._arithmetic = found
        references: dict[str, ReferenceLosses] = {}
        for item in sorted(waiting, key=lambda item: item.role == "baseline"):  # which has that of its candidate
            key = workload_key(described(item.workload))
            if key not in references:
                references[key] = reference_for(item, self._arithmetic, self.run.home.artifacts, self._note_or_stop)
        self.prepared = [
            replace(item, reference=references[workload_key(described(item.workload))]) if item in waiting else item
            for item in self.prepared
        ]

    def _carry_out(self, device: Device, measuring: Sequence[_Measuring]) -> None:
        """Deploy and measure. Raises DeviceError when the device itself fails."""
        remove_old_jobs(device)
        for item in measuring:
            memory = check_memory(device.tree, item.prepared.estimate.memory_bytes)
            if memory.status == "failed":
                item.abandoned = _told(memory)
        self._deploy(device, measuring)
        self._rounds(device, measuring)

    def _deploy(self, device: Device, measuring: Sequence[_Measuring]) -> None:
        """Bring runner and programs onto the device; a program that does not get there fails its setting alone."""
        runners = {self._runner_of(item.prepared).hash: self._runner_of(item.prepared) for item in measuring}
        artifacts = [item.prepared.artifact for item in measuring if item.abandoned is None]
        room = CacheRoom.of(device, runners.values(), artifacts, self._note)
        with self.run.display.bytes(f"{self.entry.name}: deploying") as on_progress:
            done = [deploy_runner(device, runner, room, on_progress) for runner in runners.values()]
            for item in measuring:
                if item.abandoned is None:
                    try:
                        done.append(deploy_program(device, item.prepared.artifact, room, on_progress))
                    except DeployError as error:
                        item.abandoned = str(error)
        room.mark_used()
        pushed = sum(deployment.pushed_bytes for deployment in done)
        files = sum(len(deployment.pushed) for deployment in done)
        self._note(f"pushed {files} files, {pushed / 1e6:.1f} MB" if files else "all files are there, nothing pushed")
        for item in measuring:
            if item.abandoned is not None:
                self._note(f"{item.label}: {item.abandoned}")

    def _rounds(self, device: Device, measuring: Sequence[_Measuring]) -> None:
        """All sessions that are not there yet, interleaved over the settings."""
        gate = self._gate = self._gate or ThermalGate.at_start(device, device.sensors().sensors, self.clock)
        progress = self.run.store.progress(self.run.run_id)
        for ordinal in range(max(item.prepared.plan.sessions for item in measuring)):
            for index in interleaved(len(measuring), ordinal):
                item = measuring[index]
                if item.abandoned is None and ordinal < item.prepared.plan.sessions:
                    item.abandoned = self._over_budget()
                    if item.abandoned is None:
                        self._session(device, item, ordinal, gate, progress)

    def _over_budget(self) -> str | None:
        """Why no further session may begin, None while there is time."""
        budget = self.run.plan.budget_minutes
        if budget is None or self.clock.monotonic_ns() - self._begun_ns < budget * 60e9:
            return None
        return f"the budget of {budget:g} minutes on this device was used up: raise it, or plan less"

    def _session(self, device: Device, item: _Measuring, ordinal: int, gate: ThermalGate, progress: Progress) -> None:
        """One planned session, with its repetitions while the device throttles."""
        workload = described(item.prepared.workload)
        place = (self.entry.name, workload_key(workload), item.prepared.role, ordinal)
        if place in progress.done:
            return
        first = progress.attempts.get(place, 0)
        for attempt in range(first, first + MOST_ATTEMPTS):
            name = session_id(self.run.run_id, self.entry.name, workload, ordinal, attempt, item.prepared.role)
            result = self._attempt(device, item, name, ordinal, attempt, gate)
            self.run.store.add_session(item.measurement_id, result)
            self._tell(item, result)
            if result.validity.status is SessionStatus.LOST:
                raise DeviceLost(result.validity.reason or "the device was lost")
            self._losses_in_a_row = 0
            item.abandoned = _no_use([result])
            if result.validity.status is not SessionStatus.THROTTLED:
                return

    def _attempt(
        self, device: Device, item: _Measuring, name: str, ordinal: int, attempt: int, gate: ThermalGate
    ) -> SessionResult:
        found = device.sensors()  # again for each session: a charger may have been plugged in
        sensors = sensor_plan(found, self.entry.power)
        hot = gate.wait(device, found.sensors, self._note)
        order = SessionOrder(
            session_id=name,
            prepared=item.prepared,
            runner=self._runner_of(item.prepared),
            log=self.run.home.session_log(self.run.run_id, name),
            throttle_notes=() if hot is None else (hot,),
            check_stop=self.run.stop.check,
        )
        plan = item.prepared.plan
        label = f"{self.entry.name} {item.label} session {ordinal + 1}/{plan.sessions}"
        with metered(device, order.runner.command(device.places.runner(order.runner.hash)), self.clock) as meter:
            before = self._idle.before(lambda: self._idle_power(meter, found, sensors))
            with self.run.display.steps(label, plan) as on_step:
                record, validity = run_session(device, order, found.sensors, sensors, on_step)
            record, lost = meter.joined(record), validity.status is SessionStatus.LOST
            if lost:
                after: float | Unavailable = Unavailable("the device was lost")
            else:
                after = self._idle.after(lambda: self._idle_power(meter, found, sensors))
        return SessionResult(name, ordinal, attempt, record, validity, bracketed(before, after))

    def _idle_power(self, meter: Meter | NoMeter, found: Discovery, sensors: SensorPlan) -> float | Unavailable:
        with self.run.display.waiting(f"{self.entry.name}: measuring idle power"):
            return meter.idle_power_mw(found.sensors, sensors)

    def _tell(self, item: _Measuring, result: SessionResult) -> None:
        label = f"{item.label} session {result.ordinal + 1}/{item.prepared.plan.sessions}"
        if result.validity.status is SessionStatus.OK:
            median, peak = stats.median(result.record.latencies_ms), result.record.peak_memory_kib
            memory = "" if peak is None else f", peak {rounded(peak / 1024)} MiB"
            self._note(f"{label}: {rounded(median)} ms a step{memory}")
        else:
            self._note(f"{label}: {result.validity.status}: {result.validity.reason}")

    def _note(self, text: str) -> None:
        self.run.display.note(f"{self.entry.name}: {text}")

    def _note_or_stop(self, text: str) -> None:
        """For what reports its progress now and then, and is given up when the run is to end."""
        self.run.stop.check()
        self._note(text)

    def _record_device(self, facts: Mapping[str, Any], checks: Sequence[Check]) -> int:
        hardware = {key: facts[key] for key in _HARDWARE}
        device_id = self.run.store.record_device(self.entry.name, self.entry.kind, self.entry.emulated, hardware)
        build = " ".join(str(facts[key]) for key in ("os_build", "kernel") if facts[key])
        self.run.store.record_device_state(
            self.run.run_id, device_id, build, facts, [asdict(check) for check in checks]
        )
        return device_id

    def _begin(self, device_id: int, prepared: Prepared, sensors: SensorPlan) -> _Measuring:
        workload, artifact = described(prepared.workload), prepared.artifact
        runner = prepared.runner or self._runner
        self.run.store.record_artifact(artifact.hash, prepared.workload.document(), artifact.document)
        measurement_id = self.run.store.begin_measurement(
            self.run.run_id,
            device_id,
            workload,
            planned_sessions=prepared.plan.sessions,
            artifact_hash=artifact.hash,
            runner_hash=None if runner is None else runner.hash,
            reference_losses=prepared.reference.losses,
            role=prepared.role,
        )
        stored = self.run.store.sessions_of(measurement_id)  # those of a run that is taken up again
        return _Measuring(
            measurement_id,
            self._label(prepared),
            prepared,
            self._subject(workload, prepared, sensors),
            _no_use(stored),
        )

    def _runner_of(self, prepared: Prepared) -> BuiltRunner:
        runner = prepared.runner or self._runner
        if runner is None:
            raise RuntimeError(f"{self.entry.name} has no runner: it is chosen when the device is connected")
        return runner

    def _label(self, prepared: Prepared) -> str:
        """The setting alone where that is all that differs."""
        workload, role = prepared.workload, "" if prepared.role == "measured" else f" {prepared.role}"
        if len(self.run.plan.plans) == 1:
            return f"{workload.quant}{role}"
        return f"{workload.model} {workload.quant} q={workload.q} b={workload.b} T={workload.T}{role}"

    def _subject(self, workload: Mapping[str, Any], prepared: Prepared, sensors: SensorPlan) -> Subject:
        return Subject(
            device=self.entry.name,
            kind=self.entry.kind,
            emulated=self.entry.emulated,
            workload=workload,
            planned_sessions=prepared.plan.sessions,
            program_bytes=prepared.artifact.program_bytes,
            weight_bytes=prepared.artifact.weight_bytes,
            sensors=sensors.facts,
            energy_sensors=sensors.energy_sensors,
            wrap_range_mj=sensors.wrap_range_mj,
            temperature_sensors=tuple(
                name for name, quantity in sensors.quantities.items() if quantity == "temperature_mc"
            ),
            expected=prepared.expected_losses,
            arithmetic=self._arithmetic if depends_on_device(prepared.workload) else None,
        )

    def _finish(self, item: _Measuring, reason: str | None) -> dict[str, Any]:
        """Judge what was stored; `reason` is why the device's part ended early."""
        sessions = self.run.store.sessions_of(item.measurement_id)
        document, why = measure(item.subject, sessions), item.abandoned or reason
        if why is not None and not sessions:
            document |= {"status": "failed", "reason": why}
        elif why is not None and document["status"] == "partial":
            document["reason"] = f"{document['reason']}; {why}"
        self.run.store.finish_measurement(item.measurement_id, document)
        if item.prepared.role != "measured":
            document["by_session"] = {result.ordinal: measure(item.subject, [result]) for result in usable(sessions)}
        return document | {"measurement_id": item.measurement_id, "role": item.prepared.role}

    def _failed(self, reason: str) -> list[dict[str, Any]]:
        """Measurements of a device that could not be reached, or not any more."""
        device_id = self._device_id
        if device_id is None:
            device_id = self.run.store.known_device(self.entry.name, self.entry.kind, self.entry.emulated)
        sensors = self._sensors or SensorPlan((SensorFact("device", "none", unavailable=reason),), {}, (), {}, {})
        begun = [self._begin(device_id, prepared, sensors) for prepared in self.prepared]
        return [self._finish(item, reason) for item in begun]


def _told(check: Check) -> str:
    return f"{check.name}: {check.detail}{f'; {check.remedy}' if check.remedy else ''}"


def _no_use(sessions: Sequence[SessionResult]) -> str | None:
    """Why further sessions of a setting are of no use, None when they are."""
    unsupported = [item.validity for item in sessions if item.validity.status is SessionStatus.UNSUPPORTED]
    return unsupported[0].reason if unsupported else None
