"""Measures what a device can do at best, by its runner (`runner --peaks`), and stores it in the home beside profiles.

The runner's output is not trusted: its lines are limited and validated, and the results must prove that everything was
computed.
"""

from __future__ import annotations

from collections.abc import Callable

from devices.access.connect import connect
from devices.inventory.entry import DeviceEntry
from foundation.text import printable
from reports.model.peaks import CACHE, MEMORY, Peak, Peaks
from suite.display import Display
from suite.errors import SuiteError
from suite.home import PEAKS, Home
from suite.kept import keep_document, keep_text, read_or_none
from suite.measuring.deployment import deploy_runner
from suite.measuring.job import measure_device, threads_of
from suite.preparing.runners import Runners
from suite.sessions.collect import collect
from suite.sessions.events import PeakEvent
from suite.sessions.record import SessionRecord
from suite.store.identity import new_run_id, timestamp

_WHAT = "the peaks"
_TIMEOUT_S = 120.0
"""It usually takes less than five seconds, but more on an emulated device."""
_MOST_LINES = 200
_KNOWN = {
    "operations": ("float32", "float16", "bfloat16", "int8"),
    "bytes": ("read", "copy", "triad"),
}


def measure_peaks(
    entry: DeviceEntry, home: Home, display: Display, begun: Callable[[str], None] = lambda _peaks_id: None
) -> Peaks:
    """Measures the peaks of a device, stores them in the home and returns them. `begun` is called with their id before.

    Raises DeviceError, UserError if there is no runner for the device, and SuiteError if its output is useless.
    """
    runners = Runners(home.runner, display)
    runners.build_ahead([entry])
    peaks_id, started = new_run_id(), timestamp()
    begun(peaks_id)
    with connect(entry, home.locks) as device:
        runner = runners.for_device(device, device.facts().machine, display.note)
        deploy_runner(device, runner)
        with display.waiting(f"{entry.name}: measuring its peaks"):
            threads = threads_of(device)
            lines, end = measure_device(
                device, runner, "--peaks", peaks_id, threads, most_lines=_MOST_LINES, timeout_s=_TIMEOUT_S
            )
    keep_text(home.peaks_folder(peaks_id) / "runner.jsonl", "\n".join(lines) + "\n", _WHAT)
    record = collect(peaks_id, lines, end)
    found = _peaks(record, entry, started)
    keep_document(home.peaks_folder(peaks_id) / PEAKS, found.document(), _WHAT)
    return found


def read_peaks(peaks_id: str, home: Home) -> Peaks | None:
    """Returns the peaks of that id, or None if they can't be read, since measuring them again takes only seconds."""
    return read_or_none(home.peaks_folder(peaks_id) / PEAKS, Peaks.from_document)


def latest_peaks(device: str, home: Home) -> Peaks | None:
    """Returns the latest peaks of a device that can be read, or None if there are none."""
    every = (read_peaks(peaks_id, home) for peaks_id in reversed(home.peaks_ids()))
    return next((found for found in every if found is not None and found.device == device), None)


def _peaks(record: SessionRecord, entry: DeviceEntry, started: str) -> Peaks:
    """Returns the peaks that a runner has printed. Raises SuiteError if they are useless."""
    if not record.complete or record.header is None:
        old = "leave out `runner` in the inventory or build it again: runners of earlier suites lack --peaks."
        remedy = old if record.header is None else "repeat the command."
        raise SuiteError(f"the peaks of {entry.name} could not be measured: {record.sentence}; {remedy}")
    found = Peaks(
        record.session_id,
        started,
        entry.name,
        entry.kind,
        entry.emulated,
        machine_of(record),
        record.header.threads,
        tuple(_peak(event) for event in record.peaks),
    )
    fault = found.fault()
    if fault is not None:
        raise SuiteError(f"the runner on {entry.name} has printed {fault}: build it again.")
    return found


def machine_of(record: SessionRecord) -> dict[str, str | int]:
    """Returns the runner's facts about the machine where it ran."""
    header = record.header
    if header is None:
        return {}
    facts = header.model_dump()
    return {name: facts[name] for name in ("machine", "cpu", "cpu_count", "kernel", "runner", "executorch")}


def _peak(event: PeakEvent) -> Peak:
    """Returns the peak of an event. Raises SuiteError if it is invalid, or if its results don't prove it."""
    name = f"{printable(event.of, 40)} by {printable(event.by, 40)}"
    bandwidth = event.unit == "bytes"
    if event.of not in _KNOWN[event.unit] or bandwidth != (event.by in (MEMORY, CACHE)) or not event.count:
        raise SuiteError(f"the runner has printed an invalid peak, of {event.count} {event.unit}, {name}: update it.")
    if event.made != event.count:
        raise SuiteError(
            f"the results of {name} prove {event.made} {event.unit} instead of {event.count}: the runner or the "
            "processor computes something else; build the runner again."
        )
    return Peak(event.of, printable(event.by, 40), event.unit, event.count, event.ns, event.buffer_bytes)
