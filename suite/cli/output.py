"""Tables and values on standard output: fitted to a terminal, at full width in a pipe, in typeable characters.

Text may come from devices and files: what a terminal would act on is replaced here, and in `suite.display`.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable
from datetime import datetime
from typing import Any

import click
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from foundation.errors import UserError
from foundation.text import harmless
from foundation.unavailable import Unavailable
from reports.model.quantities import metric_span, metric_value

_WIDEST = 10_000


def print_json(document: Any, *, finite: bool = False) -> None:
    """Prints one JSON document; `finite` refuses numbers that JSON lacks."""
    click.echo(json.dumps(document, indent=1, allow_nan=not finite))


def print_plain(text: str, *, err: bool = False) -> None:
    """Prints text as it is, also on a terminal: a path or a command that is copied whole. `err`: on standard error."""
    click.echo(harmless(text), err=err)


def require_written(report: str | Unavailable) -> str:
    """Returns a page's path; raises why it could not be written, which is for the end of what a command prints."""
    if isinstance(report, Unavailable):
        raise UserError(report.reason)
    return report


def print_line(text: str) -> None:
    """Prints a line of text; on a terminal it wraps between words."""
    console = Console(highlight=False)
    console.print(escape(harmless(text)), soft_wrap=not console.is_terminal)


class TextTable(Table):
    """A table whose cells are text and nothing else. `pads` keeps the space around columns, for long texts."""

    def __init__(self, *, pads: bool = False) -> None:
        super().__init__(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=not pads)

    def add_texts(self, cells: Iterable[str]) -> None:
        """Adds a row."""
        self.add_row(*(escape(harmless(cell)) for cell in cells))


def print_table(table: Table) -> None:
    """Prints `table`; in a pipe without wrapping, colours, trailing blanks or surrounding empty lines."""
    console = Console(highlight=False)
    if console.is_terminal:
        console.print(table)
        return
    text = io.StringIO()
    Console(file=text, width=_WIDEST, highlight=False, no_color=True).print(table)
    lines = [line.rstrip() for line in text.getvalue().splitlines()]
    for line in lines:
        if line:
            print(line)


_TYPED = str.maketrans({"\u00a0": " ", "\u2212": "-", "\u2013": "-", "\u00d7": "x"})


def local_time(iso: str) -> str:
    """Formats a stored time on the user's clock, whose days are what a date means; an unreadable one stays as it is."""
    try:
        return datetime.fromisoformat(iso).astimezone().isoformat(sep=" ", timespec="seconds")
    except ValueError:
        return iso


def typeable(text: str) -> str:
    """Returns the text of a page in characters that a keyboard has."""
    return text.translate(_TYPED)


def format_value(metric: str, stored: float) -> str:
    """Formats a metric's value: `latency_ms` and 1234.5 give `1.23 s`."""
    return metric_value(metric, stored).translate(_TYPED)


def format_span(metric: str, low: float, high: float, like: float) -> str:
    """Formats an interval with the unit and decimal places of its value `like`: `1.21-1.27 s`."""
    return metric_span(metric, low, high, like).translate(_TYPED)
