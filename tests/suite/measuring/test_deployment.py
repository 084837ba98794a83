"""Programs that share a data file: it is asked room for once, pushed once, kept with them, and pushed again if lost."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from devices.access.connect import Device, connect
from devices.deployment.cache import cached
from devices.deployment.deploy import Deployment
from devices.errors import DeployError
from devices.inventory.entry import DeviceEntry
from suite.measuring.deployment import CacheRoom, deploy_program, needs
from workloads.export.artifact import Artifact

WEIGHTS = b"weights" * 100_000


@dataclass(frozen=True)
class Memory:
    memory_bytes: int = 1


@dataclass(frozen=True)
class PreparedProgram:
    """What `needs` looks at."""

    artifact: Artifact
    estimate: Memory = Memory()


@pytest.fixture
def device(tmp_path: Path) -> Iterator[Device]:
    entry = DeviceEntry(
        name="local", kind="local", transport="local", workdir=str(tmp_path / "device"), cache_limit_mb=1
    )
    with connect(entry, tmp_path / "locks") as connected:
        yield connected


@pytest.fixture
def programs(tmp_path: Path) -> list[Artifact]:
    """Two programs of 1 kB whose weights are the same 0.7 MB."""
    sha256 = hashlib.sha256(WEIGHTS).hexdigest()
    shared = tmp_path / "artifacts" / "weights" / sha256[:32]
    shared.mkdir(parents=True)
    (shared / "weights.ptd").write_bytes(WEIGHTS)
    entry = {"name": "weights.ptd", "sha256": sha256, "bytes": len(WEIGHTS)}
    found = []
    for name, content in (("a" * 32, b"a" * 1000), ("b" * 32, b"b" * 1000)):
        folder = tmp_path / "artifacts" / name
        folder.mkdir()
        (folder / "program.pte").write_bytes(content)
        files = [{"name": "program.pte", "sha256": hashlib.sha256(content).hexdigest(), "bytes": 1000}]
        document = {"schema": 2, "hash": name, "files": files, "data": [entry], "program_bytes": 1000}
        found.append(Artifact(folder, document))
    return found


def pushed(done: Sequence[Deployment]) -> list[str]:
    return [name for deployment in done for name in deployment.pushed]


def test_shared_weights_are_pushed_once(device: Device, programs: list[Artifact]) -> None:
    first, second = (deploy_program(device, program) for program in programs)
    assert pushed(first) == ["weights.ptd", "program.pte"]
    assert pushed(second) == ["program.pte"]
    assert sum(one.pushed_bytes for one in (*first, *second)) == len(WEIGHTS) + 2000
    # As the job names them, from jobs/ID/.
    job = Path(device.places.job("one"))
    assert (job / f"../../weights/{programs[0].data[0].hash}/weights.ptd").resolve().read_bytes() == WEIGHTS


def test_space_is_needed_for_shared_weights_once_and_only_if_they_are_not_there(
    device: Device, programs: list[Artifact]
) -> None:
    prepared = [PreparedProgram(program) for program in programs]
    assert needs(device, prepared).disk_bytes == len(WEIGHTS) + 2000  # type: ignore[arg-type]
    deploy_program(device, programs[0])
    assert needs(device, prepared).disk_bytes == 1000  # type: ignore[arg-type]
    assert needs(device, prepared, 500).disk_bytes == 1500  # type: ignore[arg-type]


@pytest.mark.parametrize("content", [None, b"half", bytes(len(WEIGHTS))])
def test_weights_that_were_lost_or_damaged_on_the_device_are_pushed_again(
    device: Device, programs: list[Artifact], content: bytes | None
) -> None:
    deploy_program(device, programs[0])
    there = Path(device.places.weights(programs[0].data[0].hash)) / "weights.ptd"
    if content is None:
        there.unlink()
    else:
        there.write_bytes(content)
    assert pushed(deploy_program(device, programs[0])) == ["weights.ptd"]
    assert there.read_bytes() == WEIGHTS


def test_weights_damaged_on_the_host_are_named_with_the_next_action(device: Device, programs: list[Artifact]) -> None:
    programs[0].data[0].path.write_bytes(bytes(len(WEIGHTS)))
    with pytest.raises(DeployError, match=r"'weights\.ptd' arrived with .* different content .* remove .* rebuilt"):
        deploy_program(device, programs[0])


def test_weights_of_a_program_in_use_are_not_evicted(device: Device, programs: list[Artifact]) -> None:
    notes: list[str] = []
    room = CacheRoom.of(device, [], programs, notes.append)
    for program in programs:
        deploy_program(device, program, room)
    room.mark_used()
    assert notes == []
    found = cached(device.transport, device.places)
    assert {item.name: item.size_bytes for item in found} == {
        f"artifacts/{'a' * 32}": 1000,
        f"artifacts/{'b' * 32}": 1000,
        f"weights/{programs[0].data[0].hash}": len(WEIGHTS),
    }
    assert all(item.used is not None for item in found)
