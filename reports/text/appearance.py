"""The look of outcomes, settings and devices: a glyph and a word, never colour alone.

One colour per quantization setting and one symbol per device, everywhere; and the badges of emulated devices and of
other labs.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from reports.text.escaping import shorten

# The number is the slot, so that adding a setting doesn't recolour the others.
_SLOTS = {
    "fp32": 0,
    "fp16": 1,
    "bf16": 5,
    "int8": 2,
    "int8-dynamic": 4,
    "8da4w": 6,
    "nf4": 3,
    "nf4-double": 7,
}
_UNKNOWN_SLOT = 8
_SYMBOLS = ("circle", "square", "diamond", "triangle-up", "x", "star", "cross", "hexagon", "triangle-down", "pentagon")
_ORDER = {name: index for index, name in enumerate(_SLOTS)}


def slot(setting: str) -> int:
    """Returns the colour slot of a setting; unknown ones, as other labs may have, share a grey."""
    return _SLOTS.get(setting, _UNKNOWN_SLOT)


def colour(setting: str) -> str:
    """Returns the colour of a setting as figures name it."""
    return f"var(--setting-{slot(setting)})"


def symbols(devices: Iterable[str]) -> dict[str, str]:
    """Returns a plotly marker symbol for each device, outlines from the eleventh on."""
    chosen = {}
    for index, device in enumerate(devices):
        suffix = "-open" if index // len(_SYMBOLS) % 2 else ""
        chosen[device] = _SYMBOLS[index % len(_SYMBOLS)] + suffix
    return chosen


def setting_order(setting: str) -> tuple[int, str]:
    """Sorts settings from the widest to the narrowest, unknown ones last by name."""
    return _ORDER.get(setting, len(_ORDER)), setting


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
        Status("regressed", "▼", "bad", 0, "worse than before: the code's change, measured in turn with the baseline"),
        Status("worse", "▼", "bad", 0, "worse by more than chance and than the least change that counts"),
        Status(
            "improved",
            "▲",
            "good",
            1,
            "better than before: the code's change, measured in turn with the baseline",
        ),
        Status("better", "▲", "good", 1, "better by more than chance and than the least change that counts"),
        Status("inconclusive", "?", "warn", 2, "unlike its history, but it is unclear whether the code is the cause"),
        Status("insufficient", "◌", "quiet", 4, "too few points or sessions to judge"),
        Status("accepted", "✓", "quiet", 3, "regressed, and somebody accepted the new level"),
        Status("missing", "◌", "quiet", 4, "only one of the two runs has it"),
        Status("unchanged", "=", "quiet", 6, "like its history, or cleared when it was measured again"),
        Status("same", "=", "quiet", 6, "no difference beyond chance and the least change that counts"),
        Status("not judged", "\u2013", "quiet", 5),
        Status("failed", "✗", "bad", 0, "ended without a result; the reason says where"),
        Status("lost", "✗", "bad", 0, "the device went away"),
        Status("invalid", "⚠", "bad", 1, "ran, but failed a check of its validity: never compared"),
        Status("partial", "◐", "warn", 2, "some of its sessions are missing"),
        Status("interrupted", "◐", "warn", 2, "stopped before its end; `suite run --resume` continues"),
        Status("throttled", "▾", "warn", 3, "the device slowed itself down during the session"),
        Status("unstable", "≈", "warn", 3, "sessions differ more than they should on this kind of device"),
        Status("warning", "⚠", "warn", 3),
        Status("warn", "⚠", "warn", 3),
        Status("unsupported", "⊘", "quiet", 4, "this device can't execute this setting"),
        Status("unavailable", "\u2013", "quiet", 4),
        Status("skipped", "\u2013", "quiet", 4),
        Status("running", "…", "quiet", 5, "still running, or killed before it could record its end"),
        Status("ok", "✓", "good", 6, "measured, and every check passed"),
        Status("passed", "✓", "good", 6),
        Status("finished", "✓", "good", 6),
        Status("completed", "✓", "good", 6),
        Status("complete", "✓", "good", 6),
    )
}


def status(word: str) -> Status:
    """Looks up an outcome; an unknown word gets a quiet tone."""
    return _KNOWN.get(word.lower(), Status(word or "unknown", "•", "quiet", 4))


def glossary(words: set[str]) -> list[Status]:
    """Returns the outcomes among ``words`` that have an explanation, worst first."""
    found = {status(word) for word in words}
    return sorted((item for item in found if item.meaning), key=lambda item: (item.order, item.word))


EMULATED = "emulated"


def badges(emulated: bool, origin: str = "") -> tuple[str, ...]:
    """Returns the texts of the badges; ``origin`` is the lab that the numbers came from, empty for this one."""
    return (*((EMULATED,) if emulated else ()), *((f"imported from {shorten(origin, 32)}",) if origin else ()))
