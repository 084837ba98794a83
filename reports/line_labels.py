"""Labels of upright lines over time, placed so that they neither cover one another nor leave the figure."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from reports.escaping import figure_text
from reports.panels import label_inside

_FONT_PX, _ROW_PX, _ROWS = 11, 14, 4
# Shares of a figure's width: of a character on a screen of common width, and where labels turn to the left.
_CHARACTER, _TURN = 0.0085, 0.75


def placed_labels(labels: Sequence[tuple[str, str]], ends: tuple[str, str], where: str) -> list[dict[str, Any]]:
    """Annotations of the (moment, words) in ``labels`` at the ``top`` or the ``bottom`` of a figure.

    ``ends`` are the first and the last moment drawn; all of them are ISO 8601 without an offset. A label that would
    cover an earlier one goes a row further in; beyond four rows the words are left to the tables.
    """
    placed = []
    free_from = [-1.0] * _ROWS
    for at, words in sorted(labels):
        share, text = _share(at, ends), figure_text(words, 40)
        width = _CHARACTER * (len(text) + 1)
        turned = share > _TURN
        left = share - width if turned else share
        row = next((row for row, free in enumerate(free_from) if free <= left), None)
        if row is None:
            continue
        free_from[row] = left + width
        placed.append(_label(at, text, where, row, "right" if turned else "left"))
    return placed


def _share(at: str, ends: tuple[str, str]) -> float:
    try:
        moment, first, last = (datetime.fromisoformat(iso) for iso in (at, *ends))
    except ValueError:
        return 0.0
    return (moment - first) / (last - first) if last > first else 0.0


def _label(at: str, text: str, where: str, row: int, side: str) -> dict[str, Any]:
    inwards = -1 if where == "top" else 1
    return label_inside(0, 0, text) | {
        "x": at, "y": 1 if where == "top" else 0, "yanchor": where, "xanchor": side, "yshift": inwards * row * _ROW_PX,
        "font": {"size": _FONT_PX, "color": "var(--text)"}, "bgcolor": "var(--surface)", "borderpad": 1, "opacity": 0.9,
    }  # fmt: skip
