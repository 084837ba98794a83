"""Where the inventory is, the home beside it, and the store in there: what several commands share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import click

from devices.inventory import Inventory, load
from suite.errors import UserError
from suite.home import Home
from suite.store.store import Store

_F = TypeVar("_F", bound=Callable[..., object])


def inventory_option(function: _F) -> _F:
    """`--inventory FILE`."""
    option = click.option(
        "--inventory",
        "inventory_path",
        type=click.Path(path_type=Path),
        default=Path("inventory.yaml"),
        show_default=True,
        help="The file that lists the devices.",
    )
    return option(function)


def opened(inventory_path: Path) -> tuple[Inventory, Home]:
    """The inventory and the home beside it."""
    home = Home.locate(inventory_path)
    return load(inventory_path, home=home.root), home


@contextmanager
def opened_store(inventory_path: Path, *, read_only: bool = True) -> Iterator[Store]:
    """The store of the home beside the inventory, closed afterwards. UserError when nothing was ever measured."""
    home = Home.locate(inventory_path)
    if not home.store_path.is_file():
        raise UserError(f"There is no history yet in {home.root}: measure first with `suite run --device local`.")
    store = Store.open(home.store_path, read_only=read_only)
    try:
        yield store
    finally:
        store.close()
