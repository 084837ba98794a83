"""Prints tables and values on standard output: fitted to a terminal, at full width in a pipe, in typeable characters.

Text may come from devices and files. Characters that a terminal would act on are replaced here and in `suite.display`.
"""

from __future__ import annotations

import io
import json
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import click
from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.markup import escape
from rich.measure import Measurement
from rich.table import Table

from foundation.errors import UserError
from foundation.text import harmless
from foundation.unavailable import Unavailable
from reports.model.quantities import metric_span, metric_value
from suite.cli.streams import writable

_WIDEST = 10_000


def print_json(document: Any, *, finite: bool = False) -> None:
    """Prints one JSON document; `finite` refuses nan and infinities, which JSON lacks."""
    click.echo(json.dumps(document, indent=1, allow_nan=not finite))


def print_plain(text: str, *, err: bool = False) -> None:
    """Prints text without wrapping it, for paths and commands that are copied whole. `err`: on standard error."""
    click.echo(harmless(text), err=err)


def require_written(report: str | Unavailable) -> str:
    """Returns a page's path. Raises UserError with the reason if it was not written; so it is called last."""
    if isinstance(report, Unavailable):
        raise UserError(report.reason)
    return report


def print_line(text: str) -> None:
    """Prints a line of text; on a terminal it wraps between words."""
    console = Console(highlight=False)
    if console.is_terminal:
        _print_wrapped(console, harmless(text))
    else:
        console.print(escape(harmless(text)), soft_wrap=True)


class TextTable(Table):
    """A table whose cells are plain text. `pads` keeps the space around columns, for long texts."""

    def __init__(self, *, pads: bool = False) -> None:
        super().__init__(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=not pads)
        self._texts: list[list[str]] = []

    def add_texts(self, cells: Iterable[str]) -> None:
        """Adds a row."""
        texts = [writable(harmless(cell)) for cell in cells]
        self._texts.append(texts)
        self.add_row(*map(escape, texts))

    def fit(self, console: Console) -> bool:
        """Sets the columns' widths so that no word is broken. Returns False if the console is too narrow for that."""
        columns = [
            [str(column.header), *(row[place] for row in self._texts)] for place, column in enumerate(self.columns)
        ]
        words = [max(1, *(cell_len(word) for text in texts for word in ["", *text.split()])) for texts in columns]
        lines = [max(1, *(cell_len(line) for text in texts for line in ["", *text.split("\n")])) for texts in columns]
        whole = Measurement.get(console, console.options.update_width(_WIDEST), self).maximum
        room = console.width - (whole - sum(lines)) - sum(words)
        if room < 0:
            return False
        wishes = [most - least for least, most in zip(words, lines, strict=True)]
        # The narrowest columns first: the wide ones share what is left.
        for done, place in enumerate(sorted(range(len(wishes)), key=wishes.__getitem__)):
            granted = min(wishes[place], room // (len(wishes) - done))
            self.columns[place].width = words[place] + granted
            room -= granted
        return True

    def blocks(self) -> Iterator[str]:
        """Yields each row as a block of lines, one for each cell that is not empty."""
        names = [" ".join(str(column.header).split()) for column in self.columns]
        for texts in self._texts:
            pairs = zip(names, (" ".join(text.split()) for text in texts), strict=True)
            lines = [f"{name}: {text}" if name else text for name, text in pairs if text]
            if not names[0] and len(lines) > 1:  # a mark
                lines[:2] = [" ".join(lines[:2])]
            yield "\n  ".join(lines)


def print_table(table: TextTable) -> None:
    """Prints `table`; in a pipe without wrapping, colours, trailing blanks or surrounding empty lines.

    On a terminal that is too narrow for its words, each row becomes a block of lines.
    """
    console = Console(highlight=False)
    if console.is_terminal:
        if table.fit(console):
            console.print(table)
        else:
            for block in table.blocks():
                _print_wrapped(console, block)
        return
    text = io.StringIO()
    Console(file=text, width=_WIDEST, highlight=False, no_color=True).print(table)
    lines = [line.rstrip() for line in text.getvalue().splitlines()]
    for line in lines:
        if line:
            print(line)


def _print_wrapped(console: Console, text: str) -> None:
    """Prints lines that wrap between words; a longer word, such as a path, stays whole."""
    for line in text.split("\n"):
        wrapped = textwrap.wrap(line, console.width, break_long_words=False, break_on_hyphens=False)
        console.print(escape("\n".join(wrapped)), soft_wrap=True)


def shared_parts(keys: Sequence[str]) -> tuple[str, Mapping[str, str]]:
    """Returns what all workload keys share, and the rest of each. A single key and keys of unlike form stay whole."""
    split = {key: key.split("/") for key in keys}
    if len(split) < 2 or len({len(parts) for parts in split.values()}) > 1:
        return "", {key: key for key in keys}
    columns = list(zip(*split.values(), strict=True))
    differs = [len(set(column)) > 1 for column in columns]
    shared = "/".join(column[0] for column, apart in zip(columns, differs, strict=True) if not apart)
    return shared, {
        key: "/".join(part for part, apart in zip(parts, differs, strict=True) if apart) for key, parts in split.items()
    }


_HEIGHTS = "▁▂▃▄▅▆▇█"
_LEAST_RANGE = 0.05


def sparkline(values: Sequence[float]) -> str:
    """Draws values as a line of characters, from the lowest to the highest.

    The full height is at least 5 % of the values, so that noise looks like noise.
    """
    if not values:
        return ""
    low, high = min(values), max(values)
    height = max(high - low, _LEAST_RANGE * max(abs(low), abs(high))) or 1.0
    bottom = (low + high - height) / 2
    return "".join(_HEIGHTS[min(int((value - bottom) / height * len(_HEIGHTS)), len(_HEIGHTS) - 1)] for value in values)


_TYPED = str.maketrans({"\u00a0": " ", "\u2212": "-", "\u2013": "-", "\u00d7": "x"})


def local_time(iso: str) -> str:
    """Formats a stored time in local time, as users give dates; returns one that can't be parsed unchanged."""
    try:
        return datetime.fromisoformat(iso).astimezone().isoformat(sep=" ", timespec="seconds")
    except ValueError:
        return iso


def typeable(text: str) -> str:
    """Returns a page's text in characters that a keyboard has."""
    return text.translate(_TYPED)


def format_value(metric: str, stored: float) -> str:
    """Formats a metric's value: `latency_ms` and 1234.5 give `1.23 s`."""
    return metric_value(metric, stored).translate(_TYPED)


def format_span(metric: str, low: float, high: float, like: float) -> str:
    """Formats an interval with the unit and decimal places of its value `like`: `1.21-1.27 s`."""
    return metric_span(metric, low, high, like).translate(_TYPED)
