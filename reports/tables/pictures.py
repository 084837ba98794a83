"""What a first screen consists of: answers, matrices of settings, heat grids of nights, sparklines.

All of them are set by templates/pictures.html without a script. Links are relative to the site's root.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from reports.text.appearance import Status

_WIDTH, _HEIGHT, _EDGE = 100.0, 24.0, 2.0


@dataclass(frozen=True)
class Answer:
    """An answer to a question; ``words`` say what it is worth, and what can't be told. ``slot`` is the colour of a
    setting."""

    question: str
    answer: str
    words: Sequence[str] = ()
    slot: int | None = None
    href: str = ""


@dataclass(frozen=True)
class Spark:
    """A course of values in the size of a word; None is a gap. ``marks`` are (place, tone) of values that stand out,
    ``words`` say the same to those who don't see it. A smaller spread than ``least`` (a share of the largest value)
    does not fill its height, so that noise looks like noise."""

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
        # A value between two gaps is a line of no length, which round ends make a dot.
        return [" ".join(found if len(found) > 1 else found * 2) for found in stretches if found]

    def point(self, place: int) -> tuple[float, float]:
        """Returns where a value is drawn in a box of 100 by 24, the largest on top."""
        known = [value for value in self.values if value is not None]
        low, high = min(known), max(known)
        value, spread = self.values[place], max(high - low, self.least * high)
        share = 0.5 if value is None or spread == 0 else 0.5 + (value - (low + high) / 2) / spread
        x = _EDGE + (_WIDTH - 2 * _EDGE) * (place / (len(self.values) - 1) if len(self.values) > 1 else 0.5)
        return x, _HEIGHT - _EDGE - (_HEIGHT - 2 * _EDGE) * share


@dataclass(frozen=True)
class Value:
    """A line of a cell; the ``best`` of a row is bold, ``tone`` colours a change."""

    text: str
    best: bool = False
    tone: str = ""


@dataclass(frozen=True)
class MatrixCell:
    """Values below one another; ``note`` is a muted line below them, or what there is instead."""

    values: Sequence[Value] = ()
    note: str = ""
    href: str = ""
    spark: Spark | None = None


@dataclass(frozen=True)
class MatrixRow:
    """A row: its name, what is to know of it, its cells."""

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
    """A square: an outcome, or None where there is nothing; ``words`` appear when it is pointed at. What is calm is no
    stop of the Tab key."""

    status: Status | None
    words: str
    href: str = ""


@dataclass(frozen=True)
class HeatRow:
    """A row of squares, the oldest first."""

    name: str
    cells: Sequence[HeatCell]
    href: str = ""


@dataclass(frozen=True)
class HeatColumn:
    """A heading of two letters, in full in ``words``."""

    short: str
    words: str
    href: str = ""


@dataclass(frozen=True)
class HeatGrid:
    """Outcomes as squares: a row a device, a column a night. ``legend`` says what the squares mean."""

    name: str
    caption: str
    columns: Sequence[HeatColumn]
    rows: Sequence[HeatRow]

    @property
    def legend(self) -> list[Status]:
        """The outcomes that there are, the worst first."""
        found = dict.fromkeys(cell.status for row in self.rows for cell in row.cells if cell.status is not None)
        return sorted(found, key=lambda one: (one.order, one.word))
