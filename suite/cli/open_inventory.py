"""The inventory named on the command line, for commands that deal with devices."""

from __future__ import annotations

from pathlib import Path

from devices.inventory.reading import Inventory, load
from suite.home import Home


def open_inventory(inventory_path: Path) -> tuple[Inventory, Home]:
    """Reads the inventory and locates the home beside it."""
    home = Home.locate(inventory_path)
    return load(inventory_path, home=home.root), home
