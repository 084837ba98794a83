"""The inventory that a command is told of, for commands that have to do with devices."""

from __future__ import annotations

from pathlib import Path

from devices.inventory.reading import Inventory, load
from suite.home import Home


def opened(inventory_path: Path) -> tuple[Inventory, Home]:
    """The inventory and the home beside it."""
    home = Home.locate(inventory_path)
    return load(inventory_path, home=home.root), home
