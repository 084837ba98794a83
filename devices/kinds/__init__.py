"""Families of devices: what each can read and how. A new kind is a class here and a line in `KINDS`."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from devices.kinds.kind import Kind
from devices.kinds.linux import LinuxKind

KINDS: Mapping[str, type[Kind]] = MappingProxyType({"local": LinuxKind, "linux": LinuxKind})

__all__ = ["KINDS", "Kind", "LinuxKind"]
