"""`suite status`: prints the lab on one screen: devices, last night, what is running or interrupted, free disk."""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import click

from devices.inventory.inventory_file import Inventory
from foundation.text import format_rounded
from reports.model.findings import Finding
from reports.model.histories import DeviceSummary
from reports.model.source import RunSummary
from reports.model.training import TrainingGroupSummary
from suite.cli.options import inventory_option, open_inventory
from suite.cli.output import TextTable, local_time, print_json, print_line, print_table, typeable
from suite.errors import ExitCode
from suite.home import Home, is_claimed
from suite.report_data.source import StoreSource
from suite.store.store import Store

_VERDICTS = ("regressed", "inconclusive", "improved", "accepted", "unchanged", "insufficient")
_MOST_FINDINGS = 8
_WHAT = {"run": "run", "nightly": "night"}
_GO_ON = {"run": "suite run --resume", "night": "suite nightly", "training": "suite train --resume"}


@dataclass(frozen=True)
class Open:
    """A run, night or training that has not ended, and the command that continues it if it is not in progress."""

    what: str
    id: str
    started_at: str
    state: Literal["running", "interrupted"]
    command: str


@dataclass(frozen=True)
class Status:
    """The contents of the screen; `night` is the newest one, None before the first."""

    devices: Sequence[DeviceSummary]
    night: RunSummary | None
    open: Sequence[Open]
    findings: Sequence[Finding] = ()


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@inventory_option
def status(as_json: bool, inventory_path: Path) -> int:
    """Print the lab on one screen: devices, last night, what is running or interrupted, free disk; contacts no device.

    \b
    suite status
    suite status --json
    """
    inventory, home = open_inventory(inventory_path)
    found = _read(inventory, home)
    free_bytes = shutil.disk_usage(next(path for path in (home.root, *home.root.parents) if path.exists())).free
    if as_json:
        print_json(_document(found, inventory) | {"home": str(home.root), "free_bytes": free_bytes})
        return ExitCode.OK
    _print_devices(found.devices, inventory)
    print_line(_night_line(found.night))
    for finding in [one for one in found.findings if one.is_open][:_MOST_FINDINGS]:
        print_line(typeable(f"  {finding.id}  {finding.category}, {finding.life}: {finding.headline}"))
    if (left := sum(one.is_open for one in found.findings) - _MOST_FINDINGS) > 0:
        print_line(f"  and {left} more: `suite findings` lists all")
    for one in found.open:
        print_line(_open_line(one))
    print_line(f"disk: {format_rounded(free_bytes / 1e9)} GB free for {home.root}")
    return ExitCode.OK


def _read(inventory: Inventory, home: Home) -> Status:
    if not (home.root / "store.sqlite").is_file():
        return Status((), None, ())
    with contextlib.closing(Store.open(home.store_path, read_only=True)) as store:
        source = StoreSource(store)
        runs = source.runs()
        night = next((run for run in runs if run.purpose == "nightly"), None)
        return Status(
            [device for device in source.devices() if device.name in inventory.devices],
            night,
            [*_open_runs(runs, home), *_open_training(source.training_groups(), home)],
            [] if night is None else source.findings(night.run_id),
        )


def _open_runs(runs: Sequence[RunSummary], home: Home) -> Iterator[Open]:
    """Yields the runs in progress, and for each purpose the newest interrupted one, which --resume continues."""
    interrupted: set[str] = set()
    for run in runs:
        if run.status not in ("running", "interrupted") or run.purpose not in _WHAT:
            continue
        what = _WHAT[run.purpose]
        if run.status == "running" and is_claimed(home, run.run_id):
            yield Open(what, run.run_id, run.started_at, "running", "")
        elif what not in interrupted:
            interrupted.add(what)
            yield Open(what, run.run_id, run.started_at, "interrupted", _GO_ON[what])


def _open_training(groups: Sequence[TrainingGroupSummary], home: Home) -> Iterator[Open]:
    """Yields the newest unfinished training, which `suite train --resume` continues, and those in progress."""
    for place, group in enumerate([group for group in groups if group.status != "finished"]):
        if is_claimed(home, group.group_id):
            yield Open("training", group.group_id, group.started_at, "running", "")
        elif place == 0:
            yield Open("training", group.group_id, group.started_at, "interrupted", _GO_ON["training"])


def _document(found: Status, inventory: Inventory) -> dict[str, object]:
    known = {device.name: device for device in found.devices}
    night = found.night
    return {
        "devices": [
            {"name": entry.name, "kind": entry.kind, "emulated": entry.emulated, **_history(known.get(entry.name))}
            for entry in inventory.devices.values()
        ],
        "night": None
        if night is None
        else {
            "run_id": night.run_id,
            "started_at": night.started_at,
            "status": night.status,
            "verdicts": dict(night.verdicts),
            "findings": [one.document() for one in found.findings],
        },
        "open": [dataclasses.asdict(one) for one in found.open],
    }


def _history(device: DeviceSummary | None) -> Mapping[str, object]:
    if device is None or not device.last_run:
        return {"last_run": None, "last_at": None, "outcomes": {}, "unreached": None}
    return {
        "last_run": device.last_run,
        "last_at": device.last_at,
        "outcomes": dict(device.outcomes),
        "unreached": device.unreached or None,
    }


def _print_devices(devices: Sequence[DeviceSummary], inventory: Inventory) -> None:
    known = {device.name: device for device in devices}
    table = TextTable(pads=True)
    for name in ("device", "kind", "last measured", "how it went"):
        table.add_column(name)
    for entry in inventory.devices.values():
        device = known.get(entry.name)
        if device is None or not device.last_run:
            table.add_texts([entry.name, entry.kind, "never", f"suite run --device {entry.name} --quick"])
        else:
            table.add_texts([entry.name, entry.kind, local_time(device.last_at), _ended(device)])
    print_table(table)


def _ended(device: DeviceSummary) -> str:
    if device.unreached:
        return f"not reached: {device.unreached}"
    return ", ".join(f"{count} {word}" for word, count in device.outcomes.items()) or "no measurement ended"


def _night_line(night: RunSummary | None) -> str:
    if night is None:
        return "last night: none yet; `suite nightly` measures the plan in nightly.yaml"
    verdicts = ", ".join(f"{night.verdicts[word]} {word}" for word in _VERDICTS if night.verdicts.get(word))
    return f"last night: {night.run_id}, {night.status}: {verdicts or 'no verdicts'}"


def _open_line(one: Open) -> str:
    state = f"{one.what} {one.id} is {one.state}, started {local_time(one.started_at)}"
    return f"{state}: `{one.command}` continues it" if one.command else state
