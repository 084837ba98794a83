"""Where something was measured: the lab whose name stands before that of an imported device."""

from __future__ import annotations

from suite.exchange.stored import ORIGIN_MARK

#: The lab's name in the environment of an imported run.
IMPORTED_FROM = "imported_from"


def lab_of(device: str) -> str:
    """The lab that a device's numbers were imported from, empty for a device of this one."""
    lab, mark, _ = device.partition(ORIGIN_MARK)
    return lab if mark else ""


def marked(device: str) -> dict[str, str]:
    """What the document of an imported device or measurement has besides; nothing for one of this lab."""
    lab = lab_of(device)
    return {"origin": lab} if lab else {}
