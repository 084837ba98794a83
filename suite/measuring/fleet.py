"""Works on the devices of a run in parallel, each in its own thread and under its own lock.

A device on the host's own cores is measured alone, after all others: measured while the host serves ten boards, its
numbers would be wrong. Twins (`emulated`) make no claim about latency and run together.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from typing import TypeVar

from devices.inventory.entry import DeviceEntry
from suite.measuring.campaign import Campaign
from suite.measuring.recording import RecordedMeasurement
from suite.measuring.run import Run, Stopped, StopSign

_T = TypeVar("_T")


def measure_fleet(run: Run, entries: Sequence[DeviceEntry]) -> list[RecordedMeasurement]:
    """Returns the measurements of all devices, in the order of `entries`; raises what `on_each_device` raises.

    A device that fails has its reason in its measurements.
    """
    by_name = on_each_device(entries, run.stop, lambda entry: Campaign(run, entry).measure_all())
    return [recorded for entry in entries for recorded in by_name[entry.name]]


def on_each_device(entries: Sequence[DeviceEntry], stop: StopSign, work: Callable[[DeviceEntry], _T]) -> dict[str, _T]:
    """Returns what `work` returns for each device, by name.

    What concerns the whole run (StoreError, UserError, KeyboardInterrupt) is raised once every device is released: its
    runner ended, what it has achieved so far stored.
    """
    together = [entry for entry in entries if not _on_this_host(entry)]
    alone = [entry for entry in entries if _on_this_host(entry)]
    by_name: dict[str, _T] = {}
    for group in (*_apart(together), *([entry] for entry in alone)):
        by_name |= _side_by_side(group, stop, work)
    return by_name


def _apart(entries: Sequence[DeviceEntry]) -> list[list[DeviceEntry]]:
    """Splits entries into groups with each device once: two entries of a device would disturb each other."""
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
    """Asks the other devices to stop if anything is raised; the pool then waits for them."""
    try:
        yield
    except BaseException:
        stop.put_up()
        raise


def _raise_first(done: set[Future[_T]]) -> None:
    errors = [error for future in done if (error := future.exception()) is not None]
    # Devices stop because of another one's error, which comes first.
    for error in sorted(errors, key=lambda error: isinstance(error, Stopped)):
        raise error
