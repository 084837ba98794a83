"""`suite init`: writes the files that a lab starts with into the current folder."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path

import click

from devices.inventory.entry import inventory_schema
from foundation.atomic import write_atomic
from foundation.errors import UserError
from suite.cli.output import print_line, print_plain
from suite.errors import ExitCode


def _shipped(name: str) -> Callable[[], str]:
    """Returns a reader of a file in a checkout's top folder, which a wheel has as package data."""
    return lambda: (files("suite.cli") / "start" / name).read_text(encoding="utf-8")


_FILES: dict[str, tuple[Callable[[], str], str]] = {
    "inventory.yaml": (_shipped("inventory.yaml"), "the devices to measure: this machine, and examples of others"),
    "nightly.yaml": (_shipped("nightly.yaml"), "what every night measures"),
    "inventory.schema.json": (
        lambda: f"{json.dumps(inventory_schema(), indent=1)}\n",
        "the inventory's keys, for editors",
    ),
}


@click.command()
def init() -> int:
    """Write an inventory and a plan for nights into the current folder; no file is overwritten.

    \b
    mkdir lab && cd lab
    suite init
    suite run --device local --quick
    """
    missing = [name for name in _FILES if not Path(name).exists()]
    if not missing:
        raise UserError(f"All of {', '.join(_FILES)} are in {Path.cwd()} already: edit them, or choose another folder.")
    for name in _FILES:
        content, purpose = _FILES[name]
        if name not in missing:
            print_plain(f"{name} exists already and was not changed")
            continue
        try:
            write_atomic(Path(name), content().encode())
        except OSError as error:
            raise UserError(
                f"{name} can't be written to {Path.cwd()} ({error.strerror}, error {error.errno}): choose a folder "
                "that you may write to, on a disk with free space."
            ) from error
        print_plain(f"{name}: {purpose}")
    print_line("next: suite run --device local --quick")
    return ExitCode.OK
