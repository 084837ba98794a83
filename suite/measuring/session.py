"""One session on one device: write the job, launch the runner, keep every line it prints, judge what came."""

from __future__ import annotations

import contextlib
import json
import posixpath
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from io import FileIO
from pathlib import Path
from typing import Any

from devices.access.connect import Device
from devices.deployment.built_runner import BuiltRunner
from devices.deployment.deploy import timeout_for
from devices.errors import DeviceLost, FileError, OutputLimitError, TransportTimeout
from devices.processes import ProcessEnd
from devices.sensors.spec import Sensor
from reports.model.quantities import TEMPERATURE
from suite.errors import StoreError
from suite.measuring.sensor_plan import SensorPlan
from suite.preparing.preparation import Prepared
from suite.sessions.collect import collect
from suite.sessions.record import SessionRecord
from suite.sessions.validity import Expectation, Validity, judge
from workloads.tasks.batches import write_inputs

WARM_UP_TOLERANCE = 0.04
"""Warm-up ends when two moving averages of step time agree so closely [androidx benchmark, WarmupManager]."""

_WARM_UP_SECONDS = 120.0
_SLOWEST_FLOPS_PER_S = 2e8
_SPARE_SECONDS = 300.0

OnStep = Callable[[str, int], None]  # phase, number of steps so far


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


class _TripPoint(Exception):  # noqa: N818 - a reason to stop, not a fault of ours
    """A zone reached the temperature at which the device itself steps in."""


def run_session(
    device: Device, order: SessionOrder, sensors: Sequence[Sensor], plan: SensorPlan, on_step: OnStep
) -> tuple[SessionRecord, Validity]:
    """The session's record and what it is worth.

    What `check_stop` raises goes through, with the runner ended, and so does KeyboardInterrupt; a device that is lost
    is part of the record.
    """
    folder = device.places.job(order.session_id)
    lines: list[str] = []
    held_back = list(order.throttle_notes)
    try:
        _note_throttling(device, held_back)
        _place_job(device, folder, order, sensors)
        with _opened(order.log) as log:
            outcome = _launch(device, folder, order, _Listener(lines, log, on_step, plan))
        _note_throttling(device, held_back)
        # A folder that stays is removed by the next run; it is no reason to lose the session.
        with contextlib.suppress(FileError):
            device.transport.remove(folder, recursive=True)
    except DeviceLost as error:
        outcome = ProcessEnd(rc=None, lost=str(error))
    record = collect(order.session_id, lines, outcome, plan.quantities)
    wanted = expectation(order, plan)
    return record, judge(record, replace(wanted, throttle_notes=tuple(held_back), cpus=device.entry.cpus))


def _note_throttling(device: Device, notes: list[str]) -> None:
    """Adds what the device itself says of holding itself back, just before and just after the session."""
    note = device.throttling()
    if note is not None:
        notes.append(note)


def expectation(order: SessionOrder, plan: SensorPlan) -> Expectation:
    """What the session must show to count."""
    return Expectation(
        measured_steps=order.prepared.plan.steps,
        expected=order.prepared.expected_losses,
        trip_mc=plan.trip_mc,
        throttle_notes=order.throttle_notes,
    )


def job_document(
    device: Device, order: SessionOrder, sensors: Sequence[Sensor], inputs: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """The job of docs/contracts.md."""
    plan, training = order.prepared.plan, order.prepared.training
    by_name = {entry["name"]: entry for entry in inputs} | {
        "key": {"name": "key", "dtype": "int64", "shape": [2], "step_key": {"seed": training.seed}},
        "lr": {"name": "lr", "dtype": "float32", "shape": [], "value": [training.lr]},
        "eps": {"name": "eps", "dtype": "float32", "shape": [], "value": [training.eps]},
    }
    document: dict[str, Any] = {
        "schema": 1,
        "session": order.session_id,
        "program": f"../../artifacts/{order.prepared.artifact.hash}/program.pte",
        "method": "forward",
        "inputs": [by_name[name] for name in order.prepared.workload.training_method.inputs],
        "outputs": {"losses": 0},
        "warm_up": {
            "min_steps": 2,
            "max_steps": plan.max_warm_up_steps,
            "max_seconds": _WARM_UP_SECONDS,
            "tolerance": WARM_UP_TOLERANCE,
        },
        "steps": plan.steps,
        "min_measured_seconds": 0.0,
        "threads": threads_of(device),
        "sensors": [sensor.job_entry() for sensor in sensors],
    }
    if device.entry.cpus is not None:
        document["cpus"] = list(device.entry.cpus)
    artifact = order.prepared.artifact
    if artifact.data:  # a runner of an earlier suite, as baselines may have, does not know the key
        document["data"] = [f"../../weights/{file.hash}/{file.name}" for file in artifact.data]
    return document


def threads_of(device: Device) -> int:
    """The entry's threads, else one for each of its CPUs, else one for each CPU of the device."""
    if device.entry.threads is not None:
        return device.entry.threads
    if device.entry.cpus is not None:
        return len(device.entry.cpus)
    return device.facts().cpu_count or 1


def _place_job(device: Device, folder: str, order: SessionOrder, sensors: Sequence[Sensor]) -> None:
    transport = device.transport
    transport.mkdir(folder)
    local = order.log.with_suffix(".inputs")  # of this session alone: devices work side by side
    try:
        inputs = [entry.as_job_entry() for entry in write_inputs(order.prepared.data, local)]
    except OSError as error:
        raise _unwritable("the inputs", local, error) from error
    transport.push(local, posixpath.join(folder, local.name), timeout_s=timeout_for(local.stat().st_size))
    local.unlink(missing_ok=True)  # the next session makes the same again
    job = json.dumps(job_document(device, order, sensors, inputs), indent=1)
    transport.write(posixpath.join(folder, "job.json"), job.encode())


@dataclass
class _Listener:
    """Takes the runner's lines as they come: into memory, onto the disk, and the steps to whoever watches."""

    lines: list[str]
    log: FileIO
    on_step: OnStep
    sensors: SensorPlan
    steps: int = 0

    def __call__(self, line: str) -> None:
        self.lines.append(line)
        try:
            rest = memoryview(f"{line}\n".encode("utf-8", "replace"))
            while rest:  # a disk that fills up takes a part first
                rest = rest[self.log.write(rest) :]
        except OSError as error:
            raise _unwritable("the raw output", str(self.log.name), error) from error
        if line.startswith('{"event":"step"'):
            self.steps += 1
            self.on_step("measuring" if '"measured"' in line else "warming up", self.steps)
        elif self.sensors.trip_mc and line.startswith('{"event":"sample"'):
            self._watch_temperature(line)

    def _watch_temperature(self, line: str) -> None:
        try:
            sample = json.loads(line)
            name, value = str(sample["sensor"]), float(sample["value"])
        except (ValueError, KeyError, TypeError):
            return  # the collector will name what is wrong with it
        if self.sensors.quantities.get(name) == TEMPERATURE and value >= self.sensors.trip_mc.get(name, float("inf")):
            raise _TripPoint(f"{name} reached {value / 1e3:.1f} degC, its trip point: cool the device")


def _launch(device: Device, folder: str, order: SessionOrder, listener: _Listener) -> ProcessEnd:
    command = order.runner.command(device.places.runner(order.runner.hash))
    timeout_s = _deadline_s(order)
    try:
        return device.launch(
            [*command, "job.json"], listener, timeout_s=timeout_s, cwd=folder, while_waiting=order.check_stop
        )
    except _TripPoint as reason:
        return ProcessEnd(rc=None, stopped=str(reason))
    except TransportTimeout:
        return ProcessEnd(rc=None, stopped=f"it was not done after {timeout_s:.0f} s")
    except OutputLimitError as error:
        return ProcessEnd(rc=None, stopped=str(error))


def _deadline_s(order: SessionOrder) -> float:
    """Long enough for the slowest board that is of any use; a hung runner ends here."""
    plan = order.prepared.plan
    steps = plan.max_warm_up_steps + plan.steps
    return _SPARE_SECONDS + steps * order.prepared.estimate.flops_per_step / _SLOWEST_FLOPS_PER_S


def _opened(path: Path) -> FileIO:
    try:
        return FileIO(
            path, "w"
        )  # unbuffered: a line that came is on the disk, and closing cannot fail for what is left
    except OSError as error:
        raise _unwritable("the raw output", path, error) from error


def _unwritable(what: str, path: Path | str, error: OSError) -> StoreError:
    return StoreError(
        f"{what} cannot be written to {path} ({error.strerror}, error {error.errno}): "
        "free space or make the folder writable, then go on with `suite run --resume`"
    )
