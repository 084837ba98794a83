"""`suite findings`: lists what a night found; `suite mute`: keeps a finding or a device from raising alarms."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import click

from foundation.errors import UserError, unknown_name
from foundation.text import printable
from reports.model.findings import Finding
from suite.cli.completion import complete_finding_or_device, complete_run
from suite.cli.options import inventory_option, open_inventory, open_store
from suite.cli.output import local_time, print_json, print_line, typeable
from suite.errors import ExitCode
from suite.report_data.source import StoreSource
from suite.results.findings import Mute, add_note, find_finding, is_finding, mutes, require_muted
from suite.store.finding import find_run
from suite.store.identity import author
from suite.store.store import Store

_LONGEST = 2000


@click.command()
@click.argument("run_text", metavar="[NIGHT]", required=False, shell_complete=complete_run)
@click.option("--all", "every", is_flag=True, help="Also list what is fixed, accepted or muted.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document, with every finding.")
@inventory_option
def findings(run_text: str | None, every: bool, as_json: bool, inventory_path: Path) -> int:
    """List what a night (by default the newest) found: one line for each cause, followed by the details.

    \b
    suite findings
    suite findings 2026-11-22 --all
    suite annotate F-1a2b3c "the new kernel" --link https://bugs.example/17
    """
    with open_store(inventory_path) as store:
        run_id = _newest_night(store) if run_text is None else find_run(store, run_text)
        found = StoreSource(store).findings(run_id)
    if as_json:
        print_json([one.document() for one in found])
        return ExitCode.OK
    listed = [one for one in found if every or one.is_open]
    for one in listed:
        for line in finding_lines(one):
            print_line(line)
    if not listed:
        print_line(f"nothing was found in {run_id} that is open")
    if len(listed) < len(found):
        print_line(f"{len(found) - len(listed)} fixed, accepted or muted: `suite findings --all` lists them")
    return ExitCode.OK


def finding_lines(one: Finding) -> list[str]:
    """Returns a finding as lines for the terminal."""
    lines = [f"{one.id}  {one.category}, {one.life}: {one.headline}", *(f"  {detail}" for detail in one.details)]
    return [*map(typeable, lines), *(f"  {command}" for command in one.commands[:1])]


def _newest_night(store: Store) -> str:
    found = next((run.run_id for run in StoreSource(store).runs() if run.purpose == "nightly"), None)
    if found is None:
        raise UserError("There was no night yet: `suite nightly` measures the plan in nightly.yaml.")
    return found


@click.command()
@click.argument("target", metavar="[FINDING|DEVICE]", required=False, shell_complete=complete_finding_or_device)
@click.option("--why", metavar="TEXT", help="The reason, for those who wonder where it is.")
@click.option("--from", "since", metavar="DATE", help="The first muted night; default: from the first one on.")
@click.option("--until", metavar="DATE", help="The first night that raises alarms again; default: never.")
@click.option("--end", is_flag=True, help="End the muting now.")
@click.option("--json", "as_json", is_flag=True, help="Print what is muted as one JSON document.")
@inventory_option
def mute(
    target: str | None,
    why: str | None,
    since: str | None,
    until: str | None,
    end: bool,
    as_json: bool,
    inventory_path: Path,
) -> int:
    """Mute a finding, or all that concern one device alone: they stay on the pages, are counted and raise no alarm.

    Without a name, lists what is muted.

    \b
    suite mute F-1a2b3c --why "known, waits for the vendor" --until 2026-12-01
    suite mute pi-5 --why "its fan is being replaced" --from 2026-11-20 --until 2026-11-27
    suite mute pi-5 --end
    suite mute
    """
    if target is None:
        return _list_mutes(inventory_path, as_json, changes=end or any((why, since, until)))
    if as_json:
        raise UserError("--json lists what is muted: leave the name out.")
    first, last = (None if text is None else _moment(text, name) for text, name in ((since, "from"), (until, "until")))
    if first and last and last <= first:
        raise UserError(f"--until {until} is not after --from {since}: name a later date.")
    if end and any((why, since, until)):
        raise UserError("--end takes the name alone: leave out --why, --from and --until.")
    if not end and not (why or "").strip():
        raise UserError("--why is missing: give the reason in a few words.")
    with open_store(inventory_path, read_only=False) as store:
        about = _target(store, target, inventory_path)
        if end:
            known = require_muted(store, about.get("finding") or about["device"])
            add_note(store, "unmute", author(), "", **about)
            print_line(f"{known.target} is no longer muted")
        else:
            add_note(store, "mute", author(), printable(why or "", _LONGEST), since=first, until=last, **about)
            print_line(f"muted {_window(about.get('finding') or about['device'], first or '', last or '')}")
    return ExitCode.OK


def _target(store: Store, text: str, inventory_path: Path) -> dict[str, str]:
    if is_finding(text):
        return {"finding": find_finding(store, text)}
    inventory, _ = open_inventory(inventory_path)
    if text not in inventory.devices:
        raise unknown_name("finding or device", printable(text, 80), inventory.devices, beginning="there is no")
    return {"device": text}


def _moment(text: str, name: str) -> str:
    """Returns a date's start in local time, or a moment, as UTC."""
    try:
        return datetime.fromisoformat(text).astimezone(UTC).isoformat(timespec="milliseconds")
    except (ValueError, OverflowError, OSError):
        raise UserError(f"--{name} {printable(text, 40)} is not a date: write it as 2026-11-22.") from None


def _list_mutes(inventory_path: Path, as_json: bool, *, changes: bool) -> int:
    if changes:
        raise UserError("The finding or device is missing: `suite findings` lists findings.")
    with open_store(inventory_path) as store:
        found: Sequence[Mute] = mutes(store)
    if as_json:
        print_json([dataclasses.asdict(one) for one in found])
        return ExitCode.OK
    for one in found:
        print_line(f"{_window(one.target, one.since, one.until)}, by {one.author}: {one.why}")
    if not found:
        print_line('nothing is muted: `suite mute FINDING --why "…"` mutes a finding, or a device')
    return ExitCode.OK


def _window(target: str, since: str, until: str) -> str:
    start = f" from {local_time(since)}" if since else ""
    return f"{target}{start}{f' until {local_time(until)}' if until else ''}"
