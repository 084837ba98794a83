"""Every row of a store, for comparing two of them."""

import sqlite3
from pathlib import Path
from typing import Any

from suite.store.journal import TABLES, column_names

Contents = dict[str, list[tuple[Any, ...]]]


def contents(path: Path) -> Contents:
    """Returns the rows of every table, sorted."""
    connection = sqlite3.connect(path)
    try:
        return {
            table.name: sorted(
                connection.execute(f"SELECT {', '.join(column_names(table))} FROM {table.name}"), key=repr
            )
            for table in TABLES
        }
    finally:
        connection.close()


def remove_store(path: Path) -> None:
    """Removes a store with its logs."""
    for file in path.parent.glob(f"{path.name}*"):
        file.unlink()
