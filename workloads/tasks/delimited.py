"""TSV and CSV text as rows of cells, in the dialect that the file is written in.

GLUE's TSV files have no quoting: a quotation mark is a character of the text. pandas and the csv module put a cell
that holds a tab, a line's end or a quotation mark between quotation marks and double those inside. Both are called TSV,
and which one a file is follows from all of its lines.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Collection, Sequence

from foundation.errors import UserError
from foundation.text import printable

Cells = tuple[int, list[str]]
"""The line a row begins in, from 1, and the row's cells."""

_QUOTED = r'"(?:[^"]++|"")*+"'
_CELL = rf'(?:{_QUOTED}|[^"\t\r\n]*+)'
_QUOTED_FILE = re.compile(rf"{_CELL}(?:(?:\t|\r?\n|\r){_CELL})*+")
_QUOTED_CELL = re.compile(rf"(?:^|\t)({_QUOTED})(?=\t|\r?$)", re.MULTILINE)
_DELIMITERS = (",", ";", "\t", "|")


def read_tsv(text: str, where: str) -> list[Cells]:
    """Returns the rows of a TSV file, blank lines left out. Rows may have different numbers of cells.

    Raises `UserError` if no line has a tab.
    """
    plain = [(number, line.split("\t")) for number, line in _lines(text)]
    if plain and not any(len(cells) > 1 for _, cells in plain):
        raise UserError(f"{where} has no labels, only one column: write each line as text, a tab, label.")
    if '"' not in text or not _QUOTED_FILE.fullmatch(text):
        return plain
    quoted = _read_quoted(text, "\t", where)
    if _is_even(quoted) and (not _is_even(plain) or _bears_quoting(text, plain[0][1])):
        return quoted
    return plain


def _bears_quoting(text: str, first: Sequence[str]) -> bool:
    """Returns True if only quoting explains the quotation marks, although the lines can be split without it.

    A cell has doubled ones, or the first line is quoted throughout, as by csv.QUOTE_ALL.
    """
    if len(first) > 1 and all(len(cell) > 1 and cell[0] == cell[-1] == '"' for cell in first):
        return True
    cells = (found[1] for found in _QUOTED_CELL.finditer(text))
    return any('""' in cell[1:-1] and not {"\t", "\n"} & set(cell) for cell in cells)


def read_csv(text: str, where: str, known: Collection[str]) -> list[Cells]:
    """Returns the rows of a CSV file with the delimiter that gives most of the `known` column names, else the comma.

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
            f"{where}: the row that begins in line {begin} is not valid CSV ({printable(str(error), 80)}): double the "
            "quotation marks inside a quoted cell and close it."
        ) from error
    return rows


def _is_even(rows: Sequence[Cells]) -> bool:
    """Returns True if all rows have as many cells as the first."""
    return len({len(cells) for _, cells in rows}) == 1
