"""One colour per quantization setting and one symbol per device, everywhere.

The colours themselves (a light and a dark set) are the variables ``--setting-N`` of static/site.css, told apart under
the three colour blindnesses too; a figure names the variable and its script looks the colour up, so that
themes can change.
"""

import zlib
from collections.abc import Iterable

# Order is the slot: adding a setting must not recolour the others.
_SLOTS = {"fp32": 0, "fp16": 1, "int8": 2, "nf4": 3}
_FREE_SLOTS = (4, 5, 6, 7)
_SYMBOLS = ("circle", "square", "diamond", "triangle-up", "x", "star", "cross", "hexagon", "triangle-down", "pentagon")
_ORDER = {name: index for index, name in enumerate(_SLOTS)}


def slot(setting: str) -> int:
    """The colour variable of a setting. One we don't know gets the same free slot on every page."""
    known = _SLOTS.get(setting)
    if known is not None:
        return known
    return _FREE_SLOTS[zlib.crc32(setting.encode("utf-8", "surrogatepass")) % len(_FREE_SLOTS)]


def colour(setting: str) -> str:
    """The colour of a setting as figures name it."""
    return f"var(--setting-{slot(setting)})"


def symbols(devices: Iterable[str]) -> dict[str, str]:
    """A plotly marker symbol for each device; from the eleventh on the outlines of the first ones."""
    chosen = {}
    for index, device in enumerate(devices):
        suffix = "-open" if index // len(_SYMBOLS) % 2 else ""
        chosen[device] = _SYMBOLS[index % len(_SYMBOLS)] + suffix
    return chosen


def setting_order(setting: str) -> tuple[int, str]:
    """Sorts settings from the widest to the narrowest, unknown ones last by name."""
    return _ORDER.get(setting, len(_ORDER)), setting
