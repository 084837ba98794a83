"""Reads TSV and CSV text as rows of cells, in whichever dialect the file has.

GLUE's TSV files have no quoting: a quotation mark is a character of the text. pandas and the csv module put a cell that
contains a tab, a line end or a quotation mark between quotation marks and double those inside. Both are called TSV;
which one a file is follows from all of its lines.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Collection, Sequence

from foundation.errors import UserError
from foundation.text import printable

Cells = tuple[int, list[str]]
"""The line in which a row starts, from 1, and the row's cells."""

#: A cell, quoted or without quotation marks, and what ends it. A lone carriage return is a character of the text.
_CELL = re.compile(r'(?:"((?:[^"]++|"")*+)"(?=\t|\r?\n|\r?\Z)|([^"\t\n]*+))(\t|\r?\n|\r?\Z)')
MOST_LINE_CHARS = 1 << 20
_DELIMITERS = (",", ";", "\t", "|")


def read_tsv(text: str, where: str) -> list[Cells]:
    """Returns the rows of a TSV file, blank lines left out. Rows may have different numbers of cells.

    Raises `UserError` if no line has a tab.
    """
    lines = _lines(text)
    for number, line in lines:
        if len(line) > MOST_LINE_CHARS:
            raise UserError(
                f"{where}: line {number} has {len(line)} characters, but the limit is {MOST_LINE_CHARS}: shorten its "
                "text."
            )
    plain = [(number, line.split("\t")) for number, line in lines]
    if plain and not any(len(cells) > 1 for _, cells in plain):
        raise UserError(f"{where} has no labels, only one column: write each line as text, tab, label.")
    quoted = _quoted_rows(text) if '"' in text else None
    if quoted is None or not _is_even([(line, cells) for line, cells, _ in quoted]):
        return plain
    first = plain[0][1]
    throughout = len(first) > 1 and all(len(cell) > 1 and cell[0] == cell[-1] == '"' for cell in first)
    if throughout or not _is_even(plain) or any(doubled for *_, doubled in quoted):
        return [(line, cells) for line, cells, _ in quoted]
    return plain


def _quoted_rows(text: str) -> list[tuple[int, list[str], bool]] | None:
    """Returns line and cells of each row in pandas' quoting; None if the text has quotation marks that don't fit it.

    The third value is whether only quoting explains a cell, because it has doubled quotation marks.
    """
    rows: list[tuple[int, list[str], bool]] = []
    begin, line, place = 1, 1, 0
    cells: list[str] = []
    doubled = False
    while place < len(text) or cells:
        found = _CELL.match(text, place)
        if found is None:
            return None
        place = found.end()
        inner, bare, end = found.groups()
        if inner is None:
            cells.append(bare.removesuffix("\r") if end != "\t" else bare)
        else:
            cells.append(inner.replace('""', '"'))
            doubled |= '""' in inner and "\t" not in inner and "\n" not in inner
            line += inner.count("\n")
        if end == "\t" and place < len(text):
            continue
        if end == "\t":
            cells.append("")
        if any(cell.strip() for cell in cells):
            rows.append((begin, cells, doubled))
        line += 1
        begin, cells, doubled = line, [], False
    return rows


def read_csv(text: str, where: str, known: Collection[str]) -> list[Cells]:
    """Returns the rows of a CSV file, with the delimiter that yields most of the `known` column names, else the comma.

    Raises `UserError`, with the line's number, for a quotation mark that is never closed.
    """
    first = next(iter(_lines(text)), (1, ""))[1]

    def names(delimiter: str) -> int:
        return sum(cell.strip('" ').casefold() in known for cell in first.split(delimiter))

    return _read_quoted(text, max(_DELIMITERS, key=names), where)


def _lines(text: str) -> list[tuple[int, str]]:
    """Returns the numbered lines that aren't blank."""
    # Not splitlines(), which would also split at other characters that a text may contain.
    numbered = enumerate((line.removesuffix("\r") for line in text.split("\n")), start=1)
    return [(number, line) for number, line in numbered if line.strip()]


def _read_quoted(text: str, delimiter: str, where: str) -> list[Cells]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    rows: list[Cells] = []
    begin = 1
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                rows.append((begin, cells))
            begin = reader.line_num + 1
    except csv.Error as error:
        raise UserError(
            f"{where}: the row that starts in line {begin} is not valid CSV ({printable(str(error), 80)}): double the "
            "quotation marks inside a quoted cell and close it."
        ) from error
    return rows


def _is_even(rows: Sequence[Cells]) -> bool:
    """Returns whether all rows have as many cells as the first."""
    return len({len(cells) for _, cells in rows}) == 1
