"""Measures the same steps in each power mode of a device, in rounds of runs with one session (A B C, C B A, ...).

A mode is set only for its run. The previous state is restored after each run, also after an error or Ctrl-C.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Annotated

from pydantic import Field, TypeAdapter

from devices.access.connect import connect
from devices.access.power_modes import restore_power_mode, set_power_mode
from devices.checks.facts import parse_cpu_list, usable_cpus
from devices.errors import DeviceError
from devices.inventory.entry import DeviceEntry
from devices.inventory.inventory_file import Inventory
from devices.inventory.power_modes import PowerMode
from foundation.errors import UserError
from foundation.unavailable import Json
from suite.display import Display
from suite.errors import StoreError, SuiteError
from suite.home import Home
from suite.kept import RESUME, keep_document, read_document
from suite.measuring import orchestrate
from suite.planning.plan import Plan, RunPlan, interleaved

_DOCUMENT = "power_modes.json"


@dataclass(frozen=True)
class ModeRun:
    """The run of a mode in a round."""

    mode: str
    round: Annotated[int, Field(ge=0)]
    run_id: str
    finished: bool = False


@dataclass(frozen=True)
class ModesTaken:
    """The results so far, and the modes by name, with what each sets.

    `named`: the inventory names the modes; otherwise they are sets of the device's cores. `refused`: why a mode was not
    measured, or not in every round.
    """

    device: str
    named: bool
    modes: Mapping[str, str]
    runs: tuple[ModeRun, ...] = ()
    refused: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class ModesPlan:
    """A comparison's plan: `plan`, with one setting, session and device, is carried out `rounds` times in each mode."""

    plan: Plan
    rounds: int


def take_modes(
    wanted: ModesPlan, inventory: Inventory, home: Home, display: Display, command: Sequence[str], comparison_id: str
) -> ModesTaken:
    """Measures what is missing from a comparison, and saves it in the home under its id after each run.

    A mode that can't be set is left out with its reason. Raises DeviceError if the device can't be used at all, and
    StoreError.
    """
    (device,) = wanted.plan.devices
    entry = inventory.devices[device]
    modes = _modes_of(entry, home, display)
    course = _Course(wanted, inventory, home, display, command, comparison_id, modes)
    for turn in range(wanted.rounds):
        for place in interleaved(len(modes), turn):
            course.take(list(modes)[place], turn)
    return course.taken


def _modes_of(entry: DeviceEntry, home: Home, display: Display) -> dict[str, PowerMode]:
    """Returns the inventory's modes, or else sets of cores. Restores what an earlier comparison left set."""
    with connect(entry, home.locks) as device:
        restored = restore_power_mode(device)
        if restored is not None:
            display.note(
                f"{entry.name}: restored {restored}, which an interrupted comparison of power modes had changed"
            )
        if entry.power_modes:
            return dict(entry.power_modes)
        cores = device.entry.cpus or usable_cpus(device.tree) or (0,)
    return core_sets(cores)


def core_sets(cores: Sequence[int]) -> dict[str, PowerMode]:
    """Returns modes with one core, two, four and so on, up to all of `cores`."""
    counts: list[int] = []
    while not counts or counts[-1] < len(cores):
        counts.append(min(2 * counts[-1] if counts else 1, len(cores)))
    return {f"{count} core{'s' if count > 1 else ''}": PowerMode(cpus=tuple(cores[:count])) for count in counts}


class _Course:
    """A comparison in progress. Its results are on disk before it continues."""

    def __init__(
        self,
        wanted: ModesPlan,
        inventory: Inventory,
        home: Home,
        display: Display,
        command: Sequence[str],
        comparison_id: str,
        modes: Mapping[str, PowerMode],
    ) -> None:
        self._wanted, self._inventory, self._home, self._display = wanted, inventory, home, display
        self._command, self._modes = tuple(command), modes
        self._path = home.long_session_folder(comparison_id) / _DOCUMENT
        (device,) = wanted.plan.devices
        self._entry = inventory.devices[device]
        sets = {name: str(mode) for name, mode in modes.items()}
        found = read_modes(comparison_id, home) if self._path.is_file() else None
        earlier = (found.runs, dict(found.refused)) if found else ((), {})
        self.taken = ModesTaken(device, bool(self._entry.power_modes), sets, *earlier)

    def take(self, mode: str, turn: int) -> None:
        """Takes the run of a mode in a round unless it exists. What can't be measured gets a reason."""
        run = next((one for one in self.taken.runs if (one.mode, one.round) == (mode, turn)), None)
        if mode in self.taken.refused or (run is not None and run.finished):
            return
        self._display.note(f"{self._entry.name}: power mode {mode}, round {turn + 1} of {self._wanted.rounds}")
        try:
            with power_mode(self._entry, mode, self._modes[mode], self._home, self._display.note) as entry:
                complete = self._measure(entry, mode, turn, run)
        except StoreError:
            raise
        except (SuiteError, DeviceError, UserError) as error:
            self._refuse(mode, str(error))
            return
        if not complete:
            self._refuse(mode, f"round {turn + 1} has no result; its run has the reason")

    def _measure(self, entry: DeviceEntry, mode: str, turn: int, run: ModeRun | None) -> bool:
        inventory = replace(self._inventory, devices={**self._inventory.devices, entry.name: entry})
        if run is None:
            label = f"power mode {mode}, round {turn + 1}"
            outcome = orchestrate.begin(
                RunPlan((self._wanted.plan,)), inventory, self._home, self._display, self._command, label=label,
                begun=lambda run_id: self._note(ModeRun(mode, turn, run_id)),
            )  # fmt: skip
        else:
            outcome = orchestrate.resume(inventory, self._home, self._display, run_id=run.run_id)
        own = next(one for one in self.taken.runs if (one.mode, one.round) == (mode, turn))
        self._note(replace(own, finished=True))
        return outcome.complete

    def _note(self, run: ModeRun) -> None:
        others = tuple(one for one in self.taken.runs if (one.mode, one.round) != (run.mode, run.round))
        self._keep(replace(self.taken, runs=(*others, run)))

    def _refuse(self, mode: str, reason: str) -> None:
        self._display.note(f"{self._entry.name}: power mode {mode} is left out: {reason}")
        self._keep(replace(self.taken, refused={**self.taken.refused, mode: reason}))

    def _keep(self, taken: ModesTaken) -> None:
        self.taken = taken
        keep_document(self._path, {"schema": 1, **asdict(taken)}, "the comparison", RESUME)


@contextlib.contextmanager
def power_mode(
    entry: DeviceEntry, name: str, mode: PowerMode, home: Home, note: Callable[[str], None]
) -> Iterator[DeviceEntry]:
    """Sets a mode for the block, and yields the entry to measure with, which has the mode's cores and threads.

    Raises PowerModeError if the mode can't be set. What can't be restored is noted, and the next comparison restores
    it.
    """
    pinned = {} if mode.cpus is None else {"cpus": mode.cpus, "threads": len(mode.cpus)}
    if not mode.changes_device:
        yield entry.model_copy(update=pinned)
        return
    try:
        with connect(entry, home.locks) as device:
            set_power_mode(device, name, mode)
            online = parse_cpu_list(device.facts().online_cpus or "")
        if not pinned and entry.threads is None and online:  # a mode may switch cores off
            pinned = {"threads": len(online)}
        yield entry.model_copy(update=pinned)
    finally:
        try:
            with connect(entry, home.locks) as device:
                restore_power_mode(device)
        except DeviceError as error:
            note(
                f"{entry.name} may still be in power mode {name}, as its previous state can't be restored now "
                f"({error}); `suite experiment power-modes` restores it before anything else"
            )


def read_modes(comparison_id: str, home: Home) -> ModesTaken:
    """Returns the results of a comparison. Raises UserError if they are missing or damaged."""
    path = home.long_session_folder(comparison_id) / _DOCUMENT
    return read_document(path, _modes_taken, "The comparison of power modes in", "carry out the experiment again")


def _modes_taken(document: Json) -> ModesTaken:
    """Parses the document of a comparison. Raises ValueError if it is another one."""
    if not isinstance(document, Mapping) or document.get("schema") != 1:
        raise ValueError("its schema is unknown")
    return TypeAdapter(ModesTaken).validate_python({name: each for name, each in document.items() if name != "schema"})
