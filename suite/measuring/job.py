"""Runs one process of the runner on a device: sends its job and inputs, launches it, and keeps every line it prints.

The caller decides what it computes: measured steps (session.py), or a part of a training or an evaluation
(suite/training).
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import posixpath
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from io import FileIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

from devices.access.connect import Device
from devices.checks.facts import usable_cpus
from devices.deployment.built_runner import BuiltRunner
from devices.deployment.deploy import timeout_for
from devices.errors import DeviceLost, FileError, OutputLimitError, TransportTimeout
from devices.processes import ProcessEnd
from devices.sensors.spec import Sensor
from devices.transports.shell.scripts import BUSY_LOOP
from foundation.atomic import write_atomic
from foundation.unavailable import Json
from reports.model.quantities import TEMPERATURE
from suite.errors import StoreError
from suite.measuring.sensor_plan import SensorPlan
from suite.sessions.collect import collect
from suite.sessions.record import SessionRecord
from workloads.export.artifact import Artifact
from workloads.tasks.batches import write_arrays

WARM_UP_TOLERANCE = 0.04
"""Warm-up ends when two moving averages of step time agree this closely [androidx benchmark, WarmupManager]."""

_WARM_UP_SECONDS = 120.0
_STATE = "state.safetensors"
_STATES = "states"
"""Folder beside those of jobs, for the newest state, from which the next process usually starts."""

Array = NDArray[Any]
OnStep = Callable[[str, int], None]  # phase, number of steps so far


@dataclass(frozen=True)
class Job:
    """What one process does. Runner, program and data files are on the device already.

    `inputs` are the program's, in its order. Each is either an array [batches, ...], of which step i takes batch i
    modulo their number, or the job's description of the input (`step_inputs`). `shorter` are programs of the same step
    for shorter rows, which are on the device too.

    `warm_up` are the fewest and the most steps before the `steps` that count; these continue until they have taken
    `least_seconds`. `state_before` is a file on this host with the state to start from, `state_after` the path for the
    state after the last step, which only a complete process leaves. `kept`: the job and its inputs stay beside `log`.
    `check_stop` is called several times a second and raises when the process has to be ended.

    `busy_loops` is the number of loops that run on the device beside the process. `profile`: every second step reports
    where its time goes. `memory_every`: after this many steps the process reports its memory, and each step reports
    how often it requested memory; 0: neither.
    """

    name: str
    artifact: Artifact
    runner: BuiltRunner
    log: Path
    inputs: Mapping[str, Array | Mapping[str, Any]]
    steps: int
    warm_up: tuple[int, int]
    timeout_s: float
    least_seconds: float = 0.0
    kept: bool = False
    state_before: Path | None = None
    state_after: Path | None = None
    shorter: Sequence[Artifact] = ()
    busy_loops: int = 0
    profile: bool = False
    memory_every: int = 0
    check_stop: Callable[[], None] = field(default=lambda: None)


WITH_BUSY_LOOPS = f"""\
{BUSY_LOOP}left=$1
shift
while [ "$left" -gt 0 ]; do busy & left=$((left - 1)); done
exec "$@"
"""
"""Starts a number of loops and becomes the program in its other arguments. The loops end with that."""


class _TripPoint(Exception):  # noqa: N818 - a reason to stop, not an error
    """A zone reached the temperature at which the device itself steps in."""


def run_job(
    device: Device, job: Job, sensors: Sequence[Sensor], plan: SensorPlan, on_step: OnStep
) -> tuple[SessionRecord, list[str]]:
    """Runs the process. Returns its record, and what the device reported of throttling before and after it.

    Ends the runner and raises on what `check_stop` raises, or KeyboardInterrupt. A lost device is part of the record.
    Raises StoreError if the output can't be written to this host's disk.
    """
    folder = device.places.job(job.name)
    lines: list[str] = []
    throttled: list[str] = []
    try:
        _note_throttling(device, throttled)
        _place(device, folder, job, sensors)
        with _opened(job.log) as log:
            outcome = _launch(device, folder, job, _Listener(lines, log, on_step, plan))
        _note_throttling(device, throttled)
        if job.state_after is not None and outcome.rc == 0:
            _take_state(device, folder, job.state_after)
        # The next run removes a folder that is left; it is no reason to lose the session.
        with contextlib.suppress(FileError):
            device.transport.remove(folder, recursive=True)
    except DeviceLost as error:
        outcome = ProcessEnd(rc=None, lost=str(error))
    return collect(job.name, lines, outcome, plan.quantities), throttled


def _note_throttling(device: Device, notes: list[str]) -> None:
    note = device.throttling()
    if note is not None:
        notes.append(note)


def step_inputs(
    names: Sequence[str], arrays: Mapping[str, Array], seed: int, lr: float | Array, eps: float, first_step: int = 0
) -> dict[str, Array | Mapping[str, Any]]:
    """Returns the inputs `names` of training steps on the batches of `arrays`, with the noise from `first_step` on.

    `lr` is one rate for all steps, or float32 [steps].
    """
    key = {"seed": seed, "first": first_step} if first_step else {"seed": seed}  # which earlier runners understand
    rate = lr if isinstance(lr, np.ndarray) else {"dtype": "float32", "shape": [], "value": [lr]}
    inputs = {
        **arrays,
        "key": {"dtype": "int64", "shape": [2], "step_key": key},
        "lr": rate,
        "eps": {"dtype": "float32", "shape": [], "value": [eps]},
    }
    return {name: inputs[name] for name in names}


def threads_of(device: Device) -> int:
    """Returns the entry's threads, or one for each of its CPUs, or one for each CPU that the runner may use."""
    if device.entry.threads is not None:
        return device.entry.threads
    if device.entry.cpus is not None:
        return len(device.entry.cpus)
    return len(usable_cpus(device.tree)) or 1


def _document(
    device: Device, job: Job, sensors: Sequence[Sensor], inputs: Sequence[Mapping[str, Any]]
) -> dict[str, Json]:
    """Returns the job document (docs/contracts.md)."""
    fewest, most = job.warm_up
    document: dict[str, Any] = {
        "schema": 1,
        "session": job.name,
        "program": _program(job.artifact),
        "method": "forward",
        "inputs": inputs,
        "outputs": {"losses": 0},
        "warm_up": {
            "min_steps": fewest,
            "max_steps": most,
            "max_seconds": _WARM_UP_SECONDS,
            "tolerance": WARM_UP_TOLERANCE,
        },
        "steps": job.steps,
        "min_measured_seconds": job.least_seconds,
        "threads": threads_of(device),
        "sensors": [sensor.job_entry() for sensor in sensors],
    }
    if device.entry.cpus is not None:
        document["cpus"] = list(device.entry.cpus)
    kernels = job.runner.kernels.get(job.artifact.quant)
    if kernels is not None:
        document["kernels"] = kernels
    if job.artifact.data:  # runners of earlier suites, which baselines may have, don't know the key
        document["data"] = [f"../../weights/{file.hash}/{file.name}" for file in job.artifact.data]
    if job.shorter:
        document["shorter"] = [_program(artifact) for artifact in job.shorter]
    if job.profile:
        document["profile"] = True
    if job.memory_every:
        document["memory_every"] = job.memory_every
    if job.state_before is not None:
        document["state_in"] = f"../{_STATES}/{_state_name(job.state_before)}"
    if job.state_after is not None:
        document["state_out"] = _STATE
    return document


def measure_device(
    device: Device,
    runner: BuiltRunner,
    mode: str,
    name: str,
    threads: int,
    *,
    most_lines: int,
    timeout_s: float,
    check_stop: Callable[[], None] = lambda: None,
) -> tuple[list[str], ProcessEnd]:
    """Returns what a deployed runner printed that was to measure the device itself (docs/contracts.md), and how it
    ended. Raises DeviceError."""
    transport, folder = device.transport, device.places.job(name)
    job: dict[str, Json] = {"schema": 1, "session": name, "threads": threads}
    if device.entry.cpus is not None:
        job["cpus"] = list(device.entry.cpus)
    transport.mkdir(folder)
    transport.write(posixpath.join(folder, "job.json"), json.dumps(job).encode())
    command = [*runner.command(device.places.runner(runner.hash)), mode, "job.json"]
    lines: list[str] = []

    def take(line: str) -> None:
        if len(lines) == most_lines:
            raise OutputLimitError(f"it printed more than {most_lines} lines")
        lines.append(line)

    try:
        end = device.launch(command, take, timeout_s=timeout_s, cwd=folder, while_waiting=check_stop)
    except TransportTimeout:
        end = ProcessEnd(rc=None, stopped=f"it had not finished after {timeout_s:.0f} s")
    except OutputLimitError as error:
        end = ProcessEnd(rc=None, stopped=str(error))
    transport.remove(folder, recursive=True)
    return lines, end


def _program(artifact: Artifact) -> str:
    return f"../../artifacts/{artifact.hash}/program.pte"


def _place(device: Device, folder: str, job: Job, sensors: Sequence[Sensor]) -> None:
    transport = device.transport
    transport.mkdir(folder)
    local = job.log.with_suffix(".inputs")  # for this process alone, as devices work in parallel
    arrays = {name: value for name, value in job.inputs.items() if isinstance(value, np.ndarray)}
    try:
        entries = write_arrays(arrays, local)
        if job.kept:
            local = _rename_inputs(local)
    except OSError as error:
        raise _unwritable("the inputs", local, error) from error
    files = {entry.name: replace(entry, file=local.name).as_job_entry() for entry in entries}
    transport.push(local, posixpath.join(folder, local.name), timeout_s=timeout_for(local.stat().st_size))
    if job.state_before is not None:
        _place_state(device, job.state_before)
    if not job.kept:
        local.unlink(missing_ok=True)  # the next session writes the same again
    inputs = [
        files[name] if isinstance(value, np.ndarray) else {"name": name, **value} for name, value in job.inputs.items()
    ]
    document = json.dumps(_document(device, job, sensors, inputs), indent=1)
    if job.kept:
        own = job.log.with_suffix(".job.json")
        try:
            write_atomic(own, document.encode())
        except OSError as error:
            raise _unwritable("the job", own, error) from error
    transport.write(posixpath.join(folder, "job.json"), document.encode())


def _rename_inputs(written: Path) -> Path:
    """Renames the inputs after their content, so that sessions on the same batches share one file."""
    with written.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return written.replace(written.with_name(f"inputs-{digest[:16]}.bin"))


def write_state(adapter: NDArray[np.float32], path: Path) -> None:
    """Writes a state with `adapter`, float32 [n]; everything else in it is zero.

    Raises StoreError if it can't be written.
    """
    try:
        write_atomic(path, save({"adapter": adapter}))
    except OSError as error:
        raise StoreError(
            f"the state to start from cannot be written to {path} ({error.strerror}, error {error.errno}): free space "
            "or make the folder writable, then repeat the command, or continue a training with `suite train --resume`"
        ) from error


def _place_state(device: Device, state: Path) -> None:
    """Sends a state from this host to the device, unless a process has left it there since we connected."""
    transport, place = device.transport, posixpath.join(device.places.job(_STATES), _state_name(state))
    if transport.exists(place):
        return
    transport.mkdir(posixpath.dirname(place))
    transport.push(state, f"{place}.part", timeout_s=timeout_for(state.stat().st_size))
    transport.rename(f"{place}.part", place)


def _take_state(device: Device, folder: str, destination: Path) -> None:
    """Fetches the state that a process left, and keeps it on the device instead of earlier ones."""
    transport, states = device.transport, device.places.job(_STATES)
    source = posixpath.join(folder, _STATE)
    transport.pull(source, destination, timeout_s=timeout_for(transport.size(source)))
    transport.remove(states, recursive=True)
    transport.mkdir(states)
    transport.rename(source, posixpath.join(states, _state_name(destination)))


def _state_name(state: Path) -> str:
    """Returns the name of a state on the device, from its training and step."""
    return f"{state.parent.name}.{state.name}"


@dataclass
class _Listener:
    """Takes the runner's lines as they come, into memory and onto the disk, and reports the steps."""

    lines: list[str]
    log: FileIO
    on_step: OnStep
    sensors: SensorPlan
    steps: int = 0

    def __call__(self, line: str) -> None:
        self.lines.append(line)
        try:
            rest = memoryview(f"{line}\n".encode("utf-8", "replace"))
            while rest:  # a disk that is nearly full takes only a part
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
            return  # the collector reports what is wrong with the line
        if self.sensors.quantities.get(name) == TEMPERATURE and value >= self.sensors.trip_mc.get(name, float("inf")):
            raise _TripPoint(f"{name} reached {value / 1e3:.1f} degC, its trip point: cool the device")


def _launch(device: Device, folder: str, job: Job, listener: _Listener) -> ProcessEnd:
    command = [*job.runner.command(device.places.runner(job.runner.hash)), "job.json"]
    if job.busy_loops:
        command = ["sh", "-c", WITH_BUSY_LOOPS, "sh", str(job.busy_loops), *command]
    try:
        return device.launch(command, listener, timeout_s=job.timeout_s, cwd=folder, while_waiting=job.check_stop)
    except _TripPoint as reason:
        return ProcessEnd(rc=None, stopped=str(reason))
    except TransportTimeout:
        return ProcessEnd(rc=None, stopped=f"it had not finished after {job.timeout_s:.0f} s")
    except OutputLimitError as error:
        return ProcessEnd(rc=None, stopped=str(error))


def _opened(path: Path) -> FileIO:
    try:
        # Unbuffered: every line that came is on the disk, and closing has nothing left to write.
        return FileIO(path, "w")
    except OSError as error:
        raise _unwritable("the raw output", path, error) from error


def _unwritable(what: str, path: Path | str, error: OSError) -> StoreError:
    return StoreError(
        f"{what} cannot be written to {path} ({error.strerror}, error {error.errno}): "
        "free space or make the folder writable, then continue with --resume"
    )
