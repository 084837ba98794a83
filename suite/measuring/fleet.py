"""Measures the devices of a run in parallel, each in its own thread and under its own lock.

A device on the host's own cores is measured alone, after all others: its numbers would be wrong while the host serves
ten boards. Twins (`emulated`) make no claim about latency and run together.

A thread connects, checks, deploys, and takes rounds of sessions, interleaved over the settings. Every session is stored
before the next one starts. What cannot be measured becomes a measurement with a reason. A lost device is reconnected
and continues after its last stored session.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import replace
from typing import TypeVar

from devices.access.connect import Device, connect
from devices.checks.facts import Facts
from devices.checks.preflight import Check, check_memory
from devices.deployment.built_runner import BuiltRunner
from devices.errors import DeployError, DeviceError, DeviceLost
from devices.inventory.entry import DeviceEntry
from foundation.unavailable import Unavailable
from suite.measuring.arithmetic import probe_accumulation, with_references
from suite.measuring.deployment import CacheRoom, deploy_program, deploy_runner, needs, remove_old_jobs
from suite.measuring.idle_device import Clock
from suite.measuring.kernels import known_kernels, with_kernels
from suite.measuring.reaching import Reconnecting
from suite.measuring.recording import OpenMeasurement, RecordedMeasurement, Recording
from suite.measuring.run import Run, Stopped, StopSign
from suite.measuring.sensor_plan import sensor_plan
from suite.measuring.session import Attempts
from suite.planning.plan import interleaved
from suite.preparing.preparation import NOT_YET
from workloads.lowering.arithmetic_probe import PROBE

_T = TypeVar("_T")


def measure_fleet(run: Run, entries: Sequence[DeviceEntry]) -> list[RecordedMeasurement]:
    """Measures all devices. Returns their measurements in the order of `entries`.

    If a device fails, its measurements have the reason. Raises what `on_each_device` raises.
    """
    by_name = on_each_device(entries, run.stop, lambda entry: _Campaign(run, entry).measure_all())
    return [recorded for entry in entries for recorded in by_name[entry.name]]


def on_each_device(entries: Sequence[DeviceEntry], stop: StopSign, work: Callable[[DeviceEntry], _T]) -> dict[str, _T]:
    """Calls `work` for each device and returns its results by device name.

    Errors of the whole run (StoreError, UserError, KeyboardInterrupt) are raised after every device was released, with
    its runner ended and its results so far stored.
    """
    together = [entry for entry in entries if not _on_this_host(entry)]
    alone = [entry for entry in entries if _on_this_host(entry)]
    by_name: dict[str, _T] = {}
    for group in (*_apart(together), *([entry] for entry in alone)):
        by_name |= _side_by_side(group, stop, work)
    return by_name


def _apart(entries: Sequence[DeviceEntry]) -> list[list[DeviceEntry]]:
    """Splits entries into groups that have each device once: two entries of a device would disturb each other."""
    groups: list[list[DeviceEntry]] = []
    for entry in entries:
        free = (group for group in groups if entry.address not in {other.address for other in group} - {None})
        group = next(free, None)
        if group is None:
            groups.append([entry])
        else:
            group.append(entry)
    return groups


def _on_this_host(entry: DeviceEntry) -> bool:
    return entry.transport == "local" and not entry.emulated


def _side_by_side(entries: Sequence[DeviceEntry], stop: StopSign, work: Callable[[DeviceEntry], _T]) -> dict[str, _T]:
    if not entries:
        return {}
    with ThreadPoolExecutor(len(entries), thread_name_prefix="device") as pool, _ending(stop):
        futures = {entry.name: pool.submit(work, entry) for entry in entries}
        done, _ = wait(futures.values(), return_when=FIRST_EXCEPTION)
        _raise_first(done)
    return {name: future.result() for name, future in futures.items()}


@contextlib.contextmanager
def _ending(stop: StopSign) -> Iterator[None]:
    """Asks the other devices to stop if anything is raised. The pool then waits for them."""
    try:
        yield
    except BaseException:
        stop.put_up()
        raise


def _raise_first(done: set[Future[_T]]) -> None:
    errors = [error for future in done if (error := future.exception()) is not None]
    # The error that made the other devices stop comes first.
    for error in sorted(errors, key=lambda error: isinstance(error, Stopped)):
        raise error


class _Campaign:
    """The sessions of one run on one device."""

    def __init__(self, run: Run, entry: DeviceEntry) -> None:
        self.run, self.entry = run, entry
        self.prepared = [item for item in run.preparation.prepared if entry.name in item.plan.devices]
        self.left_out = [item for item in run.preparation.left_out if entry.name in item.plan.devices]
        self.clock = run.clock or Clock(sleep=run.stop.sleep)
        self._begun_ns = self.clock.monotonic_ns()
        self._recording = Recording(run.store, run.run_id, entry, only_plan=len(run.plan.plans) == 1)
        self._reconnecting = Reconnecting(self.clock, self._note, lambda: self._recording.met)
        self._attempts = Attempts(run, entry, self.clock, self._note, self._reconnecting.reset)

    def measure_all(self) -> list[RecordedMeasurement]:
        """Measures every setting and returns the measurements. A DeviceError becomes their reason, not an exception.

        A setting that was left out has its reason too. Raises Stopped if the run has to end, and errors of the whole
        run (StoreError, UserError).
        """
        try:
            recorded = self._reconnecting.carry_out(self._connected) if self.prepared else []
        except DeviceError as error:
            recorded = self._recording.fail(self.prepared, str(error))
        return [*recorded, *self._recording.leave_out(self.left_out)]

    def _connected(self) -> list[RecordedMeasurement]:
        """Measures what is not stored yet, over one connection. Raises DeviceLost if the connection breaks."""
        self.run.stop.check()
        self._attempts.forget_idle()
        with connect(self.entry, self.run.home.locks, root=self.run.root) as device:
            return self._on(device)

    def _on(self, device: Device) -> list[RecordedMeasurement]:
        if device.left_over_pid is not None:
            self._note(f"ended the runner {device.left_over_pid} that an earlier run left behind")
        facts = device.facts()
        checks = device.preflight(needs(device, self.prepared))
        self._recording.record_device(facts, checks)
        runner = self._recording.runner = self.run.runners.for_device(device, facts.machine, self._note)
        for check in checks:
            if check.status != "ok":
                self._note(_sentence(check))
        if all(check.status != "failed" for check in checks):
            self._settle_kernels(device, facts, runner)
            self._settle_arithmetic(device, runner)
        if not self.prepared:
            return []
        measuring = self._recording.begin(self.prepared, sensor_plan(device.sensors(), self.entry.power))
        reason = next((_sentence(check) for check in checks if check.status == "failed"), None)
        if reason is None:
            try:
                self._carry_out(device, measuring)
            except DeviceLost:
                raise
            except DeviceError as error:
                reason = str(error)
        return [self._recording.finish(item, reason) for item in measuring]

    def _settle_kernels(self, device: Device, facts: Facts, runner: BuiltRunner) -> None:
        """Finds out which kernels are the fastest on the device, and takes for earlier runners those they had."""
        quants = [item.workload.quant for item in self.prepared]
        store, check_stop = self.run.store, self.run.stop.check
        self._recording.runner = with_kernels(device, facts, runner, quants, store, self._note, check_stop)
        self.prepared = [
            replace(item, runner=known_kernels(device, facts, item.runner, store)) if item.runner is not None else item
            for item in self.prepared
        ]

    def _settle_arithmetic(self, device: Device, runner: BuiltRunner) -> None:
        """Finds out how the device sums float16 products, and takes the reference that sums the same way."""
        waiting = [item for item in self.prepared if item.reference is NOT_YET]
        probes = [probe for item in waiting if (probe := item.artifact.folder / PROBE).is_file()]
        if not probes:
            return
        if self._recording.arithmetic is None:
            found = probe_accumulation(device, runner, probes[0], self.run.stop.check)
            if isinstance(found, Unavailable):
                self._note(found.reason)
                return
            self._recording.arithmetic = found
        self.prepared, left_out = with_references(
            self.prepared, self._recording.arithmetic, self.run.home.artifacts, self._note_or_stop
        )
        for item in left_out:
            self._note(f"{item.workload.model} {item.workload.quant} is left out: {item.error}")
        self.left_out += left_out

    def _carry_out(self, device: Device, measuring: Sequence[OpenMeasurement]) -> None:
        """Deploys and measures. Raises DeviceError if the device itself fails."""
        remove_old_jobs(device)
        needed = [item.prepared.estimate.memory_bytes for item in measuring]
        memories = device.tree.survey(lambda tree: [check_memory(tree, size_bytes) for size_bytes in needed])
        for item, memory in zip(measuring, memories, strict=True):
            if memory.status == "failed":
                item.abandoned = _sentence(memory)
        self._deploy(device, measuring)
        self._rounds(device, measuring)

    def _deploy(self, device: Device, measuring: Sequence[OpenMeasurement]) -> None:
        """Deploys runner and programs. If a program cannot be deployed, only its setting fails."""
        runners = {item.runner.hash: item.runner for item in measuring}
        artifacts = [item.prepared.artifact for item in measuring if item.abandoned is None]
        room = CacheRoom.of(device, runners.values(), artifacts, self._note)
        with self.run.display.bytes(f"{self.entry.name}: deploying") as on_progress:
            done = [deploy_runner(device, runner, room, on_progress) for runner in runners.values()]
            for item in measuring:
                if item.abandoned is None:
                    try:
                        done += deploy_program(device, item.prepared.artifact, room, on_progress)
                    except DeployError as error:
                        item.abandoned = str(error)
        room.mark_used()
        pushed = sum(deployment.pushed_bytes for deployment in done)
        files = sum(len(deployment.pushed) for deployment in done)
        self._note(f"pushed {files} files, {pushed / 1e6:.1f} MB" if files else "all files are there, nothing pushed")
        for item in measuring:
            if item.abandoned is not None:
                self._note(f"{item.label}: {item.abandoned}")

    def _rounds(self, device: Device, measuring: Sequence[OpenMeasurement]) -> None:
        """Takes all sessions that are not stored yet, interleaved over the settings."""
        self._attempts.gate(device)
        progress = self.run.store.progress(self.run.run_id)
        for ordinal in range(max(item.prepared.plan.sessions for item in measuring)):
            for index in interleaved(len(measuring), ordinal):
                item = measuring[index]
                if item.abandoned is None and ordinal < item.prepared.plan.sessions:
                    item.abandoned = self._over_budget()
                    if item.abandoned is None:
                        self._attempts.take(device, item, ordinal, progress)

    def _over_budget(self) -> str | None:
        """Returns why no further session may start, or None while there is time."""
        budget = self.run.plan.budget_minutes
        if budget is None or self.clock.monotonic_ns() - self._begun_ns < budget * 60e9:
            return None
        return f"the budget of {budget:g} minutes on this device was used up: raise it, or plan less"

    def _note(self, text: str) -> None:
        self.run.display.note(f"{self.entry.name}: {text}")

    def _note_or_stop(self, text: str) -> None:
        """Notes the progress of long work, and abandons the work if the run has to end."""
        self.run.stop.check()
        self._note(text)


def _sentence(check: Check) -> str:
    return f"{check.name}: {check.detail}{f'; {check.remedy}' if check.remedy else ''}"
