"""Where the inventory is, and with it the home: the option that all commands share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import click

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
