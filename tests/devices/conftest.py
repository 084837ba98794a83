"""Real processes and folders, and copies of /proc and /sys with known content."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import pytest

from devices.deployment.deploy import DeployFile
from devices.sensors.reading import Tree
from devices.transports.local.transport import LocalTransport
from tests.support.devices.loopback_daemons import daemon, link_transport, mistreated
from tests.support.devices.made_files import MakeFile, MakeTree
from tests.support.devices.transport_kinds import adbd, make_transport, sshd

__all__ = ["adbd", "daemon", "link_transport", "make_transport", "mistreated", "sshd"]


@pytest.fixture
def transport() -> LocalTransport:
    return LocalTransport(grace_s=0.5)


@pytest.fixture
def make_tree(tmp_path: Path, transport: LocalTransport) -> MakeTree:
    """Writes files below their own root; later calls add to it."""
    root = tmp_path / "root"
    root.mkdir()

    def make(files: Mapping[str, str]) -> Tree:
        for name, text in files.items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return Tree(transport, str(root))

    return make


@pytest.fixture
def make_file(tmp_path: Path) -> MakeFile:
    """A file on the host to deploy."""
    folder = tmp_path / "host"
    folder.mkdir()

    def make(name: str = "program.pte", data: bytes = b"weights" * 1000, *, executable: bool = False) -> DeployFile:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return DeployFile(path, name, hashlib.sha256(data).hexdigest(), len(data), executable)

    return make
