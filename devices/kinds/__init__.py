"""Families of devices: what each can read and how. A new kind is a class here and a line in `KINDS`."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from devices.kinds.android import AndroidKind
from devices.kinds.jetson import JetsonKind
from devices.kinds.kind import Kind
from devices.kinds.linux import LinuxKind
from devices.kinds.raspberrypi import RaspberryPiKind

KINDS: Mapping[str, type[Kind]] = MappingProxyType(
    {
        "local": LinuxKind,
        "linux": LinuxKind,
        "jetson": JetsonKind,
        "raspberrypi": RaspberryPiKind,
        "android": AndroidKind,
    }
)

__all__ = ["KINDS", "AndroidKind", "JetsonKind", "Kind", "LinuxKind", "RaspberryPiKind"]
