"""An experiment that was carried out: its question, what was measured for it, and its answers, one for each device.

An answer is data: a sentence, a picture, the evidence as tables. Its page and what the command prints are made from the
document alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from foundation.unavailable import Json, Unavailable
from reports.model.reading import Interval

Finite = Annotated[float, Field(allow_inf_nan=False)]
Cell = str | int | Finite | None
"""A value of a table; None where there is none, which the sentence or `missing` explains."""

PartKind = Literal["measure", "train", "profile", "own"]
PartStatus = Literal["running", "finished", "partial", "failed"]
Status = Literal["running", "finished", "partial", "interrupted"]


@dataclass(frozen=True)
class Curve:
    """Points of one thing: `x` and `y` are equally long, and so are `low` and `high` (the interval of y) and `words`
    (what a point is) unless they are empty. `look`: how they are drawn. `slot`: the colour of a setting.
    """

    name: str
    x: tuple[Finite, ...] | tuple[str, ...]
    y: tuple[Finite, ...]
    low: tuple[Finite, ...] = ()
    high: tuple[Finite, ...] = ()
    words: tuple[str, ...] = ()
    look: Literal["line", "points", "bars", "dashes"] = "line"
    slot: int | None = None

    def __post_init__(self) -> None:
        for name in ("x", "low", "high", "words"):
            length = len(getattr(self, name))
            if length not in (len(self.y), 0) or (name == "x" and length != len(self.y)):
                raise ValueError(f"{name} has {length} values for {len(self.y)} points")


@dataclass(frozen=True)
class Picture:
    """The one figure of an answer. `caption` says how to read it; `x_log`, `y_log`: the axes are logarithmic."""

    title: str
    x_title: str
    y_title: str
    curves: tuple[Curve, ...]
    caption: str = ""
    x_log: bool = False
    y_log: bool = False


@dataclass(frozen=True)
class Evidence:
    """A table of what an answer rests on; every row is as long as `heads`. `note` says how its numbers were made."""

    title: str
    heads: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.heads):
                raise ValueError(f"a row has {len(row)} cells for {len(self.heads)} heads")


@dataclass(frozen=True)
class Answer:
    """What an experiment says of a device, in one sentence. `picture` is None where nothing can be drawn; `missing`
    says what could not be measured and why.
    """

    sentence: str
    picture: Picture | None = None
    evidence: tuple[Evidence, ...] = ()
    missing: tuple[str, ...] = ()


@dataclass(frozen=True)
class Part:
    """What was measured for an experiment in one go. `made_id` is that of its run, trainings or profile; `seconds`: how
    long it took, pauses between two attempts left out."""

    name: str
    kind: PartKind
    status: PartStatus
    made_id: str = ""
    reason: str = ""
    seconds: Finite = 0.0

    @property
    def device(self) -> str:
        """The device whose share of a part it is, by its name; empty if it is of all devices."""
        return next(iter(self.name.split(", ")[1:2]), "")


def share_name(part: str, device: str, quant: str = "") -> str:
    """Returns the name of a device's share of a part, where each device has its own: `where, jetson, nf4`."""
    return ", ".join(word for word in (part, device, quant) if word)


QUICK = "This is the quick version: that it works here is all that it says, not what a real model takes on this device."


@dataclass(frozen=True)
class Experiment:
    """One carrying-out of an experiment. `command` repeats it; `answers` and `hardware` (in words) are by device;
    `task` and `template` are those that the user named for it."""

    experiment_id: str
    name: str
    question: str
    quick: bool
    devices: tuple[str, ...]
    model: str | None
    command: tuple[str, ...]
    started_at: str
    status: Status
    parts: tuple[Part, ...] = ()
    answers: Mapping[str, Answer] = field(default_factory=dict)
    emulated: tuple[str, ...] = ()
    task: str | None = None
    template: str | None = None
    hardware: Mapping[str, str] = field(default_factory=dict)

    @property
    def seconds(self) -> float:
        """How long all of it took so far."""
        return sum(part.seconds for part in self.parts)

    def part(self, name: str) -> Part | None:
        """Returns the part of that name, None if it was not begun."""
        return next((one for one in self.parts if one.name == name), None)

    def document(self) -> dict[str, Json]:
        """Returns its form as JSON."""
        return {"schema": 1, **asdict(self), "seconds": self.seconds}

    @classmethod
    def from_document(cls, document: Json) -> Experiment:
        """Returns the experiment of a document. Raises ValueError for another one."""
        if not isinstance(document, Mapping) or document.get("schema") != 1:
            raise ValueError("its schema is not known")
        return _adapter().validate_python(dict(document))


@lru_cache(maxsize=1)
def _adapter() -> TypeAdapter[Experiment]:
    return TypeAdapter(Experiment)


def interval_cells(found: Interval | Unavailable | None, before: str = "", factor: float = 1.0) -> dict[str, Cell]:
    """Returns both ends of an interval as cells of a row, empty without one; their heads begin with `before`."""
    ends = (found.low * factor, found.high * factor) if isinstance(found, Interval) else (None, None)
    return dict(zip((f"{before}from", f"{before}to"), ends, strict=True))


def common_ends(found: Sequence[Interval | Unavailable]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Returns the lower and the upper ends of intervals, as a curve has them; none unless all are known."""
    known = [one for one in found if isinstance(one, Interval)]
    if len(known) < len(found):
        return (), ()
    return tuple(one.low for one in known), tuple(one.high for one in known)


def with_rows(*tables: Evidence) -> tuple[Evidence, ...]:
    """Returns the tables that are not empty."""
    return tuple(table for table in tables if table.rows)


def table_of(title: str, rows: Sequence[Mapping[str, Cell]], note: str = "") -> Evidence:
    """Returns a table of rows that all have the heads of the first one."""
    heads = tuple(rows[0]) if rows else ()
    return Evidence(title, heads, tuple(tuple(row[head] for head in heads) for row in rows), note)
