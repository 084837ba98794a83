"""The device tree that firmware hands to the kernel of a board: a text of it, from wherever the kernel shows it.

/proc/device-tree is a link to /sys/firmware/devicetree/base (Documentation/ABI/testing/sysfs-firmware-ofw), and isn't
there where /proc is not the kernel's own, as in some containers; some systems keep it from the user who logs in.
"""

from __future__ import annotations

from devices.sensors.tree import Texts

_FOLDERS = ("proc/device-tree", "sys/firmware/devicetree/base")


def device_tree_paths(name: str) -> tuple[str, ...]:
    """Where the property `name` of the root node (`model`, `compatible`) may be, below a device's root."""
    return tuple(f"{folder}/{name}" for folder in _FOLDERS)


def device_tree_text(texts: Texts, name: str) -> str | None:
    """The property's text out of what was read of `device_tree_paths`; None if it is nowhere."""
    return next((text for path in device_tree_paths(name) if (text := texts.text(path))), None)
