"""The elements of first screens: answers, matrices of settings, heat grids of nights, sparklines.

templates/pictures.html renders them without scripts. Links are relative to the site's root.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from reports.text.appearance import Status

_WIDTH, _HEIGHT, _EDGE = 100.0, 24.0, 2.0


@dataclass(frozen=True)
class Answer:
    """An answer to a question; ``words`` say how reliable it is and what can't be told.

    ``slot`` is a setting's colour.
    """

    question: str
    answer: str
    words: Sequence[str] = ()
    slot: int | None = None
    href: str = ""


@dataclass(frozen=True)
class Spark:
    """A word-sized line of values; None is a gap.

    ``marks`` are (place, tone) of values that stand out; ``words`` describe it for screen readers. A spread below
    ``least`` (a share of the largest value) doesn't fill the height, so that noise looks like noise.
    """

    values: Sequence[float | None]
    words: str
    marks: Sequence[tuple[int, str]] = ()
    least: float = 0.0

    @property
    def lines(self) -> list[str]:
        """The points of each stretch without a gap, as SVG wants them."""
        stretches: list[list[str]] = [[]]
        for place, value in enumerate(self.values):
            if value is None:
                stretches.append([])
            else:
                x, y = self.point(place)
                stretches[-1].append(f"{x:.1f},{y:.1f}")
        # A value between two gaps is a line of zero length, which round line ends turn into a dot.
        return [" ".join(found if len(found) > 1 else found * 2) for found in stretches if found]

    def point(self, place: int) -> tuple[float, float]:
        """Returns where a value is drawn in a box of 100 by 24, larger values higher."""
        known = [value for value in self.values if value is not None]
        low, high = min(known), max(known)
        value, spread = self.values[place], max(high - low, self.least * high)
        share = 0.5 if value is None or spread == 0 else 0.5 + (value - (low + high) / 2) / spread
        x = _EDGE + (_WIDTH - 2 * _EDGE) * (place / (len(self.values) - 1) if len(self.values) > 1 else 0.5)
        return x, _HEIGHT - _EDGE - (_HEIGHT - 2 * _EDGE) * share


@dataclass(frozen=True)
class Value:
    """One line of a cell; the ``best`` of a row is bold, ``tone`` colours a change."""

    text: str
    best: bool = False
    tone: str = ""


@dataclass(frozen=True)
class MatrixCell:
    """Values, one per line; ``note`` is a muted line below them, or replaces them."""

    values: Sequence[Value] = ()
    note: str = ""
    href: str = ""
    spark: Spark | None = None


@dataclass(frozen=True)
class MatrixRow:
    """A row: its name, a muted explanation, its cells."""

    name: str
    quiet: str
    cells: Sequence[MatrixCell]
    href: str = ""


@dataclass(frozen=True)
class Matrix:
    """Cells by row and column; ``columns`` are (title, slot of a setting's colour or None)."""

    name: str
    caption: str
    columns: Sequence[tuple[str, int | None]]
    rows: Sequence[MatrixRow]


@dataclass(frozen=True)
class HeatCell:
    """A square: an outcome, or None for nothing. ``words`` appear on hovering; the Tab key skips good outcomes."""

    status: Status | None
    words: str
    href: str = ""


@dataclass(frozen=True)
class HeatRow:
    """A row of squares, oldest first."""

    name: str
    cells: Sequence[HeatCell]
    href: str = ""


@dataclass(frozen=True)
class HeatColumn:
    """A heading of two letters, spelled out in ``words``."""

    short: str
    words: str
    href: str = ""


@dataclass(frozen=True)
class HeatGrid:
    """Outcomes as squares: a row per device, a column per night. ``legend`` explains the squares."""

    name: str
    caption: str
    columns: Sequence[HeatColumn]
    rows: Sequence[HeatRow]

    @property
    def legend(self) -> list[Status]:
        """The outcomes that occur, worst first."""
        found = dict.fromkeys(cell.status for row in self.rows for cell in row.cells if cell.status is not None)
        return sorted(found, key=lambda one: (one.order, one.word))
