"""Options shared by several commands: the inventory, which also locates the home, and the plan of nights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import click

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


def night_plan_option(function: _F) -> _F:
    """Adds `--plan FILE`, what nights measure."""
    option = click.option(
        "--plan",
        "plan_path",
        type=click.Path(path_type=Path),
        default=Path("nightly.yaml"),
        show_default=True,
        metavar="FILE",
        help="What is measured; `suite plan check` explains it.",
    )
    return option(function)
