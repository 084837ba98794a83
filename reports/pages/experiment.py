"""The page of an experiment: its question, the answer for each device in a sentence and a picture, evidence folded.

A picture has lines, points with intervals, or bars, depending on the answer's data.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence

from foundation.unavailable import Json
from reports.figures.panels import Figure, Trace, axis, single
from reports.model.experiment import QUICK, Answer, Cell, Curve, Evidence, Experiment, Picture
from reports.tables.sections import Banner, Facts, Grid, GridCell, GridRow, Head, Link, Page, Section
from reports.text.appearance import badges, status
from reports.text.escaping import figure_text
from reports.text.numbers import format_duration, moment_text

_COLOURS = 8
_MOST_TICKS = 12
_SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross", "x", "star", "hexagon")


def experiment_page(found: Experiment) -> Page:
    """Builds the page, which has no links: it is sent and kept as one file."""
    several = len(found.answers) > 1
    items = [(Link(device, f"#answer-{device}"), answer.sentence) for device, answer in found.answers.items()]
    headline = found.question if several or not items else items[0][1]
    size = "quick version, " if found.quick else ""
    lead = (
        f"{moment_text(found.started_at)}, {size}{', '.join(found.devices)}, {format_duration(found.seconds)} in all."
    )
    return Page(
        title=f"Experiment {found.name}",
        heading=f"Experiment: {found.name}",
        lead=lead if several else f"{found.question} {lead}",
        banner=Banner(
            status("ok" if found.status == "finished" else found.status),
            headline,
            items if several else (),
            QUICK if found.quick else "",
        ),
        sections=tuple(_sections(found)),
        badges=badges(bool(found.emulated)),
    )


def _sections(found: Experiment) -> Iterator[Section]:
    alone = len(found.answers) == 1
    for device, answer in found.answers.items():
        yield _answer(device, answer, alone=alone)
        grids = [_grid(f"evidence-{device}-{place}", each) for place, each in enumerate(answer.evidence)]
        if grids:
            yield Section(f"evidence-{device}", "Evidence" if alone else f"{device}: evidence", grids=grids)
    yield _method(found)


def _answer(device: str, answer: Answer, *, alone: bool) -> Section:
    prose = ([] if alone else [answer.sentence]) + [f"Missing: {words}" for words in answer.missing]
    figures = () if answer.picture is None else (experiment_figure(f"picture-{device}", answer.picture),)
    empty = "" if prose or figures else "There is no picture: the sentence above says why."
    return Section(f"answer-{device}", "Answer" if alone else device, prose=prose, figures=figures, empty=empty)


def experiment_figure(name: str, picture: Picture) -> Figure:
    """Draws the picture; curves without a setting's colour get the next free one."""
    traces = [_trace(curve, number) for number, curve in enumerate(picture.curves)]
    layout = single(figure_text(picture.x_title), figure_text(picture.y_title))
    if picture.x_log:
        layout["xaxis"] = axis(figure_text(picture.x_title), type="log", **_ticks(picture.curves))
    if picture.y_log:
        layout["yaxis"] = axis(figure_text(picture.y_title), type="log")
    return Figure(name, picture.title, picture.caption, traces, layout)


def _ticks(curves: Sequence[Curve]) -> dict[str, Json]:
    """Returns ticks at the values themselves if they are few."""
    values = sorted({x for curve in curves for x in curve.x if isinstance(x, float)})
    return {"tickvals": values} if len(values) <= _MOST_TICKS else {}


def _trace(curve: Curve, number: int) -> Trace:
    place = number if curve.slot is None else curve.slot
    symbol = _SYMBOLS[(number + number // _COLOURS) % len(_SYMBOLS)]  # colours that come again have another symbol
    colour = f"var(--setting-{place % _COLOURS})"
    trace: Trace = {
        "type": "bar" if curve.look == "bars" else "scatter",
        "name": figure_text(curve.name, 40),
        "x": [figure_text(x) if isinstance(x, str) else x for x in curve.x],
        "y": list(curve.y),
        "marker": {"color": colour, "symbol": symbol, "size": 8},
    }
    if curve.look == "bars":
        trace["marker"] = {"color": colour}
    else:
        trace["mode"] = {"line": "lines+markers", "points": "markers", "dashes": "lines"}[curve.look]
        trace["line"] = {"color": colour, "width": 2, "dash": "dash" if curve.look == "dashes" else "solid"}
    if curve.low and curve.high:
        trace["error_y"] = {
            "type": "data",
            "symmetric": False,
            "array": [high - y for high, y in zip(curve.high, curve.y, strict=True)],
            "arrayminus": [y - low for low, y in zip(curve.low, curve.y, strict=True)],
            "color": "var(--text)" if curve.look == "bars" else colour,  # a bar would hide its lower half
            "thickness": 1,
        }
    if curve.words:
        trace["hovertext"] = [figure_text(words) for words in curve.words]
        trace["hovertemplate"] = "%{hovertext}<br>%{x}, %{y}<extra></extra>"
    return trace


def _grid(name: str, evidence: Evidence) -> Grid:
    columns = [[row[place] for row in evidence.rows] for place in range(len(evidence.heads))]
    numeric = [any(isinstance(cell, int | float) for cell in column) for column in columns]
    heads = [
        Head(head, kind="number" if number else "text") for head, number in zip(evidence.heads, numeric, strict=True)
    ]
    rows = [
        GridRow(f"{name}-{place}", [GridCell(_cell_text(cell)) for cell in row])
        for place, row in enumerate(evidence.rows)
    ]
    notes = [evidence.note] if evidence.note else []
    return Grid(name, evidence.title, heads, rows, notes, folded=f"{evidence.title} ({len(rows)})")


def _cell_text(cell: Cell) -> str:
    """Returns a value of a table as text: numbers with four significant digits."""
    if cell is None:
        return "-"
    return f"{cell:.4g}" if isinstance(cell, float) else str(cell)


def _method(found: Experiment) -> Section:
    pairs = [("command", shlex.join(found.command)), ("experiment", found.experiment_id)]
    pairs += [(device, words) for device, words in found.hardware.items()]
    for part in found.parts:
        words = [part.status, format_duration(part.seconds), f"{part.kind} {part.made_id}".strip(), part.reason]
        pairs.append((f"part {part.name}", ", ".join(word for word in words if word)))
    return Section("method", "How it was measured", facts=(Facts("Parts", pairs),))
