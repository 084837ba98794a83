"""The store of the home beside the inventory, for commands that read or mark what was measured."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from foundation.errors import UserError
from suite.home import Home
from suite.store.store import Store


@contextmanager
def open_store(inventory_path: Path, *, read_only: bool = True, nothing: str = "no history yet") -> Iterator[Store]:
    """Opens the store of the home beside the inventory for the block. UserError, saying `nothing`, if nothing was ever
    measured."""
    home = Home.locate(inventory_path)
    if not home.store_path.is_file():
        raise UserError(f"There is {nothing} in {home.root}: measure first with `suite run --device local`.")
    store = Store.open(home.store_path, read_only=read_only)
    try:
        yield store
    finally:
        store.close()
