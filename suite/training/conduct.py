"""A training from its plan to its adapters: prepare on the host, train on the devices side by side, or go on later."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from devices.access.connect import Device, connect
from devices.checks.preflight import check_memory
from devices.errors import DeviceError, DeviceLost
from devices.inventory.entry import DeviceEntry
from devices.inventory.reading import Inventory
from foundation.errors import UserError
from suite.display import Display
from suite.errors import StoreError, SuiteError
from suite.home import Home, in_use
from suite.measuring.deployment import CacheRoom, deploy_program, deploy_runner, needs, remove_old_jobs
from suite.measuring.fleet import on_each_device
from suite.measuring.idle_device import Clock
from suite.measuring.orchestrate import claimed, environment
from suite.measuring.reaching import reach
from suite.measuring.reconnecting import Reconnecting
from suite.measuring.recording import hardware_of
from suite.measuring.run import Stopped, StopSign
from suite.planning.forecast import check
from suite.planning.plan import RunPlan, describe_workload
from suite.preparing.inputs import load_inputs
from suite.preparing.preparation import Preparation, Prepared, prepare
from suite.preparing.runners import Runners
from suite.store.identity import new_run_id, session_id
from suite.store.store import Store
from suite.store.trainings import Training, Trainings
from suite.training.checkpoints import Checkpoints
from suite.training.material import EVALUATED_ROWS, Material, read_material
from suite.training.plan import TrainingPlan
from suite.training.trainer import Course, Ground, train
from workloads.export.artifact import ArtifactCache


@dataclass(frozen=True)
class _Shared:
    """What all devices of a training share. `pairs`: each setting's programs, the one that trains and the one that
    evaluates.
    """

    group_id: str
    plan: TrainingPlan
    pairs: Sequence[tuple[Prepared, Prepared]]
    material: Material
    surroundings: Preparation
    runners: Runners
    home: Home
    store: Store
    display: Display
    command: Sequence[str]
    stop: StopSign = field(default_factory=StopSign)


def begin(
    plan: TrainingPlan, inventory: Inventory, home: Home, display: Display, command: Sequence[str]
) -> list[Training]:
    """Starts a training of each setting on each device and returns them when they have ended.

    Raises the packages' UserErrors, and StoreError.
    """
    with contextlib.closing(Store.open(home.store_path)) as store, in_use(home):
        return _conduct(plan, new_run_id(), inventory, home, store, display, command)


def resume(inventory: Inventory, home: Home, display: Display, command: Sequence[str]) -> list[Training]:
    """Goes on with the newest trainings that did not finish."""
    with contextlib.closing(Store.open(home.store_path)) as store, in_use(home):
        trainings = Trainings(store.database)
        group_id = trainings.open_group()
        plan = TrainingPlan.from_document(trainings.of_group(group_id)[0].plan)
        display.note(f"going on with training {group_id}")
        return _conduct(plan, group_id, inventory, home, store, display, command)


def _conduct(
    plan: TrainingPlan,
    group_id: str,
    inventory: Inventory,
    home: Home,
    store: Store,
    display: Display,
    command: Sequence[str],
) -> list[Training]:
    check(RunPlan((plan.plan,)), inventory)
    entries = [inventory.devices[name] for name in plan.plan.devices]
    with claimed(group_id, home):
        reach(entries, display)
        with display.waiting(f"loading {plan.plan.model}"):
            inputs = load_inputs(plan.plan, display.note)
            material = read_material(plan, inputs)
        runners = Runners(home.runner, display)
        runners.build_ahead(entries)
        with display.waiting(f"preparing {plan.plan.model}"):
            cache = ArtifactCache(home.artifacts)
            found = [
                prepare(part, inputs, cache, display.note, references=False)
                for part in (plan.plan, plan.evaluation(EVALUATED_ROWS))
            ]
        pairs = list(zip(found[0].prepared, found[1].prepared, strict=True))
        shared = _Shared(group_id, plan, pairs, material, found[0], runners, home, store, display, command)
        on_each_device(entries, shared.stop, lambda entry: _OnDevice(shared, entry).train_all())
        return Trainings(store.database).of_group(group_id)


class _OnDevice:
    """The trainings of one device, one setting after the other."""

    def __init__(self, shared: _Shared, entry: DeviceEntry) -> None:
        self.shared, self.entry = shared, entry
        self.clock = Clock(sleep=shared.stop.sleep)
        self.trainings = Trainings(shared.store.database)
        self._device_id: int | None = None
        self._ended: set[str] = set()

    def train_all(self) -> None:
        """Trains every setting; a DeviceError becomes the reason of what is left, not an exception."""
        reconnecting = Reconnecting(self.clock, self._note, lambda: self._device_id is not None)
        try:
            reconnecting.carry_out(lambda: self._connected(reconnecting))
        except DeviceError as error:
            self._fail_rest(str(error))
        except (Stopped, KeyboardInterrupt, StoreError):
            with contextlib.suppress(StoreError):
                for steps, _ in self._left():
                    self.trainings.finish(self._begin(steps), "interrupted", "it was interrupted: go on with --resume")
            raise

    def _connected(self, reconnecting: Reconnecting) -> None:
        self.shared.stop.check()
        with connect(self.entry, self.shared.home.locks) as device:
            facts = device.facts()
            self._device_id = self.shared.store.record_device(
                self.entry.name, self.entry.kind, self.entry.emulated, hardware_of(facts)
            )
            programs = [prepared for pair in self._left() for prepared in pair]
            failed = [found for found in device.preflight(needs(device, programs)) if found.status == "failed"]
            if failed:
                self._fail_rest(f"{failed[0].name}: {failed[0].detail}")
                return
            remove_old_jobs(device)
            runner = self.shared.runners.runner_of(self.entry, facts.machine, self._note)
            room = CacheRoom.of(device, [runner], [prepared.artifact for prepared in programs], self._note)
            with self.shared.display.bytes(f"{self.entry.name}: deploying") as on_progress:
                deploy_runner(device, runner, room, on_progress)
                for prepared in programs:
                    deploy_program(device, prepared.artifact, room, on_progress)
            room.mark_used()
            ground = Ground(device, runner, self.clock, self._note, self.shared.stop.check, self.shared.display.steps)
            for steps, evaluation in self._left():
                self._train(device, ground, steps, evaluation)
                reconnecting.reset()

    def _train(self, device: Device, ground: Ground, steps: Prepared, evaluation: Prepared) -> None:
        training_id = self._begin(steps)
        folder = self.shared.home.training_folder(training_id)
        memory = check_memory(device.tree, steps.estimate.memory_bytes)
        try:
            if memory.status == "failed":
                raise SuiteError(f"{memory.name}: {memory.detail}")
            course = Course(
                training_id,
                self.shared.plan,
                steps,
                evaluation,
                self.shared.material,
                Checkpoints(folder),
                None,
                folder,
            )
            why = train(course, ground, self.trainings)
            self.trainings.finish(training_id, "finished", why)
            self._note(f"{steps.workload.quant}: {why}")
        except StoreError:
            raise
        except (DeviceLost, Stopped):
            raise
        except (SuiteError, UserError, DeviceError) as error:
            self.trainings.finish(training_id, "failed", str(error))
            self._note(f"{steps.workload.quant}: {error}")
        self._ended.add(steps.workload.quant)

    def _left(self) -> list[tuple[Prepared, Prepared]]:
        return [pair for pair in self.shared.pairs if pair[0].workload.quant not in self._ended]

    def _begin(self, steps: Prepared) -> str:
        shared, workload = self.shared, describe_workload(steps.workload)
        if self._device_id is None:
            self._device_id = shared.store.known_device(self.entry.name, self.entry.kind, self.entry.emulated)
        name = session_id(shared.group_id, self.entry.name, workload, 0, 0).removesuffix(".s0.a0")
        surroundings = environment(shared.surroundings)
        plan = shared.plan.document()
        return self.trainings.begin(
            name, shared.group_id, self._device_id, workload, plan, shared.command, surroundings
        )

    def _fail_rest(self, reason: str) -> None:
        for steps, _ in self._left():
            self.trainings.finish(self._begin(steps), "failed", reason)
            self._ended.add(steps.workload.quant)
        self._note(reason)

    def _note(self, text: str) -> None:
        self.shared.display.note(f"{self.entry.name}: {text}")


def states_of(home: Home, training: Training) -> Path:
    """Returns the folder with the states of a training."""
    return home.training_folder(training.training_id)
