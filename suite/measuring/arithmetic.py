"""Probes a device's arithmetic for fp16 and finds the reference losses that match it."""

from __future__ import annotations

import json
import math
import posixpath
import tempfile
from array import array
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from filelock import FileLock

from devices.access.connect import Device
from devices.deployment.built_runner import BuiltRunner
from devices.errors import DeviceError, DeviceLost
from devices.processes import ProcessEnd
from devices.transports.local.transport import LocalTransport
from foundation.errors import UserError
from foundation.unavailable import Unavailable
from suite.errors import SuiteError
from suite.measuring.deployment import deploy_runner
from suite.planning.plan import describe_workload
from suite.preparing.exporting import exporter
from suite.preparing.preparation import EXPORT_LOG, NOT_YET, LeftOut, Prepared
from suite.sessions.collect import collect
from suite.store.identity import workload_key
from workloads.lowering.arithmetic_probe import INPUT_SHAPE, PROBE, Accumulation, accumulation_of
from workloads.reference.expected_losses import ReferenceLosses
from workloads.reference.losses import kept_losses

Notify = Callable[[str], None]

_TIMEOUT_S = 120.0
_JOB = "arithmetic"
INPUTS = "ones.bin"
"""The file of the probe's inputs, beside its job."""


def probe_accumulation(
    device: Device, runner: BuiltRunner, program: Path, check_stop: Callable[[], None]
) -> Accumulation | Unavailable:
    """Finds the type in which the device sums float16 products, by running the probe once. Raises DeviceLost."""
    try:
        return _run_probe(device, runner, program, check_stop)
    except DeviceLost:
        raise
    except (DeviceError, OSError) as error:
        return Unavailable(f"the probe of the device's fp16 arithmetic failed: {error}")


def _run_probe(
    device: Device, runner: BuiltRunner, program: Path, check_stop: Callable[[], None]
) -> Accumulation | Unavailable:
    deploy_runner(device, runner)
    folder, transport = device.places.job(_JOB), device.transport
    transport.mkdir(folder)
    for name, content in _probe_files(program).items():
        transport.write(posixpath.join(folder, name), content)
    lines: list[str] = []
    command = [*runner.command(device.places.runner(runner.hash)), "job.json"]
    ended = device.launch(command, lines.append, timeout_s=_TIMEOUT_S, cwd=folder, while_waiting=check_stop)
    transport.remove(folder, recursive=True)
    return _accumulation_found(lines, ended)


def accumulation_here(runner: BuiltRunner, program: Path) -> Accumulation | None:
    """Finds the type in which this host sums float16 products, beside whatever it does. Returns None if that fails."""
    lines: list[str] = []
    command = [*runner.command(str(runner.folder)), "job.json"]
    with tempfile.TemporaryDirectory() as folder:
        try:
            for name, content in _probe_files(program).items():
                (Path(folder) / name).write_bytes(content)
            ended = LocalTransport().stream(command, lines.append, timeout_s=_TIMEOUT_S, cwd=folder)
        except (DeviceError, OSError):
            return None
    found = _accumulation_found(lines, ended)
    return found if isinstance(found, Accumulation) else None


def _accumulation_found(lines: Sequence[str], ended: ProcessEnd) -> Accumulation | Unavailable:
    record = collect(_JOB, lines, ended, {})
    if not record.complete or not record.steps:
        return Unavailable(f"the probe of the device's fp16 arithmetic did not run: {record.sentence}")
    found = accumulation_of(record.steps[0].losses)
    if found is None:
        first = record.steps[0].losses[0] if record.steps[0].losses else math.nan
        return Unavailable(f"the probe of the device's fp16 arithmetic returned {first:g} for a sum of 4096 ones")
    return found


def _probe_files(program: Path) -> dict[str, bytes]:
    """Returns the files of the probe's job: the program, its inputs, and the job itself."""
    return {
        PROBE: program.read_bytes(),
        INPUTS: array("f", [1.0] * (INPUT_SHAPE[0] * INPUT_SHAPE[1])).tobytes(),
        "job.json": json.dumps(probe_job()).encode(),
    }


def probe_job() -> dict[str, object]:
    """Returns the runner's job: one run of the probe, on ones."""
    ones = {"name": "ones", "dtype": "float32", "shape": list(INPUT_SHAPE), "file": INPUTS, "offset": 0, "batches": 1}
    return {
        "schema": 1,
        "session": _JOB,
        "program": PROBE,
        "method": "forward",
        "inputs": [ones],
        "outputs": {"losses": 0},
        "warm_up": {"min_steps": 0, "max_steps": 0, "max_seconds": 60.0, "tolerance": 0.04},
        "steps": 1,
        "min_measured_seconds": 0.0,
        "threads": 1,
        "sensors": [],
    }


def reference_for(prepared: Prepared, accumulation: Accumulation, artifacts: Path, notify: Notify) -> ReferenceLosses:
    """Returns the reference losses in that arithmetic, computed in a separate process unless cached.

    Only one is computed at a time, as it takes the host's cores and memory. Raises UserError and SuiteError, as an
    export does.
    """
    settings = (prepared.data, prepared.training, prepared.workload.reference_steps, accumulation)
    with FileLock(artifacts / ".reference.lock"):
        kept = kept_losses(prepared.artifact, *settings)
        if kept is not None:
            return kept
        named = f"{prepared.workload.model} {prepared.workload.quant}"
        notify(f"computing the reference losses of {named} with {accumulation}")
        with exporter(artifacts, artifacts / EXPORT_LOG) as process:
            return process.export(prepared.plan, prepared.workload.quant, notify, accumulation)


def with_references(
    prepared: Sequence[Prepared], accumulation: Accumulation, artifacts: Path, notify: Notify
) -> tuple[list[Prepared], list[LeftOut]]:
    """Returns the settings, with reference losses that sum as the device does where these had to wait for the device.

    Settings whose reference can't be computed are left out.
    """
    references: dict[str, ReferenceLosses | UserError | SuiteError] = {}
    ready: list[Prepared] = []
    left_out: list[LeftOut] = []
    for item in sorted(prepared, key=lambda item: item.role == "baseline"):  # it takes its candidate's
        if item.reference is not NOT_YET:
            continue
        key = workload_key(describe_workload(item.workload))
        if key not in references:
            try:
                references[key] = reference_for(item, accumulation, artifacts, notify)
            except (UserError, SuiteError) as error:
                references[key] = error
    for item in prepared:
        found = references.get(workload_key(describe_workload(item.workload)))
        if item.reference is not NOT_YET or found is None:
            ready.append(item)
        elif isinstance(found, ReferenceLosses):
            ready.append(replace(item, reference=found))
        else:
            left_out.append(LeftOut(item.plan, item.workload, found, item.role))
    return ready, left_out
