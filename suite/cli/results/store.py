"""`suite store rebuild`: the store anew from what is kept beside it."""

from __future__ import annotations

from pathlib import Path

import click

from foundation.errors import listed
from suite.cli.options import inventory_option
from suite.cli.output import print_line
from suite.errors import ExitCode
from suite.home import Home
from suite.recovery.rebuild import Rebuilt, rebuild

_NAMES = {
    **{"tag": "tags", "acceptance": "acceptances", "annotation": "remarks", "run": "runs", "training": "trainings"},
    "finding_note": "notes on findings",
}


@click.group("store")
def store_group() -> None:
    """Look after the store of all measurements."""


@store_group.command("rebuild")
@inventory_option
def rebuild_store(inventory_path: Path) -> int:
    """Make a store that is damaged or gone anew, from the journal that is kept beside it.

    The damaged file stays under another name; a store that is whole is left as it is.

    \b
    suite store rebuild
    """
    found = rebuild(Home.locate(inventory_path))
    for line in _lines(found):
        print_line(line)
    return ExitCode.INCOMPLETE if any(found.lost.values()) or found.unusable else ExitCode.OK


def _lines(found: Rebuilt) -> list[str]:
    counts = ", ".join(f"{count} {name}s" for name, count in found.counts.items())
    lines = [f"the store was made anew from its journal: {counts}"]
    if found.aside is not None:
        lines.append(f"the damaged file is {found.aside} now")
    for name, lost in found.lost.items():
        if lost:
            what = f"{len(lost)} {_NAMES[name]}" + (f" ({listed(lost)})" if name in ("run", "training") else "")
            lines.append(f"not in the journal, since they are older than it: {what}")
    if any(found.lost.values()):
        lines.append("a copy of the store would have those; the raw output of runs is in runs/")
    if found.unusable:
        lines.append(
            f"{found.unusable} lines or transactions of the journal are damaged, or refer to what is not in it"
        )
    return lines
