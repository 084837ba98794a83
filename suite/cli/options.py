"""Options shared by several commands, and what they name: the inventory, the home beside it, its store, the plan."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click
from click.core import ParameterSource

from foundation.errors import UserError
from foundation.text import printable
from suite.cli.completion import complete_device, complete_devices
from suite.home import Home

if TYPE_CHECKING:
    from devices.inventory.entry import DeviceEntry
    from devices.inventory.inventory_file import Inventory
    from suite.store.store import Store

_LONGEST_LABEL = 80
_F = TypeVar("_F", bound=Callable[..., object])


def inventory_option(function: _F) -> _F:
    """Adds `--inventory FILE`."""
    option = click.option(
        "--inventory",
        "inventory_path",
        type=click.Path(path_type=Path),
        default=Path("inventory.yaml"),
        show_default=True,
        help="The file that lists the devices.",
    )
    return option(function)


def devices_option(function: _F) -> _F:
    """Adds `--device NAME[,NAME]`, as `selection`."""
    option = click.option(
        "--device",
        "selection",
        metavar="NAME[,NAME]",
        shell_complete=complete_devices,
        help="Devices of the inventory, by name.",
    )
    return option(function)


def one_device_option(help_text: str) -> Callable[[_F], _F]:
    """Adds `--device NAME`, as `selection`; the default is this host."""
    return click.option(
        "--device",
        "selection",
        default="local",
        show_default=True,
        shell_complete=complete_device,
        help=help_text,
    )


def one_device(inventory: Inventory, selection: str) -> DeviceEntry:
    """Returns the device that the user chose. Raises UserError unless it is exactly one."""
    entries = inventory.select(selection)
    if len(entries) != 1:
        raise UserError(f"{selection} names {len(entries)} devices: name one.")
    return entries[0]


def is_given(name: str) -> bool:
    """Returns whether the user gave that parameter of the command instead of leaving it at its default."""
    return click.get_current_context().get_parameter_source(name) is ParameterSource.COMMANDLINE


def label_option(function: _F) -> _F:
    """Adds `--label TEXT`, as `label`."""
    option = click.option(
        "--label",
        metavar="TEXT",
        callback=_label,
        help="What is measured, in your words, such as a commit; stored with the run and printed where numbers change.",
    )
    return option(function)


def _label(_context: click.Context, _parameter: click.Parameter, text: str | None) -> str | None:
    if text is not None and (not text.strip() or len(text) > _LONGEST_LABEL):
        raise UserError(f"--label has {len(text)} characters: use 1 to {_LONGEST_LABEL}.")
    return None if text is None else printable(text, _LONGEST_LABEL)


def night_plan_option(function: _F) -> _F:
    """Adds `--plan FILE`, the plan that nights measure."""
    option = click.option(
        "--plan",
        "plan_path",
        type=click.Path(path_type=Path),
        default=Path("nightly.yaml"),
        show_default=True,
        metavar="FILE",
        help="The plan to measure; `suite plan check` explains it.",
    )
    return option(function)


def open_inventory(inventory_path: Path) -> tuple[Inventory, Home]:
    """Reads the inventory and locates the home beside it."""
    from devices.inventory.inventory_file import load  # loads YAML, which commands on the store don't need

    home = Home.locate(inventory_path)
    return load(inventory_path, home=home.root), home


@contextmanager
def open_store(inventory_path: Path, *, read_only: bool = True, nothing: str = "no history yet") -> Iterator[Store]:
    """Opens the store of the home beside the inventory. Raises UserError, with `nothing`, if it is empty."""
    from suite.store.store import Store  # its database takes a while to load, which most commands don't need

    home = Home.locate(inventory_path)
    if not home.store_path.is_file():
        raise UserError(f"There is {nothing} in {home.root}: measure first with `suite run --device local`.")
    store = Store.open(home.store_path, read_only=read_only)
    try:
        yield store
    finally:
        store.close()
