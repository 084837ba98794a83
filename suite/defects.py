"""What can be wrong with a runner's output, by name."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class DefectKind(StrEnum):
    """One name for each way in which output can be wrong."""

    GARBAGE = "garbage"  # a line that is not a JSON object: a loader's warning, a shell's greeting
    INVALID_EVENT = "invalid_event"  # a JSON object that is not an event of the contract
    TOO_LONG = "too_long"
    TOO_MANY_LINES = "too_many_lines"
    TRUNCATED = "truncated"  # the last line stops in the middle
    OUT_OF_ORDER = "out_of_order"
    DUPLICATE = "duplicate"
    MISSING_STEP = "missing_step"
    TIME_REVERSED = "time_reversed"
    NO_HEADER = "no_header"
    NO_FOOTER = "no_footer"
    NO_END = "no_end"
    LINE_COUNT = "line_count"
    WRONG_SESSION = "wrong_session"
    UNKNOWN_SENSOR = "unknown_sensor"


#: Nothing of the runner's own output is lost or doubtful with these.
HARMLESS = frozenset({DefectKind.GARBAGE, DefectKind.UNKNOWN_SENSOR})


@dataclass(frozen=True)
class Defect:
    """One thing that is wrong; `line` counts from 1, 0 for the output as a whole."""

    kind: DefectKind
    line: int
    detail: str

    @property
    def fatal(self) -> bool:
        """Whether the session's numbers can no longer be trusted."""
        return self.kind not in HARMLESS

    def __str__(self) -> str:
        where = f" in line {self.line}" if self.line else ""
        return f"{self.kind.value.replace('_', ' ')}{where}: {self.detail}"
