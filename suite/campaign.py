"""One device's part of a run: connect, check, deploy, and its sessions, interleaved over the settings.

Every session is stored before the next one starts; what cannot be measured becomes a measurement that says why.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from devices.connect import Device, connect
from devices.deploy import DeployFile, deploy
from devices.entry import DeviceEntry
from devices.errors import DeployError, DeviceError
from devices.preflight import Check, Needs
from devices.runner_build import BuiltRunner
from suite.display import Display
from suite.gate import ThermalGate, idle_power_mw
from suite.home import Home
from suite.measurement import SensorFact, SessionResult, Subject, measure
from suite.plan import Plan, described, interleaved
from suite.preparation import Preparation, Prepared
from suite.sensors import SensorPlan, sensor_plan
from suite.session import SessionOrder, run_session
from suite.session_energy import IdlePower
from suite.store.identity import session_id, workload_key
from suite.store.store import Progress, Store
from suite.unavailable import Unavailable
from suite.validity import SessionStatus

MOST_ATTEMPTS = 3
"""A throttled session is redone at most twice."""

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
    """What all devices of a run share."""

    run_id: str
    plan: Plan
    preparation: Preparation
    runner: BuiltRunner
    home: Home
    store: Store
    display: Display


@dataclass
class _Measuring:
    """A measurement under way."""

    measurement_id: int
    prepared: Prepared
    subject: Subject
    abandoned: str | None = None


class Campaign:
    """The sessions of one run on one device."""

    def __init__(self, run: Run, entry: DeviceEntry) -> None:
        self.run, self.entry = run, entry

    def measure_all(self) -> list[dict[str, Any]]:
        """Measure every setting -> the measurement documents. A DeviceError becomes their reason, not an exception."""
        try:
            with connect(self.entry, self.run.home.locks) as device:
                return self._on(device)
        except DeviceError as error:
            return self._failed(str(error))

    def _on(self, device: Device) -> list[dict[str, Any]]:
        display, facts = self.run.display, device.facts()
        if device.left_over_pid is not None:
            display.note(f"{self.entry.name}: ended the runner {device.left_over_pid} that an earlier run left behind")
        checks = device.preflight(self._needs(device))
        device_id = self._record_device(facts.as_document(), checks)
        for check in checks:
            if check.status != "ok":
                display.note(
                    f"{self.entry.name}: {check.name}: {check.detail}{f'; {check.remedy}' if check.remedy else ''}"
                )
        sensors = sensor_plan(device.sensors())
        measuring = [self._begin(device_id, prepared, sensors) for prepared in self.run.preparation.prepared]
        failed = [check for check in checks if check.status == "failed"]
        reason = f"{failed[0].name}: {failed[0].detail}; {failed[0].remedy}" if failed else self._deploy(device)
        if reason is None:
            reason = self._rounds(device, measuring)
        return [self._finish(item, reason) for item in measuring]

    def _needs(self, device: Device) -> Needs:
        prepared = self.run.preparation.prepared
        missing = [
            item.artifact.program_bytes
            for item in prepared
            if not device.transport.exists(f"{device.places.artifact(item.artifact.hash)}/program.pte")
        ]
        return Needs(disk_bytes=sum(missing), memory_bytes=max(item.estimate.memory_bytes for item in prepared))

    def _deploy(self, device: Device) -> str | None:
        """Bring runner and programs onto the device; why that failed, None when it did not."""
        name, display = self.entry.name, self.run.display
        try:
            with display.bytes(f"{name}: deploying") as on_progress:
                done = [deploy(device.transport, self.run.runner.files, device.places.runner(self.run.runner.hash))]
                for item in self.run.preparation.prepared:
                    artifact = item.artifact
                    file = DeployFile(artifact.program, "program.pte", artifact.program_sha256, artifact.program_bytes)
                    folder = device.places.artifact(artifact.hash)
                    done.append(deploy(device.transport, [file], folder, on_progress=on_progress))
        except DeployError as error:
            return str(error)
        pushed = sum(deployment.pushed_bytes for deployment in done)
        files = sum(len(deployment.pushed) for deployment in done)
        display.note(
            f"{name}: pushed {files} files, {pushed / 1e6:.0f} MB"
            if files
            else f"{name}: everything is there already, nothing pushed"
        )
        return None

    def _rounds(self, device: Device, measuring: Sequence[_Measuring]) -> str | None:
        """All sessions, interleaved; why it ended early, None when it did not."""
        gate = ThermalGate.at_start(device, device.sensors().sensors)
        progress = self.run.store.progress(self.run.run_id)
        plan = self.run.plan
        turns = [
            (ordinal, measuring[index])
            for ordinal in range(plan.sessions)
            for index in interleaved(len(measuring), ordinal)
        ]
        for ordinal, item in turns:
            if item.abandoned is not None:
                continue
            try:
                self._session(device, item, ordinal, gate, progress)
            except DeviceError as error:
                return str(error)
        return None

    def _session(self, device: Device, item: _Measuring, ordinal: int, gate: ThermalGate, progress: Progress) -> None:
        """One planned session, with its repetitions while the device throttles."""
        workload = described(item.prepared.workload)
        place = (self.entry.name, workload_key(workload), ordinal)
        if place in progress.done:
            return
        first = progress.attempts.get(place, 0)
        for attempt in range(first, first + MOST_ATTEMPTS):
            name = session_id(self.run.run_id, self.entry.name, workload, ordinal, attempt)
            result = self._attempt(device, item, name, ordinal, attempt, gate)
            self.run.store.add_session(item.measurement_id, result)
            self._tell(item, result)
            if result.validity.status is SessionStatus.UNSUPPORTED:
                item.abandoned = result.validity.reason
            if result.validity.status is not SessionStatus.THROTTLED:
                return

    def _attempt(
        self, device: Device, item: _Measuring, name: str, ordinal: int, attempt: int, gate: ThermalGate
    ) -> SessionResult:
        found = device.sensors()  # again for each session: a charger may have been plugged in
        sensors, display = sensor_plan(found), self.run.display
        hot = gate.wait(device, found.sensors, lambda text: display.note(f"{self.entry.name}: {text}"))
        order = SessionOrder(
            session_id=name,
            plan=self.run.plan,
            prepared=item.prepared,
            data=self.run.preparation.data,
            runner_hash=self.run.runner.hash,
            log=self.run.home.session_log(self.run.run_id, name),
            throttle_notes=() if hot is None else (hot,),
        )
        before = idle_power_mw(device, found.sensors, sensors.energy_sensors, sensors.wrap_range_mj)
        label = f"{self.entry.name} {item.prepared.workload.quant} session {ordinal + 1}"
        with display.steps(label, self.run.plan) as on_step:
            record, validity = run_session(device, order, found.sensors, sensors, on_step)
        after = idle_power_mw(device, found.sensors, sensors.energy_sensors, sensors.wrap_range_mj)
        return SessionResult(name, ordinal, attempt, record, validity, _idle(before, after))

    def _tell(self, item: _Measuring, result: SessionResult) -> None:
        label = (
            f"{self.entry.name} {item.prepared.workload.quant} session {result.ordinal + 1}/{self.run.plan.sessions}"
        )
        if result.validity.status is SessionStatus.OK:
            steps = result.record.latencies_ms
            median = sorted(steps)[len(steps) // 2]
            self.run.display.note(
                f"{label}: {median:.0f} ms a step, peak {(result.record.peak_memory_kib or 0) / 1024:.0f} MiB"
            )
        else:
            self.run.display.note(f"{label}: {result.validity.status}: {result.validity.reason}")

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
        self.run.store.record_artifact(artifact.hash, prepared.workload.document(), artifact.document)
        measurement_id = self.run.store.begin_measurement(
            self.run.run_id,
            device_id,
            workload,
            planned_sessions=self.run.plan.sessions,
            artifact_hash=artifact.hash,
            reference_losses=prepared.reference_losses,
        )
        return _Measuring(measurement_id, prepared, self._subject(workload, prepared, sensors))

    def _subject(self, workload: Mapping[str, Any], prepared: Prepared, sensors: SensorPlan) -> Subject:
        return Subject(
            device=self.entry.name,
            kind=self.entry.kind,
            emulated=self.entry.emulated,
            workload=workload,
            planned_sessions=self.run.plan.sessions,
            program_bytes=prepared.artifact.program_bytes,
            weight_bytes=prepared.artifact.weight_bytes,
            sensors=sensors.facts,
            energy_sensors=sensors.energy_sensors,
            wrap_range_mj=sensors.wrap_range_mj,
            temperature_sensors=tuple(
                name for name, quantity in sensors.quantities.items() if quantity == "temperature_mc"
            ),
            reference_losses=prepared.reference_losses,
        )

    def _finish(self, item: _Measuring, reason: str | None) -> dict[str, Any]:
        """Judge what was stored; `reason` is why the device's part ended early."""
        sessions = self.run.store.sessions_of(item.measurement_id)
        document = measure(item.subject, sessions)
        if reason is not None and not sessions:
            document |= {"status": "failed", "reason": reason}
        elif reason is not None and document["status"] == "partial":
            document["reason"] = f"{document['reason']}; {reason}"
        self.run.store.finish_measurement(item.measurement_id, document)
        return document | {"measurement_id": item.measurement_id}

    def _failed(self, reason: str) -> list[dict[str, Any]]:
        """Measurements of a device that could not be reached."""
        device_id = self.run.store.record_device(self.entry.name, self.entry.kind, self.entry.emulated, {})
        nothing = SensorPlan((SensorFact("device", "none", unavailable=reason),), {}, (), {}, {})
        begun = [self._begin(device_id, prepared, nothing) for prepared in self.run.preparation.prepared]
        return [self._finish(item, reason) for item in begun]


def _idle(before: float | Unavailable, after: float | Unavailable) -> IdlePower | Unavailable:
    if isinstance(before, Unavailable):
        return before
    return after if isinstance(after, Unavailable) else IdlePower(before, after)
