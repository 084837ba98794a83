"""Power modes are set, and the previous state is restored, whatever happens in between."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import ValidationError

from devices.access.connect import Device, connect
from devices.access.power_modes import PowerModeError, restore_power_mode, set_power_mode
from devices.inventory.entry import DeviceEntry
from devices.inventory.power_modes import PowerMode
from tests.support.devices.power_board import BEFORE, governors_of, make_board, mode_of


@pytest.fixture
def board(tmp_path: Path) -> Path:
    return make_board(tmp_path / "board")


@pytest.fixture
def device(board: Path, tmp_path: Path) -> Iterator[Device]:
    entry = DeviceEntry(name="board", kind="linux", transport="local", workdir=str(tmp_path / "work"))
    with connect(entry, tmp_path / "locks", root=str(board)) as found:
        yield found


def test_a_mode_is_set_and_all_of_it_restored(device: Device, board: Path) -> None:
    set_power_mode(device, "low", PowerMode(nvpmodel=2, governor="powersave"))
    assert (mode_of(board), governors_of(board)) == (2, ["powersave", "powersave"])
    assert restore_power_mode(device) == "nvpmodel 0, governor ondemand, governor schedutil"
    assert (mode_of(board), governors_of(board)) == (0, BEFORE)
    assert restore_power_mode(device) is None


def test_what_a_killed_process_left_is_restored_by_the_next(board: Path, tmp_path: Path) -> None:
    entry = DeviceEntry(name="board", kind="linux", transport="local", workdir=str(tmp_path / "work"))
    with connect(entry, tmp_path / "locks", root=str(board)) as first:
        set_power_mode(first, "low", PowerMode(governor="powersave"))
    with connect(entry, tmp_path / "locks", root=str(board)) as second:
        set_power_mode(second, "fast", PowerMode(nvpmodel=1))
        assert (mode_of(board), governors_of(board)) == (1, BEFORE)
        restore_power_mode(second)
    assert (mode_of(board), governors_of(board)) == (0, BEFORE)


def test_a_governor_that_is_gone_keeps_no_other_from_being_restored(device: Device, board: Path) -> None:
    set_power_mode(device, "low", PowerMode(governor="powersave"))
    (board / "sys/devices/system/cpu/cpufreq/policy0/scaling_available_governors").write_text("powersave\n")
    with pytest.raises(PowerModeError, match="policy0 of 'board' has powersave"):
        restore_power_mode(device)
    assert governors_of(board) == ["powersave", BEFORE[1]]


def test_cores_alone_change_nothing_on_the_device(device: Device, board: Path) -> None:
    set_power_mode(device, "small", PowerMode(cpus=(0,)))
    assert (mode_of(board), governors_of(board)) == (0, BEFORE)
    assert restore_power_mode(device) is None


@pytest.mark.parametrize(("mode", "complaint"), [
    (PowerMode(nvpmodel=3), r"needs a restart of 'board'.*`sudo nvpmodel -m 3`"),
    (PowerMode(nvpmodel=9), r"was not accepted: .*invalid mode.*nvpmodel.conf"),
    (PowerMode(governor="userspace"), r"policy0 of 'board' has ondemand schedutil performance powersave"),
    (PowerMode(nvpmodel=2, governor="userspace"), r"policy0 of 'board' has"),
])  # fmt: skip
def test_a_mode_that_can_not_be_set_leaves_everything_as_it_was(device, board, mode, complaint):
    with pytest.raises(PowerModeError, match=complaint):
        set_power_mode(device, "odd", mode)
    assert (mode_of(board), governors_of(board)) == (0, BEFORE)
    assert restore_power_mode(device) is None


def test_without_root_a_mode_is_refused(
    device: Device, board: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "id").write_text("#!/bin/sh\necho 1000\n")
    (programs / "id").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")
    with pytest.raises(PowerModeError, match=r"can only be set by root on 'board'.*sudo.*cores"):
        set_power_mode(device, "low", PowerMode(governor="powersave"))
    assert governors_of(board) == BEFORE


def test_a_mode_that_could_not_be_restored_is_not_set(device: Device, board: Path) -> None:
    (board / "usr/sbin/mode").write_text("unknown\n")
    with pytest.raises(PowerModeError, match="could not be restored"):
        set_power_mode(device, "low", PowerMode(nvpmodel=2))


def test_a_machine_without_cpufreq_says_so(tmp_path: Path) -> None:
    entry = DeviceEntry(name="guest", kind="linux", transport="local", workdir=str(tmp_path / "work"))
    (tmp_path / "empty").mkdir()
    with (
        connect(entry, tmp_path / "locks", root=str(tmp_path / "empty")) as device,
        pytest.raises(PowerModeError, match=r"no cpufreq policy.*virtual machine"),
    ):
        set_power_mode(device, "low", PowerMode(governor="powersave"))


@pytest.mark.parametrize("note", ["", "{}x", '{"governors": {"../../etc": "x"}}', '{"nvpmodel": "0"}', '{"more": 1}'])
def test_a_damaged_note_is_named_and_nothing_is_set(device: Device, board: Path, note: str) -> None:
    device.transport.mkdir(device.places.workdir)
    device.transport.write(f"{device.places.workdir}/power_mode.json", note.encode())
    with pytest.raises(PowerModeError, match=r"power_mode.json: set the mode by hand"):
        set_power_mode(device, "low", PowerMode(governor="powersave"))
    assert governors_of(board) == BEFORE


@pytest.mark.parametrize("values", [
    {}, {"governor": "Power Save"}, {"governor": "a; reboot"}, {"nvpmodel": -1}, {"nvpmodel": "1"}, {"cpus": []},
    {"cpus": [1, 1]}, {"cpus": "3-1"}, {"other": 1},
])  # fmt: skip
def test_a_wrong_mode_is_refused(values):
    with pytest.raises(ValidationError):
        DeviceEntry(name="b", kind="linux", transport="local", workdir="/w", power_modes={"low": values})


def test_the_inventory_names_modes():
    modes = {"15W": {"nvpmodel": 2}, "small": {"cpus": "0-3"}, "slow": {"governor": "powersave", "cpus": [0]}}
    entry = DeviceEntry(name="b", kind="jetson", transport="local", workdir="/w", power_modes=modes)
    assert [str(mode) for mode in entry.power_modes.values()] == [
        "nvpmodel 2", "cores 0,1,2,3", "governor powersave, cores 0",
    ]  # fmt: skip
    with pytest.raises(ValidationError, match="a power mode's name is"):
        DeviceEntry(name="b", kind="linux", transport="local", workdir="/w", power_modes={"a b": {"cpus": [0]}})
