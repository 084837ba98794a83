"""Outcomes as people see them: a glyph and a word, never colour alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

_Row = TypeVar("_Row")


@dataclass(frozen=True)
class Status:
    """``tone`` picks the colour: good, warn, bad or quiet. ``order`` sorts the worst first."""

    word: str
    glyph: str
    tone: str
    order: int
    meaning: str = ""


_KNOWN = {
    status.word: status
    for status in (
        Status("regressed", "▼", "bad", 0, "worse than before: measured in turn with the baseline, and it is the code"),
        Status("worse", "▼", "bad", 0, "worse beyond chance and beyond the least change that counts"),
        Status(
            "improved", "▲", "good", 1, "better than before: measured in turn with the baseline, and it is the code"
        ),
        Status("better", "▲", "good", 1, "better beyond chance and beyond the least change that counts"),
        Status("inconclusive", "?", "warn", 2, "unlike its history, and it could not be told whether it is the code"),
        Status("insufficient", "◌", "quiet", 4, "too few points or sessions to judge"),
        Status("missing", "◌", "quiet", 4, "only one of the two runs has it"),
        Status("unchanged", "=", "quiet", 6, "like its history, or cleared when it was measured again"),
        Status("same", "=", "quiet", 6, "no difference beyond chance and the least change that counts"),
        Status("not judged", "\u2013", "quiet", 5),
        Status("failed", "✗", "bad", 0, "ended without a result; the reason says where"),
        Status("lost", "✗", "bad", 0, "the device went away"),
        Status("invalid", "⚠", "bad", 1, "ran, but a check of its validity did not hold: never compared"),
        Status("partial", "◐", "warn", 2, "some of its sessions are missing"),
        Status("interrupted", "◐", "warn", 2, "stopped before its end; `suite run --resume` goes on"),
        Status("throttled", "▾", "warn", 3, "the device slowed itself down during the session"),
        Status("unstable", "≈", "warn", 3, "sessions differ more than this kind of device should"),
        Status("warning", "⚠", "warn", 3),
        Status("warn", "⚠", "warn", 3),
        Status("unsupported", "⊘", "quiet", 4, "this device can't execute this setting"),
        Status("unavailable", "\u2013", "quiet", 4),
        Status("skipped", "\u2013", "quiet", 4),
        Status("running", "…", "quiet", 5, "still going on, or killed before it could say so"),
        Status("ok", "✓", "good", 6, "measured, and every check held"),
        Status("passed", "✓", "good", 6),
        Status("finished", "✓", "good", 6),
        Status("completed", "✓", "good", 6),
        Status("complete", "✓", "good", 6),
    )
}


def status(word: str) -> Status:
    """What is known of an outcome; an unknown word is shown as it is, in a quiet tone."""
    return _KNOWN.get(word.lower(), Status(word or "unknown", "•", "quiet", 4))


def worst_kept(rows: Sequence[_Row], words: Sequence[str], most: int) -> list[_Row]:
    """The rows in their order, at most ``most`` of them: when there are more, those with the worst outcomes stay."""
    worst_first = sorted(range(len(rows)), key=lambda place: status(words[place]).order)
    return [rows[place] for place in sorted(worst_first[:most])]


def glossary(words: set[str]) -> list[Status]:
    """The outcomes among ``words`` that have an explanation, the worst first."""
    found = {status(word) for word in words}
    return sorted((item for item in found if item.meaning), key=lambda item: (item.order, item.word))
