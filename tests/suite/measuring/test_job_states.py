"""States on a device: what a process left is there for the next one, and is sent where it is not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from devices.access.connect import Device, connect
from devices.inventory.entry import DeviceEntry
from suite.measuring.deployment import remove_old_jobs
from suite.measuring.job import _place_state, _take_state

STATE = b"state" * 1000


@pytest.fixture
def device(tmp_path: Path) -> Iterator[Device]:
    entry = DeviceEntry(name="local", kind="local", transport="local", workdir=str(tmp_path / "device"))
    with connect(entry, tmp_path / "locks") as connected:
        yield connected


@pytest.fixture
def pushed(device: Device, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that are sent to the device from now on."""
    sent: list[str] = []
    push = type(device.transport).push

    def record(transport: object, source: Path, *rest: object, **options: object) -> None:
        sent.append(source.name)
        push(transport, source, *rest, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(type(device.transport), "push", record)
    return sent


def states_there(device: Device) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in Path(device.places.job("states")).iterdir()}


def left_by_a_process(device: Device, destination: Path, content: bytes) -> None:
    folder = Path(device.places.job("training.step"))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "state.safetensors").write_bytes(content)
    destination.parent.mkdir(exist_ok=True)
    _take_state(device, str(folder), destination)


def test_what_a_process_left_is_not_sent_back(device: Device, pushed: list[str], tmp_path: Path) -> None:
    first, second = (tmp_path / "training" / name for name in ("step-1.safetensors", "step-2.safetensors"))
    left_by_a_process(device, first, STATE)
    _place_state(device, first)
    assert (first.read_bytes(), pushed) == (STATE, [])
    left_by_a_process(device, second, STATE[::-1])
    assert states_there(device) == {"training.step-2.safetensors": STATE[::-1]}  # the newest alone
    _place_state(device, first)  # a process is made again from the state before
    assert pushed == ["step-1.safetensors"]
    assert states_there(device)["training.step-1.safetensors"] == STATE


def test_states_of_other_trainings_and_connections_are_not_taken_for_it(
    device: Device, pushed: list[str], tmp_path: Path
) -> None:
    own, other = (tmp_path / name / "step-1.safetensors" for name in ("own", "other"))
    left_by_a_process(device, other, STATE[::-1])
    own.parent.mkdir()
    own.write_bytes(STATE)
    _place_state(device, own)
    assert states_there(device)["own.step-1.safetensors"] == STATE
    remove_old_jobs(device)  # as whoever connects does
    _place_state(device, own)
    assert pushed == ["step-1.safetensors"] * 2
    assert states_there(device) == {"own.step-1.safetensors": STATE}
