"""Devices over adb: phones on a cable or in the network, through the adb server of this host."""

from devices.adb.link import adb_transport

__all__ = ["adb_transport"]
