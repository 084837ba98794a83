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
    ``words`` say the same to those who don't see it."""

    values: Sequence[float | None]
    words: str
    marks: Sequence[tuple[int, str]] = ()

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
        value = self.values[place]
        share = 0.5 if value is None or high == low else (value - low) / (high - low)
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
    """A square: an outcome, or None where there is nothing; ``words`` appear when it is pointed at."""

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
class HeatGrid:
    """Outcomes as squares: a row a device, a column a night. ``columns`` are their names, drawn where there is room."""

    name: str
    caption: str
    columns: Sequence[str]
    rows: Sequence[HeatRow]
