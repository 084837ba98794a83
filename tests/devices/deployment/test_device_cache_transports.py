"""The cache of a device over every transport."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from devices.deployment.cache import Places, cached, make_room, mark_used
from devices.deployment.deploy import deploy
from devices.transports.transport import Transport
from tests.support.devices.made_files import MakeFile
from tests.support.devices.transport_kinds import MakeTransport

DAY = datetime(2026, 11, 1, tzinfo=UTC)


@pytest.fixture
def transport(make_transport: MakeTransport) -> Transport:
    """One of each kind."""
    return make_transport(0.5)


def test_the_cache_is_read_marked_and_cleared(transport: Transport, tmp_path: Path, make_file: MakeFile) -> None:
    places = Places(str(tmp_path / "it's a device"))
    assert cached(transport, places) == []
    for name in ("artifacts/a", "runner/b"):
        deploy(transport, [make_file("file", bytes(600_000))], f"{places.workdir}/{name}")
        mark_used(transport, places, [name], DAY)
    gone = make_room(transport, places, 1, "artifacts/c", 300_000, {"runner/b"})
    assert [(item.name, item.size_bytes, item.used) for item in gone] == [("artifacts/a", 600_000, DAY)]
    assert [item.name for item in cached(transport, places)] == ["runner/b"]
