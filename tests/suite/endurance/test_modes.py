"""A comparison of power modes sets each for its run alone, goes on after an interruption, and leaves nothing behind."""

from __future__ import annotations

import functools
from pathlib import Path
from types import SimpleNamespace

import pytest

import suite.endurance.modes as modes
from devices.access.connect import connect
from devices.errors import DeviceLost
from devices.inventory.entry import DeviceEntry
from devices.inventory.inventory_file import Inventory
from devices.inventory.power_modes import PowerMode
from foundation.errors import UserError
from suite.display import Display
from suite.endurance.modes import ModesPlan, core_sets, power_mode, read_modes, take_modes
from suite.home import Home
from suite.planning.plan import Plan
from tests.support.devices.power_board import BEFORE, governors_of, make_board, mode_of

MODES = {
    "low": PowerMode(nvpmodel=1),
    "slow": PowerMode(governor="powersave"),
    "small": PowerMode(cpus=(1,)),
}


@pytest.fixture
def board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A board as which this machine is seen."""
    root = make_board(tmp_path / "board")
    monkeypatch.setattr(modes, "connect", functools.partial(connect, root=str(root)))
    return root


@pytest.fixture
def entry(tmp_path: Path) -> DeviceEntry:
    return DeviceEntry(name="board", kind="linux", transport="local", workdir=str(tmp_path / "work"), power_modes=MODES)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, DeviceLost])
def test_what_was_set_before_is_restored_whatever_happens(board, entry, home, error):
    mode = PowerMode(nvpmodel=2, governor="powersave")
    with pytest.raises(error), power_mode(entry, "low", mode, home, pytest.fail):
        assert (mode_of(board), governors_of(board)) == (2, ["powersave"] * 2)
        raise error
    assert (mode_of(board), governors_of(board)) == (0, BEFORE)


def test_a_mode_that_can_not_be_restored_now_is_noted(board, entry, home):
    notes = []
    with power_mode(entry, "low", PowerMode(nvpmodel=2), home, notes.append):
        (board / "usr/sbin/nvpmodel").write_text("#!/bin/sh\nexit 1\n")
    (note,) = notes
    assert "board may still be in power mode low" in note


def test_cores_of_a_mode_are_the_entrys_with_a_thread_each(board, entry, home):
    with power_mode(entry, "small", PowerMode(cpus=(1, 2)), home, pytest.fail) as pinned:
        assert (pinned.cpus, pinned.threads) == ((1, 2), 2)


@pytest.mark.parametrize(("cores", "sets"), [
    ((0,), {"1 core": (0,)}),
    ((0, 1), {"1 core": (0,), "2 cores": (0, 1)}),
    ((2, 3, 4, 5, 6, 7), {"1 core": (2,), "2 cores": (2, 3), "4 cores": (2, 3, 4, 5), "6 cores": (2, 3, 4, 5, 6, 7)}),
])  # fmt: skip
def test_without_named_modes_there_are_sets_of_cores(cores, sets):
    assert {name: mode.cpus for name, mode in core_sets(cores).items()} == sets


class Lab:
    """Stands in the place of runs, and notes how the board was set and pinned in each."""

    def __init__(self, board, entry, home):
        self.board, self.home, self.seen, self.resumed, self.broken = board, home, [], [], ""
        self.inventory = Inventory(Path("inventory.yaml"), {"board": entry}, {})

    def begin(self, plan, inventory, home, display, command, *, label, begun):
        run_id = f"run-{len(self.seen)}"
        begun(run_id)
        self.look(inventory)
        if self.broken in label:
            raise KeyboardInterrupt
        return SimpleNamespace(complete=True)

    def resume(self, inventory, home, display, *, run_id):
        self.resumed.append(run_id)
        self.look(inventory)
        return SimpleNamespace(complete=True)

    def look(self, inventory):
        self.seen.append((mode_of(self.board), governors_of(self.board)[0], inventory.devices["board"].cpus))

    def take(self, rounds=1):
        plan = ModesPlan(Plan(("board",), model="tiny", quants=("fp32",), sessions=1), rounds)
        return take_modes(plan, self.inventory, self.home, Display(), ("suite",), "comparison")


@pytest.fixture
def lab(board, entry, home, monkeypatch):
    made = Lab(board, entry, home)
    made.broken = "no mode"
    monkeypatch.setattr(modes.orchestrate, "begin", made.begin)
    monkeypatch.setattr(modes.orchestrate, "resume", made.resume)
    return made


LOW, SLOW, SMALL = (1, "schedutil", None), (0, "powersave", None), (0, "schedutil", (1,))


def test_modes_take_turns_and_each_is_set_for_its_run_alone(lab):
    taken = lab.take(rounds=2)
    assert lab.seen == [LOW, SLOW, SMALL, SMALL, SLOW, LOW]
    assert (mode_of(lab.board), governors_of(lab.board)) == (0, BEFORE)
    assert taken.refused == {}
    assert read_modes("comparison", lab.home) == taken
    assert taken.named
    assert taken.modes == {"low": "nvpmodel 1", "slow": "governor powersave", "small": "cores 1"}


def test_an_interrupted_comparison_goes_on_where_it_was(lab):
    lab.broken = "slow, round 1"
    with pytest.raises(KeyboardInterrupt):
        lab.take(rounds=2)
    assert governors_of(lab.board) == BEFORE
    lab.broken = "no mode"
    taken = lab.take(rounds=2)
    assert lab.seen == [LOW, SLOW, SLOW, SMALL, SMALL, SLOW, LOW]
    assert lab.resumed == ["run-1"]
    assert all(run.finished for run in taken.runs)
    assert len(taken.runs) == 6


def test_a_mode_that_can_not_be_set_costs_no_other(lab, entry):
    odd = {"restart": PowerMode(nvpmodel=3), **entry.power_modes}
    lab.inventory = Inventory(Path("inventory.yaml"), {"board": entry.model_copy(update={"power_modes": odd})}, {})
    taken = lab.take()
    assert lab.seen == [LOW, SLOW, SMALL]
    assert list(taken.refused) == ["restart"]
    assert "needs a restart" in taken.refused["restart"]


@pytest.mark.parametrize("text", ["", "[]", '{"schema": 2}', '{"schema": 1, "device": 3}', "[" * 100_000])
def test_a_damaged_comparison_is_named(home, text):
    (home.long_session_folder("comparison") / "power_modes.json").write_text(text)
    with pytest.raises(UserError, match=r"power_modes.json can't be read"):
        read_modes("comparison", home)
