"""Stores one device's part of a run: the device, its measurements as they start, and their outcomes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace

from devices.checks.facts import Facts
from devices.checks.preflight import Check
from devices.deployment.built_runner import BuiltRunner
from devices.inventory.entry import DeviceEntry
from foundation.unavailable import Json, Unavailable
from reports.model.measurement import Measurement
from reports.model.quantities import TEMPERATURE
from suite.measuring.sensor_plan import SensorPlan
from suite.planning.plan import describe_workload
from suite.preparing.preparation import LeftOut, Prepared, depends_on_device
from suite.results.measurement import Subject, measure, usable
from suite.sessions.record import SensorFact
from suite.sessions.validity import SessionResult, SessionStatus
from suite.store.identity import NO_POWER_MODE, design_of
from suite.store.store import Store
from workloads.lowering.arithmetic_probe import Accumulation
from workloads.method import METHODS

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


@dataclass
class OpenMeasurement:
    """A measurement in progress. `label` names its workload among those of the run.

    `known_runner` is None if the device was never reached; `abandoned` is why no further session starts.
    """

    measurement_id: int
    label: str
    prepared: Prepared
    subject: Subject
    known_runner: BuiltRunner | None
    abandoned: str | None = None

    @property
    def runner(self) -> BuiltRunner:
        """The runner of its sessions."""
        if self.known_runner is None:
            raise RuntimeError(f"{self.subject.device} has no runner yet: it is chosen when the device is connected")
        return self.known_runner


@dataclass(frozen=True)
class RecordedMeasurement:
    """A measurement stored under `measurement_id`.

    `by_session` has a measurement for each single session, by ordinal, for the two sides of a confirmation.
    """

    measurement_id: int
    role: str
    measurement: Measurement
    by_session: Mapping[int, Measurement] = field(default_factory=dict)


def hardware_of(facts: Facts) -> dict[str, Json]:
    """Returns those facts of a device that identify it: if one changes, it is another device."""
    known = facts.as_document()
    return {key: known[key] for key in _HARDWARE}


class Recording:
    """The records of one device of a run. `runner` and `arithmetic` are set when they are known."""

    def __init__(self, store: Store, run_id: str, entry: DeviceEntry, *, only_plan: bool) -> None:
        self.store, self.run_id, self.entry = store, run_id, entry
        self._only_plan = only_plan
        self.runner: BuiltRunner | None = None
        self.arithmetic: Accumulation | None = None
        self._busy = ""
        self._power_mode: str | Unavailable = Unavailable("the device was not reached")
        self._device_id: int | None = None
        self._sensors: SensorPlan | None = None

    @property
    def met(self) -> bool:
        """Whether this run has reached the device."""
        return self._device_id is not None

    def record_device(self, facts: Facts, checks: Sequence[Check]) -> None:
        """Stores the device's identity and its state before its sessions."""
        known = facts.as_document()
        entry, store = self.entry, self.store
        self._device_id = store.record_device(entry.name, entry.kind, entry.emulated, hardware_of(facts))
        self._busy = next((check.detail for check in checks if check.name == "load" and check.status == "warning"), "")
        self._power_mode = facts.settings.get("power_mode", Unavailable(NO_POWER_MODE))
        build = " ".join(str(part) for part in (facts.os_build, facts.kernel) if part)
        store.record_device_state(self.run_id, self._device_id, build, known, [asdict(check) for check in checks])

    def begin(self, prepared: Sequence[Prepared], sensors: SensorPlan) -> list[OpenMeasurement]:
        """Opens a measurement for each setting, or continues those of a resumed run."""
        if self.met:
            self._sensors = sensors
        device_id = self._known_device()
        return [self._begin(device_id, item, sensors) for item in prepared]

    def _known_device(self) -> int:
        if self._device_id is not None:
            return self._device_id
        return self.store.known_device(self.entry.name, self.entry.kind, self.entry.emulated)

    def _begin(self, device_id: int, prepared: Prepared, sensors: SensorPlan) -> OpenMeasurement:
        workload, artifact = describe_workload(prepared.workload), prepared.artifact
        runner = prepared.runner or self.runner
        self.store.record_artifact(artifact.hash, prepared.workload.document(), artifact.document)
        measurement_id = self.store.begin_measurement(
            self.run_id,
            device_id,
            workload,
            planned_sessions=prepared.plan.sessions,
            artifact_hash=artifact.hash,
            runner_hash=None if runner is None else runner.hash,
            reference_losses=prepared.reference.losses,
            role=prepared.role,
            design=design_of(prepared.plan.document()),
        )
        return OpenMeasurement(
            measurement_id,
            self._label(prepared),
            prepared,
            self._subject(workload, prepared, sensors),
            runner,
            useless(self.store.sessions_of(measurement_id)),
        )

    def _label(self, prepared: Prepared) -> str:
        """Returns a label for the workload: the setting alone if nothing else differs."""
        workload, role = prepared.workload, "" if prepared.role == "measured" else f" {prepared.role}"
        if self._only_plan:
            return f"{workload.quant}{role}"
        method = "" if workload.method == METHODS[0] else f" {workload.method}"
        return f"{workload.model}{method} {workload.quant} q={workload.q} b={workload.b} T={workload.T}{role}"

    def _subject(self, workload: Mapping[str, Json], prepared: Prepared, sensors: SensorPlan) -> Subject:
        return Subject(
            device=self.entry.name,
            kind=self.entry.kind,
            emulated=self.entry.emulated,
            workload=workload,
            planned_sessions=prepared.plan.sessions,
            program_bytes=prepared.artifact.deployed_bytes,
            weight_bytes=prepared.artifact.weight_bytes,
            forward_tokens=prepared.workload.forward_tokens,
            sensors=sensors.facts,
            energy_sensors=sensors.energy_sensors,
            wrap_range_mj=sensors.wrap_range_mj,
            temperature_sensors=tuple(name for name, quantity in sensors.quantities.items() if quantity == TEMPERATURE),
            expected=prepared.expected_losses,
            arithmetic=self.arithmetic if depends_on_device(prepared.workload) else None,
            power_mode=self._power_mode,
            busy=self._busy,
        )

    def finish(self, item: OpenMeasurement, reason: str | None) -> RecordedMeasurement:
        """Computes the measurement from its sessions and stores it. `reason` is why the device's part ended early."""
        sessions = self.store.sessions_of(item.measurement_id)
        found, why, role = measure(item.subject, sessions), item.abandoned or reason, item.prepared.role
        if why is not None and not sessions:
            found = replace(found, status="failed", reason=why)
        elif why is not None and found.status == "partial":
            found = replace(found, reason=f"{found.reason}; {why}")
        self.store.finish_measurement(item.measurement_id, found)
        alone = usable(sessions) if role != "measured" else []
        by_session = {result.ordinal: measure(item.subject, [result]) for result in alone}
        return RecordedMeasurement(item.measurement_id, role, found, by_session)

    def leave_out(self, items: Sequence[LeftOut]) -> list[RecordedMeasurement]:
        """Stores measurements that no device could make. Their sessions from before an interruption stay unused."""
        return [self._leave_out(item) for item in items]

    def _leave_out(self, item: LeftOut) -> RecordedMeasurement:
        workload, reason = describe_workload(item.workload), str(item.error)
        measurement_id = self.store.begin_measurement(
            self.run_id, self._known_device(), workload, planned_sessions=item.plan.sessions, role=item.role
        )
        subject = Subject(self.entry.name, self.entry.kind, self.entry.emulated, workload, item.plan.sessions)
        why = Unavailable(reason)
        found = replace(measure(subject, []), status=item.status, reason=reason, program_bytes=why, weight_bytes=why)
        self.store.finish_measurement(measurement_id, found)
        return RecordedMeasurement(measurement_id, item.role, found)

    def fail(self, prepared: Sequence[Prepared], reason: str) -> list[RecordedMeasurement]:
        """Stores failed measurements of a device that could not be reached, or was lost."""
        sensors = self._sensors or SensorPlan((SensorFact("device", "none", unavailable=reason),), {}, (), {}, {})
        return [self.finish(item, reason) for item in self.begin(prepared, sensors)]


def useless(sessions: Sequence[SessionResult]) -> str | None:
    """Returns why further sessions of a setting are useless, or None if they are not."""
    unsupported = [item.validity for item in sessions if item.validity.status is SessionStatus.UNSUPPORTED]
    return unsupported[0].reason if unsupported else None
