"""The table that tells of devices line by line: what is there, and how to mend what is not."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.markup import escape
from rich.table import Table

from devices.inspection import Row
from suite.cli.output import print_table

_MARKS = {"ok": "✓", "warning": "!", "failed": "✗", "unavailable": "-"}


def print_rows(rows: Sequence[Row]) -> None:
    """Print the rows as a table; what they hold may come from a device."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("", "item", "what is there", "how to mend it"):
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*(escape(cell) for cell in (_MARKS[row.state], row.item, row.detail, row.remedy)))
    print_table(table)
