"""Options that several commands share: where the inventory is, and the home beside it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import click

from devices.inventory import Inventory, load
from suite.home import Home

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
