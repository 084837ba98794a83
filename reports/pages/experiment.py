"""The page of an experiment: its question, for each device the answer in a sentence and a picture, evidence folded."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from reports.figures.experiment_pictures import experiment_figure
from reports.model.experiment import QUICK, Answer, Cell, Evidence, Experiment
from reports.tables.sections import Banner, Facts, Grid, GridCell, GridRow, Head, Link, Page, Section
from reports.text.appearance import badges, status
from reports.text.numbers import format_duration, moment_text


def experiment_page(found: Experiment) -> Page:
    """Builds the page, which leads nowhere: it is sent and kept as one file."""
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
