"""`suite gc`: removes what is no longer needed from this host or from devices, but never measurements."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from devices.errors import DeviceError
from foundation.errors import UserError
from foundation.text import format_rounded
from foundation.unavailable import Json
from suite.cli.completion import complete_devices
from suite.cli.options import inventory_option, open_inventory
from suite.cli.output import TextTable, print_json, print_line, print_table
from suite.errors import ExitCode
from suite.home import Home, alone
from suite.retention.survey import DeviceItem, Done, Item, Rules, carry_out, clear_device, spare, survey, survey_device
from suite.store.store import Store


@click.command()
@click.option(
    "--device",
    "selection",
    metavar="NAME|all",
    shell_complete=complete_devices,
    help="Clear the caches of these devices instead of this host.",
)
@click.option(
    "--keep-artifacts-days",
    "keep_days",
    type=click.FloatRange(min=0, max=36500),
    default=30.0,
    show_default=True,
    help="How long to keep programs and runners after their last use.",
)
@click.option("--dry-run", is_flag=True, help="Print what would be removed and why; remove nothing.")
@click.option("--yes", is_flag=True, help="Don't ask.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document; needs --yes or --dry-run.")
@inventory_option
def gc(selection: str | None, keep_days: float, dry_run: bool, yes: bool, as_json: bool, inventory_path: Path) -> int:
    """Remove programs and runners that are no longer needed, and compress the raw output of ended runs.

    Programs and runners that future nights may compare with stay: those in the comparison window of each series.
    Measurements are never removed.

    \b
    suite gc --dry-run
    suite gc --keep-artifacts-days 14 --yes
    suite gc --device phone
    """
    if as_json and not (yes or dry_run):
        raise UserError("--json can't ask: add --yes to remove, or --dry-run to look.")
    rules = Rules(keep_days, datetime.now(UTC))
    if selection is not None:
        return _on_devices(selection, rules, inventory_path, dry_run=dry_run, yes=yes, as_json=as_json)
    home = Home.locate(inventory_path)
    items = _survey(home, rules)
    going = [item for item in items if item.action != "keep"]
    planned = [(item.action, item.what, _place(item, home), item.size_bytes, item.why) for item in going]
    kept = [item.size_bytes for item in items if item.action == "keep"]
    done = Done()
    if _may_start(planned, kept, dry_run=dry_run, yes=yes, as_json=as_json):
        with _survey_home(home, rules) as now:
            agreed = {(item.path, item.action) for item in going}
            done = carry_out(item for item in now if (item.path, item.action) in agreed)
    if as_json:
        _print_document([_document(item, home) for item in items], done.freed_bytes, done.failures)
    else:
        rows = [(item.action, item.what, _place(item, home), item.size_bytes, item.why) for item in done.items]
        _print_end(rows, kept, done, dry_run=dry_run, listed=not yes)
    return ExitCode.ERROR if done.failures else ExitCode.OK


def _survey(home: Home, rules: Rules) -> list[Item]:
    """Surveys the home, and releases it so that nobody waits while the user decides."""
    with _survey_home(home, rules) as items:
        return items


@contextlib.contextmanager
def _survey_home(home: Home, rules: Rules) -> Iterator[list[Item]]:
    """Surveys the home; no run starts during the block."""
    # In this order: opening a store with an earlier schema upgrades it, which needs the home to itself.
    store = Store.open(home.store_path, read_only=True) if home.store_path.is_file() else None
    with contextlib.closing(store) if store is not None else contextlib.nullcontext(), alone(home) as free:
        items = survey(home, store, rules)
        yield items if free else spare(items)


def _on_devices(selection: str, rules: Rules, inventory_path: Path, *, dry_run: bool, yes: bool, as_json: bool) -> int:
    """Clears the caches of devices. One that cannot be reached does not stop the others."""
    inventory, home = open_inventory(inventory_path)
    entries = {entry.name: entry for entry in inventory.select(selection)}
    items: list[DeviceItem] = []
    failures: list[str] = []
    for name, entry in entries.items():
        try:
            items += survey_device(entry, home.locks, rules)
        except DeviceError as error:
            failures.append(f"{name}: {error}")
    going = [item for item in items if item.goes]
    kept = [item.size_bytes for item in items if not item.goes]
    removed: list[DeviceItem] = []
    if _may_start(_device_rows(going), kept, dry_run=dry_run, yes=yes, as_json=as_json):
        for name in dict.fromkeys(item.device for item in going):
            try:
                names = {item.name for item in going if item.device == name}
                removed += clear_device(entries[name], home.locks, rules, names)
            except DeviceError as error:
                failures.append(f"{name}: {error}")
    done = Done(sum(item.size_bytes for item in removed), tuple(failures))
    if as_json:
        documents = [
            {"device": item.device, "name": item.name, "bytes": item.size_bytes, "goes": item.goes, "why": item.why}
            for item in items
        ]
        _print_document(documents, done.freed_bytes, done.failures)
    else:
        _print_end(_device_rows(removed), kept, done, dry_run=dry_run, listed=not yes)
    return ExitCode.INCOMPLETE if failures else ExitCode.OK


_Row = tuple[str, str, str, int, str]
"""The action (`remove`, `compress`), its object, the object's name and bytes, and the reason."""
_PAST = {"remove": "removed", "compress": "compressed"}


def _device_rows(items: Iterable[DeviceItem]) -> list[_Row]:
    return [("remove", f"from {item.device}", item.name, item.size_bytes, item.why) for item in items]


def _may_start(planned: Sequence[_Row], kept: Sequence[int], *, dry_run: bool, yes: bool, as_json: bool) -> bool:
    """Prints what is planned, unless --yes leaves nothing to decide. Returns whether to do it."""
    if not as_json and (dry_run or not yes):
        _print(planned)
        _print_kept(kept)
    return bool(planned) and not dry_run and (yes or _agreed(len(planned)))


def _agreed(count: int) -> bool:
    try:
        return click.confirm(f"Do this to {count} {'item' if count == 1 else 'items'}?")
    except click.Abort:
        raise UserError(f"Nobody answered, so none of {count} items was removed: add --yes, or --dry-run.") from None


def _print_document(items: Sequence[dict[str, Any]], freed_bytes: int, failures: Sequence[str]) -> None:
    print_json({"items": list(items), "freed_bytes": freed_bytes, "failures": list(failures)})


def _print_end(rows: Sequence[_Row], kept: Sequence[int], done: Done, *, dry_run: bool, listed: bool) -> None:
    """Prints what was done. `listed`: the items were printed above already, as the plan."""
    if not (listed or dry_run):
        _print([(_PAST[action], what, name, size_bytes, why) for action, what, name, size_bytes, why in rows])
        _print_kept(kept)
    for failure in done.failures:
        print_line(failure)
    counts = Counter(_PAST[action] for action, *_ in rows)
    words = " and ".join(f"{word} {count} {'item' if count == 1 else 'items'}" for word, count in counts.items())
    print_line(f"{words}, freed {_mb(done.freed_bytes)}" if words else "nothing was changed")


def _print(rows: Sequence[_Row]) -> None:
    if not rows:
        print_line("nothing to remove")
        return
    table = TextTable(pads=True)
    for name in ("what", "name", "size", "why"):
        table.add_column(name, overflow="fold", justify="right" if name == "size" else "left")
    for action, what, name, size_bytes, why in rows:
        table.add_texts([f"{action} {what}", name, _mb(size_bytes), why])
    print_table(table)


def _print_kept(sizes: Sequence[int]) -> None:
    if sizes:
        print_line(
            f"{len(sizes)} programs, weights and runners stay, {_mb(sum(sizes))}; --json --dry-run lists the reasons"
        )


def _place(item: Item, home: Home) -> str:
    return str(item.path.relative_to(home.root))


def _document(item: Item, home: Home) -> dict[str, Json]:
    return {
        "what": item.what,
        "action": item.action,
        "path": _place(item, home),
        "bytes": item.size_bytes,
        "why": item.why,
    }


def _mb(size_bytes: int) -> str:
    return f"{format_rounded(size_bytes / 1e6)} MB"
