"""Conducts trainings from plans to adapters: prepares on the host, trains on the devices in parallel, or resumes."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from devices.access.connect import connect
from devices.checks.preflight import check_memory
from devices.errors import DeviceError, DeviceLost, FileError
from devices.inventory.entry import DeviceEntry
from devices.inventory.inventory_file import Inventory
from foundation.errors import UserError
from foundation.unavailable import Json
from reports.model.training import CONDITIONS, DISTURBED, Training, names_of
from suite.display import Display
from suite.errors import StoreError, SuiteError
from suite.home import Home, in_use
from suite.measuring.deployment import CacheRoom, deploy_program, deploy_runner, needs, remove_old_jobs
from suite.measuring.fleet import on_each_device
from suite.measuring.idle_device import Clock, ThermalGate
from suite.measuring.kernels import with_kernels
from suite.measuring.orchestrate import claimed, environment
from suite.measuring.reaching import Reconnecting, reach
from suite.measuring.recording import hardware_of
from suite.measuring.run import Stopped, StopSign
from suite.planning.forecast import Obstacles, check
from suite.planning.plan import Plan, RunPlan, describe_workload
from suite.preparing.preparation import (
    Exporters,
    Inputs,
    LeftOut,
    Notify,
    Preparation,
    Prepared,
    leave_out,
    load_inputs,
    open_exporters,
    prepare,
)
from suite.preparing.runners import Runners
from suite.store.identity import new_run_id, session_id
from suite.store.store import Store
from suite.store.trainings import Trainings
from suite.training.checkpoints import STATES_ON_DEVICE, Checkpoints, start_state
from suite.training.initial_adapters import with_own_a
from suite.training.plan import TrainingPlan
from suite.training.trainer import EVALUATED_ROWS, Course, Ground, Material, read_material, train
from workloads.export.artifact import ArtifactCache
from workloads.workload import Workload


@dataclass(frozen=True)
class Candidate:
    """A training to carry out on each device of its plan, with its data and its programs.

    One program trains, one evaluates, and some may train on shorter rows. `name` tells its contender from the others
    of the command.
    """

    plan: TrainingPlan
    steps: Prepared
    evaluation: Prepared
    material: Material
    shorter: tuple[Prepared, ...] = ()
    name: str = ""

    @property
    def programs(self) -> tuple[Prepared, ...]:
        """All programs of the training."""
        return self.steps, self.evaluation, *self.shorter

    @property
    def label(self) -> str:
        """The training's name among those of the command."""
        label = f"{self.name}, seed {self.plan.plan.seed}"
        return f"{label}, disturbed" if self.plan.disturbed else label


@dataclass(frozen=True)
class _Shared:
    """What all devices of a command share."""

    group_id: str
    candidates: Sequence[Candidate]
    left_out: Sequence[tuple[TrainingPlan, LeftOut]]
    runners: Runners
    home: Home
    store: Store
    display: Display
    stop: StopSign = field(default_factory=StopSign)


def begin(
    plans: Sequence[TrainingPlan],
    inventory: Inventory,
    home: Home,
    display: Display,
    command: Sequence[str],
    *,
    begun: Callable[[str], None] = lambda _group_id: None,
) -> list[Training]:
    """Carries out the trainings of the plans, which have one model and the same devices, and returns them.

    `begun` is called with their group's id when the store has it. Raises UserError and StoreError.
    """
    with contextlib.closing(Store.open(home.store_path)) as store, in_use(home):
        return _conduct(plans, new_run_id(), inventory, home, store, display, command, begun)


def resume(
    inventory: Inventory, home: Home, display: Display, command: Sequence[str], *, group_id: str | None = None
) -> list[Training]:
    """Resumes the trainings of a group; without an id, of the newest that did not finish."""
    with contextlib.closing(Store.open(home.store_path)) as store, in_use(home):
        trainings = Trainings(store.database)
        group_id = trainings.open_group() if group_id is None else group_id
        plans = [TrainingPlan.from_document(each) for each in trainings.plans_of(group_id)]
        display.note(f"resuming training {group_id}")
        return _conduct(plans, group_id, inventory, home, store, display, command)


def _conduct(
    plans: Sequence[TrainingPlan],
    group_id: str,
    inventory: Inventory,
    home: Home,
    store: Store,
    display: Display,
    command: Sequence[str],
    begun: Callable[[str], None] = lambda _group_id: None,
) -> list[Training]:
    obstacles = _obstacles([plan.plan for plan in plans], inventory)
    entries = [inventory.devices[name] for name in plans[0].plan.devices]
    with claimed(group_id, home):
        reach(entries, display)
        runners = Runners(home.runner, display)
        runners.build_ahead(entries)
        candidates, left_out, surroundings = _prepare_all(plans, obstacles, home, display)
        trainings = Trainings(store.database)
        trainings.begin_group(group_id, [plan.document() for plan in plans], command, environment(surroundings))
        begun(group_id)
        shared = _Shared(group_id, candidates, left_out, runners, home, store, display)
        on_each_device(entries, shared.stop, lambda entry: _OnDevice(shared, entry).train_all())
        found = trainings.in_group(group_id)
        complete = all(one.status == "finished" for one in found)
        trainings.finish_group(group_id, "finished" if complete else "partial")
        return found


def _obstacles(plans: Sequence[Plan], inventory: Inventory) -> list[Obstacles]:
    """Returns the obstacles of each plan. Raises UserError if no setting of any plan is left."""
    # Plans that differ in seed or learning rate have the same obstacles.
    workloads = [tuple(plan.workloads(answers=1)) for plan in plans]
    distinct = dict(zip(workloads, plans, strict=True))
    found = dict(zip(distinct, check(RunPlan(tuple(distinct.values())), inventory), strict=True))
    return [found[each] for each in workloads]


def _prepare_all(
    plans: Sequence[TrainingPlan], obstacles: Sequence[Obstacles], home: Home, display: Display
) -> tuple[list[Candidate], list[tuple[TrainingPlan, LeftOut]], Preparation]:
    """Exports what is missing. Returns what can be trained, in the order of each plan, and what can't."""
    candidates: list[Candidate] = []
    left_out: list[tuple[TrainingPlan, LeftOut]] = []
    surroundings = Preparation()
    cache, weights, noted = ArtifactCache(home.artifacts), None, set[str]()

    def note_once(text: str) -> None:
        """Notes a text once, since the plans of a race have much in common."""
        if text not in noted:
            noted.add(text)
            display.note(text)

    with open_exporters(cache) as exporters:
        for plan, found in zip(plans, obstacles, strict=True):
            with display.waiting(f"preparing {plan.plan.model}"):
                inputs = load_inputs(plan.plan, note_once, weights=weights)
                weights, material = inputs.weights, read_material(plan, inputs)
                plan = with_own_a(plan, inputs, home.initial_adapters, note_once)
                steps = prepare(
                    plan.plan, inputs, cache, note_once, references=False, obstacles=found, exporters=exporters
                )
                failed = {item.workload.quant: item.error for item in steps.left_out}
                evaluation = plan.evaluation(EVALUATED_ROWS)
                evaluations = prepare(
                    evaluation, inputs, cache, note_once, references=False, obstacles=failed, exporters=exporters
                )
                shorter = _for_shorter_rows(plan, material, inputs, cache, note_once, failed, exporters)
            surroundings += steps
            by_quant = {item.workload.quant: item for item in evaluations.prepared}
            lost = {item.workload.quant: item.error for item in evaluations.left_out}
            left_out += [(plan, item) for item in leave_out(plan.plan, lost, answers=inputs.data.labels.shape[2])]
            pairs = [(item, by_quant.get(item.workload.quant)) for item in steps.prepared]
            candidates += [
                Candidate(plan, step, found, material, shorter.get(step.workload.quant, ()))
                for step, found in pairs
                if found is not None
            ]
    names = names_of([_describe(one.plan, one.steps.workload) for one in candidates])
    named = [replace(one, name=name) for one, name in zip(candidates, names, strict=True)]
    return named, left_out, surroundings


def _describe(plan: TrainingPlan, workload: Workload) -> dict[str, Json]:
    """Returns the workload as a training stores it, together with its contender's own settings.

    Without the digest of A if A comes from the examples: it differs with each seed, but the contender is the same.
    """
    found = describe_workload(workload) | dict(plan.own_settings)
    if plan.init != TrainingPlan.init:
        found |= {"init": plan.init}
        found.pop("lora_a", None)
    return found


def _for_shorter_rows(
    plan: TrainingPlan,
    material: Material,
    inputs: Inputs,
    cache: ArtifactCache,
    notify: Notify,
    obstacles: Mapping[str, UserError | SuiteError],
    exporters: Exporters | None = None,
) -> dict[str, tuple[Prepared, ...]]:
    """Returns, by setting, the programs that train on rows shorter than T, except those that can't be exported."""
    made: dict[str, tuple[Prepared, ...]] = {}
    for length in material.shorter:
        shorter = replace(plan.plan, T=length)
        found = prepare(shorter, inputs, cache, notify, references=False, obstacles=obstacles, exporters=exporters)
        for item in found.prepared:
            made[item.workload.quant] = (*made.get(item.workload.quant, ()), item)
    if made:
        share = material.lengths.tokens_of_a_row(material.shorter) / plan.plan.T
        lengths = " and ".join(str(length) for length in material.shorter)
        notify(
            f"batches that fit use programs for rows of {lengths} tokens: a training has about {share:.0%} of the "
            f"forward tokens that it would have with T={plan.plan.T} alone"
        )
    return made


class _OnDevice:
    """The trainings of one device, one after the other."""

    def __init__(self, shared: _Shared, entry: DeviceEntry) -> None:
        self.shared, self.entry = shared, entry
        self.clock = Clock(sleep=shared.stop.sleep)
        self.trainings = Trainings(shared.store.database)
        self._device_id: int | None = None
        self._left = list(shared.candidates)

    def train_all(self) -> None:
        """Carries out every training. A DeviceError becomes the reason of those that are left, not an exception."""
        reconnecting = Reconnecting(self.clock, self._note, lambda: self._device_id is not None)
        try:
            if self._left:
                reconnecting.carry_out(lambda: self._connected(reconnecting))
        except DeviceError as error:
            self._fail_rest(str(error))
        except (Stopped, KeyboardInterrupt, StoreError):
            with contextlib.suppress(StoreError):
                for candidate in self._left:
                    reason = "it was interrupted: continue with --resume"
                    self.trainings.finish(self._begin(candidate.plan, candidate.steps.workload), "interrupted", reason)
            raise
        for plan, item in self.shared.left_out:
            self._note(f"{item.workload.method} {item.workload.quant}: {item.error}")
            self.trainings.finish(self._begin(plan, item.workload), "failed", str(item.error))

    def _connected(self, reconnecting: Reconnecting) -> None:
        self.shared.stop.check()
        with connect(self.entry, self.shared.home.locks) as device:
            facts = device.facts()
            self._device_id = self.shared.store.record_device(
                self.entry.name, self.entry.kind, self.entry.emulated, hardware_of(facts)
            )
            if device.left_over_pid is not None:
                self._note(f"ended the runner {device.left_over_pid} that an earlier run left behind")
            programs = [program for each in self._left for program in each.programs]
            states = STATES_ON_DEVICE * max(each.steps.estimate.state_bytes for each in self._left)
            checks = device.preflight(needs(device, programs, states))
            failed = [found for found in checks if found.status == "failed"]
            if failed:
                self._fail_rest(f"{failed[0].name}: {failed[0].detail}")
                return
            remove_old_jobs(device)
            runner = self.shared.runners.for_device(device, facts.machine, self._note)
            quants = [program.workload.quant for program in programs]
            stop = self.shared.stop.check
            ground = Ground(
                device,
                with_kernels(device, facts, runner, quants, self.shared.store, self._note, stop),
                self.clock,
                ThermalGate.at_start(device, device.sensors().sensors, self.clock),
                self._note,
                stop,
                self.shared.display.steps,
            )
            while self._left:
                self._train(ground, self._left[0])
                with contextlib.suppress(FileError):  # what is left is removed at the next connection
                    remove_old_jobs(device)  # and the training's last state
                del self._left[0]
                reconnecting.reset()

    def _train(self, ground: Ground, candidate: Candidate) -> None:
        """Carries out a training. An error in it, its programs or its start becomes its reason and stops no other."""
        training_id = self._begin(candidate.plan, candidate.steps.workload)
        folder = self.shared.home.training_folder(training_id)
        checkpoints = Checkpoints(folder)
        memory = check_memory(ground.device.tree, candidate.steps.estimate.memory_bytes)
        try:
            if memory.status == "failed":
                raise SuiteError(f"{memory.name}: {memory.detail}")
            checkpoints.require_room(candidate.steps.estimate.state_bytes)
            self._deploy(ground, candidate)
            start = start_state(candidate.plan, candidate.steps, folder)
            course = Course(
                training_id,
                candidate.label,
                candidate.plan,
                candidate.steps,
                candidate.evaluation,
                tuple(each.artifact for each in candidate.shorter),
                candidate.material,
                checkpoints,
                start,
                folder,
            )
            why = train(course, ground, self.trainings)
            self.trainings.finish(training_id, "finished", why)
            self._note(f"{candidate.label}: {why}")
        except (StoreError, DeviceLost, Stopped):
            raise
        except (SuiteError, UserError, DeviceError) as error:
            self.trainings.finish(training_id, "failed", str(error))
            self._note(f"{candidate.label}: {error}")

    def _deploy(self, ground: Ground, candidate: Candidate) -> None:
        """Deploys runner and programs. Raises DeployError and DeviceLost."""
        artifacts = [program.artifact for program in candidate.programs]
        room = CacheRoom.of(ground.device, [ground.runner], artifacts, self._note)
        with self.shared.display.bytes(f"{self.entry.name}: deploying") as on_progress:
            deploy_runner(ground.device, ground.runner, room, on_progress)
            for artifact in artifacts:
                deploy_program(ground.device, artifact, room, on_progress)
        room.mark_used()

    def _begin(self, plan: TrainingPlan, of: Workload) -> str:
        shared, workload, seed = self.shared, _describe(plan, of), plan.plan.seed
        if plan.disturbed:
            workload[CONDITIONS] = DISTURBED
        if self._device_id is None:
            self._device_id = shared.store.known_device(self.entry.name, self.entry.kind, self.entry.emulated)
        name = session_id(shared.group_id, self.entry.name, workload, seed, 0).removesuffix(".a0")
        return self.trainings.begin(name, shared.group_id, self._device_id, workload, seed, plan.document())

    def _fail_rest(self, reason: str) -> None:
        for candidate in self._left:
            self.trainings.finish(self._begin(candidate.plan, candidate.steps.workload), "failed", reason)
        self._left.clear()
        self._note(reason)

    def _note(self, text: str) -> None:
        self.shared.display.note(f"{self.entry.name}: {text}")
