"""`suite tag`: names for runs, which every command takes where it takes a run."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import click

from foundation.errors import UserError
from suite import exit_codes
from suite.author import author
from suite.cli.output import print_json, print_line
from suite.cli.places import inventory_option
from suite.cli.stores import opened_store
from suite.store.finding import LATEST, find_run
from suite.store.tags import tag_list, tag_run, take_away
from suite.tag_names import checked_tag


@click.command()
@click.argument("name", required=False)
@click.argument("run_text", metavar="[RUN]", required=False)
@click.option("--move", is_flag=True, help="Let a name that is another run's mean this one.")
@click.option("--delete", is_flag=True, help="Free the name.")
@click.option("--json", "as_json", is_flag=True, help="Print the tags as one JSON document.")
@inventory_option
def tag(name: str | None, run_text: str | None, move: bool, delete: bool, as_json: bool, inventory_path: Path) -> int:
    """List the tags, or give a run (the newest unless one is named) a name that `suite compare` and others take.

    \b
    suite tag before-upgrade
    suite tag v1.2 2026-11-20
    suite compare v1.2 latest
    suite tag
    """
    if name is None:
        return _listed(inventory_path, as_json, changes=move or delete)
    if as_json:
        raise UserError("--json lists the tags: leave NAME out.")
    if delete:
        if run_text is not None or move:
            raise UserError("--delete takes the name alone: leave out RUN and --move.")
        with opened_store(inventory_path, read_only=False) as store:
            freed = take_away(store, name, author())
        print_line(f"{freed.name} is no tag any more; it was run {freed.run_id}")
        return exit_codes.OK
    checked_tag(name)
    with opened_store(inventory_path, read_only=False) as store:
        run_id = find_run(store, run_text or LATEST)
        new = tag_run(store, name, run_id, author(), move=move)
    print_line(f"tag {name} is run {run_id}{'' if new else ' already'}")
    return exit_codes.OK


def _listed(inventory_path: Path, as_json: bool, *, changes: bool) -> int:
    if changes:
        raise UserError("NAME is missing: say which tag --move or --delete is for.")
    with opened_store(inventory_path) as store:
        tags = tag_list(store)
    if as_json:
        print_json([dataclasses.asdict(item) for item in tags])
        return exit_codes.OK
    for item in tags:
        print_line(f"{item.name}  {item.run_id}  {item.at} by {item.author}")
    if not tags:
        print_line("no run has a tag: `suite tag NAME` gives the newest one a name")
    return exit_codes.OK
