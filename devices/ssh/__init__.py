"""Devices over SSH: strict about who answers, and about what a silent peer means."""

from devices.ssh.link import ssh_transport

__all__ = ["ssh_transport"]
