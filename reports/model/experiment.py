"""An experiment after it ran: its question, what was measured for it, and its answers, one for each device.

An answer is data: a sentence, a picture, the evidence as tables. The page and the command's output are made from the
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
"""A value of a table; None if there is none, as the sentence or `missing` explains."""

PartKind = Literal["measure", "train", "profile", "own"]
PartStatus = Literal["running", "finished", "partial", "failed"]
Status = Literal["running", "finished", "partial", "interrupted"]


@dataclass(frozen=True)
class Curve:
    """Points that belong together: `x` and `y` have the same length, and so do `low` and `high` (the interval of y) and
    `words` (what a point is) unless they are empty. `look`: how they are drawn. `slot`: the colour of a setting.
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
    """A table that an answer is based on; every row is as long as `heads`.

    `note` says how its numbers were obtained.
    """

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
    """An experiment's conclusion for a device, in one sentence. `picture` is None if nothing can be drawn; `missing`
    says what could not be measured and why.
    """

    sentence: str
    picture: Picture | None = None
    evidence: tuple[Evidence, ...] = ()
    missing: tuple[str, ...] = ()


@dataclass(frozen=True)
class Part:
    """One step of an experiment's measuring. `made_id` is the id of its run, trainings or profile; `seconds` is how
    long it took, without pauses between attempts."""

    name: str
    kind: PartKind
    status: PartStatus
    made_id: str = ""
    reason: str = ""
    seconds: Finite = 0.0

    @property
    def device(self) -> str:
        """The device that it is a part for, taken from its name; empty for all devices."""
        return next(iter(self.name.split(", ")[1:2]), "")


def share_name(part: str, device: str, quant: str = "") -> str:
    """Returns the name of a part that each device has its own of: `where, jetson, nf4`."""
    return ", ".join(word for word in (part, device, quant) if word)


QUICK = "This is the quick version: it shows only that the experiment works here, not what a real model costs on it."


@dataclass(frozen=True)
class Experiment:
    """One run of an experiment. `command` repeats it; `answers` and `hardware` (in words) are by device; `task` and
    `template` are what the user named for it."""

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
        """How long all parts have taken so far."""
        return sum(part.seconds for part in self.parts)

    def part(self, name: str) -> Part | None:
        """Returns the part of that name, None if it was not started."""
        return next((one for one in self.parts if one.name == name), None)

    def document(self) -> dict[str, Json]:
        """Returns it as JSON values."""
        return {"schema": 1, **asdict(self), "seconds": self.seconds}

    @classmethod
    def from_document(cls, document: Json) -> Experiment:
        """Reads what :meth:`document` returns. Raises ValueError for anything else."""
        if not isinstance(document, Mapping) or document.get("schema") != 1:
            raise ValueError("its schema is not known")
        return _adapter().validate_python(dict(document))


@lru_cache(maxsize=1)
def _adapter() -> TypeAdapter[Experiment]:
    return TypeAdapter(Experiment)


def interval_cells(found: Interval | Unavailable | None, before: str = "", factor: float = 1.0) -> dict[str, Cell]:
    """Returns both ends of an interval, if there is one, as cells of a row; their heads start with `before`."""
    ends = (found.low * factor, found.high * factor) if isinstance(found, Interval) else (None, None)
    return dict(zip((f"{before}from", f"{before}to"), ends, strict=True))


def common_ends(found: Sequence[Interval | Unavailable]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Returns the lower and upper ends of intervals for a curve; empty unless all are known."""
    known = [one for one in found if isinstance(one, Interval)]
    if len(known) < len(found):
        return (), ()
    return tuple(one.low for one in known), tuple(one.high for one in known)


def with_rows(*tables: Evidence) -> tuple[Evidence, ...]:
    """Returns the tables that are not empty."""
    return tuple(table for table in tables if table.rows)


def table_of(title: str, rows: Sequence[Mapping[str, Cell]], note: str = "") -> Evidence:
    """Returns a table of rows that all have the same heads as the first one."""
    heads = tuple(rows[0]) if rows else ()
    return Evidence(title, heads, tuple(tuple(row[head] for head in heads) for row in rows), note)
