"""Finds the program with which a series changed, among the kept programs between a good and a bad night.

Nights keep the programs and runners with which series were measured. Those between two nights are bisected like the
commits between two releases: one in the middle is measured in pairs with the good one, and the test of a night's
confirmation decides on which side of the change it lies. Both are measured tonight on the same device, so what has
happened to the device since then does not affect the answer.
"""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from sqlalchemy import select

from devices.deployment.built_runner import read_built
from devices.inventory.inventory_file import Inventory
from foundation.errors import UserError
from reports.model.quantities import METRIC_BY_NAME, Metric
from suite.display import Display
from suite.home import Home, in_use
from suite.measuring.orchestrate import claimed, environment
from suite.measuring.reaching import reach
from suite.measuring.run import Run
from suite.nightly.evidence import KeptProgram
from suite.nightly.judging import ToConfirm, measure_pairs
from suite.planning.plan import RunPlan, describe_workload
from suite.preparing.preparation import NOT_YET, Preparation, Prepared, load_inputs, workloads_of
from suite.preparing.runners import Runners
from suite.regression.confirmation import CONFIRM_PAIRS, Confirmation, Pair, confirm
from suite.regression.log_ratios import Side, percent
from suite.store import schema
from suite.store.identity import workload_key
from suite.store.series import NightPoint, Series, nights_of_series
from suite.store.store import Store
from workloads.estimates.estimate import estimate
from workloads.export.artifact import ArtifactCache


@dataclass(frozen=True)
class Version:
    """A program and runner, and the first and last night of the series that were measured with it."""

    artifact_hash: str
    runner_hash: str | None
    first: NightPoint
    last: NightPoint

    @property
    def name(self) -> str:
        """The program, its runner and its first night, in words."""
        runner = "" if self.runner_hash is None else f" with runner {self.runner_hash[:8]}"
        return f"program {self.artifact_hash[:8]}{runner}, first measured in {self.first.run_id}"


@dataclass(frozen=True)
class Step:
    """A version that was measured in turn with the good one, and the result of the pairs."""

    version: Version
    confirmation: Confirmation

    @property
    def changed(self) -> bool:
        """Whether the version has the change."""
        return self.confirmation.found

    @property
    def sentence(self) -> str:
        """What was found, in words."""
        seen = percent(math.log(self.confirmation.ratio))
        found = "has the change" if self.changed else "is like the good one"
        return f"{self.version.name}: {seen} in {len(self.confirmation.pairs)} pairs, {found}"


@dataclass(frozen=True)
class Answer:
    """`culprits` are the versions that may have brought the change: several if those in between can't be measured.

    Empty if the good and the bad program don't differ when they are measured in turn.
    """

    good: Version
    bad: Version
    steps: tuple[Step, ...]
    culprits: tuple[Version, ...]

    @property
    def sentence(self) -> str:
        """What was found, in words."""
        if not self.culprits:
            return (
                f"{self.bad.name}, is like {self.good.name}, when both are measured in turn: the change came from the "
                "device or its surroundings, or is too small to detect."
            )
        if len(self.culprits) == 1:
            return f"The change came with {self.culprits[0].name}."
        gone = len(self.culprits) - 1
        return (
            f"The change came with one of {len(self.culprits)} programs, from {self.culprits[0].first.run_id} to "
            f"{self.culprits[-1].first.run_id}; {gone} of them are no longer on this host."
        )


MeasurePairs = Callable[[KeptProgram, KeptProgram], Sequence[Pair]]
"""(good, candidate) -> pairs of their medians, at least CONFIRM_PAIRS of them."""
Open = Callable[[Version], KeptProgram | None]
"""Returns the program and runner of a version, or None if either is missing."""


def versions_of(points: Sequence[NightPoint]) -> list[Version]:
    """Returns the programs of nights (oldest first); one that returned after another appears again."""
    found: list[Version] = []
    for point in points:
        if point.artifact_hash is None:
            continue
        if found and (found[-1].artifact_hash, found[-1].runner_hash) == (point.artifact_hash, point.runner_hash):
            found[-1] = Version(found[-1].artifact_hash, found[-1].runner_hash, found[-1].first, point)
        else:
            found.append(Version(point.artifact_hash, point.runner_hash, point, point))
    return found


def choose_nights(points: Sequence[NightPoint], good: str | None, bad: str | None) -> Sequence[NightPoint]:
    """Returns the nights from the good one to the bad one.

    `good` and `bad` are runs; by default, the night before the latest regression and the newest night. Raises UserError
    if there is nothing between them.
    """
    places = {point.run_id: place for place, point in enumerate(points)}
    for run in (good, bad):
        if run is not None and run not in places:
            raise UserError(
                f"{run} has no point of this series: see `suite history SERIES` for the nights that have one."
            )
    last = len(points) - 1 if bad is None else places[bad]
    first = places[good] if good is not None else _before_regression(points[: last + 1])
    if first >= last:
        raise UserError(
            f"The good night, {points[first].run_id}, is not before the bad one, {points[last].run_id}: swap them."
        )
    return points[first : last + 1]


def _before_regression(points: Sequence[NightPoint]) -> int:
    """Returns the night before the regressed nights that the last point belongs to."""
    place = len(points) - 1
    while place > 0 and points[place].regressed:
        place -= 1
    if place == len(points) - 1:
        raise UserError(
            f"{points[-1].run_id} did not regress, so there is no obvious good night: name one with --good, and the "
            "bad one with --bad."
        )
    return place


def bisect(
    nights: Sequence[NightPoint],
    metric_name: str,
    open_version: Open,
    measure: MeasurePairs,
    on_step: Callable[[Step], None],
) -> Answer:
    """Bisects the versions between the first and the last of `nights`; `on_step` gets each one's result.

    Good and bad are measured first; if they don't differ now, that ends it. Raises UserError if both ends are the same
    program, if one of them can no longer be measured, or if too few sessions are valid.
    """
    versions, metric = _different_versions(nights), METRIC_BY_NAME[metric_name]
    side, good, bad = _side(nights, metric), *(_opened(versions[end], open_version) for end in (0, -1))
    steps: list[Step] = []

    def has_change(version: Version, program: KeptProgram) -> bool:
        pairs = list(measure(good, program))[:CONFIRM_PAIRS]
        if len(pairs) < CONFIRM_PAIRS:
            raise UserError(
                f"Only {len(pairs)} of {CONFIRM_PAIRS} pairs of sessions of {version.name} are valid: see the page of "
                "the newest run for the reasons, and bisect again."
            )
        steps.append(Step(version, confirm(pairs, metric.direction, side, metric.floor)))
        on_step(steps[-1])
        return steps[-1].changed

    low, high = 0, len(versions) - 1
    if not has_change(versions[high], bad):
        return Answer(versions[0], versions[-1], tuple(steps), ())
    opened = {place: open_version(versions[place]) for place in range(1, high)}
    kept = {place: program for place, program in opened.items() if program is not None}
    while inside := [place for place in kept if low < place < high]:
        middle = inside[len(inside) // 2]
        low, high = (low, middle) if has_change(versions[middle], kept[middle]) else (middle, high)
    return Answer(versions[0], versions[-1], tuple(steps), tuple(versions[low + 1 : high + 1]))


def _different_versions(nights: Sequence[NightPoint]) -> list[Version]:
    versions = versions_of(nights)
    if len(versions) < 2:
        raise UserError(
            f"Nights {nights[0].run_id} to {nights[-1].run_id} were measured with one program and runner: the change "
            "came from elsewhere, such as the device; `suite compare` lists what differs."
        )
    return versions


def _opened(version: Version, open_version: Open) -> KeptProgram:
    found = open_version(version)
    if found is None:
        raise UserError(
            f"The {version.name}, is no longer on this host, so nothing can be compared with it: choose other nights "
            "with --good and --bad."
        )
    return found


def _side(nights: Sequence[NightPoint], metric: Metric) -> Side:
    grew = nights[-1].value > nights[0].value
    return "worse" if grew == (metric.direction == "lower") else "better"


@dataclass(frozen=True)
class Bisection:
    """The nights of a series between a good and a bad one, on a device and in a home."""

    series: Series
    nights: Sequence[NightPoint]
    store: Store
    home: Home

    def open_version(self, version: Version) -> KeptProgram | None:
        """Returns program and runner of a version, or None if either is missing.

        If all nights had the same runner, it is not part of the change, and the device's current one is used.
        """
        artifact = ArtifactCache(self.home.artifacts).by_hash(version.artifact_hash)
        name = version.runner_hash if len({point.runner_hash for point in self.nights}) > 1 else None
        runner = None if name is None else read_built(self.home.runner / name)
        if artifact is None or (name is not None and runner is None):
            return None
        return KeptProgram(artifact, runner)

    def carry_out(
        self, inventory: Inventory, display: Display, command: Sequence[str], on_step: Callable[[Step], None]
    ) -> Answer:
        """Measures on the device what `bisect` asks for; the sessions of each step are a run of their own.

        Raises what measuring raises, and UserError if the device is no longer in the inventory.
        """
        device = self.series.device
        (entry,) = inventory.select(device)
        reach([entry], display)
        prepared, source = self._prepare(display)
        runners = Runners(self.home.runner, display)

        def measure(good: KeptProgram, candidate: KeptProgram) -> list[Pair]:
            item = ToConfirm(device, replace(prepared, artifact=candidate.artifact, runner=candidate.runner), good)
            plan, of_model = RunPlan((replace(prepared.plan, devices=(device,)),)), Preparation(weights_source=source)
            run_id = self.store.begin_run(plan.document(), command, environment(of_model))
            status = "partial"
            try:
                with claimed(run_id, self.home):
                    run = Run(run_id, plan, of_model, runners, self.home, self.store, display)
                    paired = measure_pairs(run, {device: entry}, [item], CONFIRM_PAIRS, fresh_loads=True)
                status = "finished"
            finally:
                self.store.finish_run(run_id, status)
            return paired[item.place].of(METRIC_BY_NAME[self.series.metric])

        return bisect(self.nights, self.series.metric, self.open_version, measure, on_step)

    def _prepare(self, display: Display) -> tuple[Prepared, Mapping[str, str]]:
        """Returns the series' workload from the bad night's plan, and where its weights come from.

        Losses are not compared, as programs of other versions may compute others.
        """
        statement = select(schema.run.c.plan).where(schema.run.c.id == self.nights[-1].run_id)
        with self.store.database.reading() as connection:
            plan = RunPlan.from_document(json.loads(connection.execute(statement).scalar_one()))
        program = _opened(_different_versions(self.nights)[0], self.open_version)
        for part in (part for part in plan.plans if self.series.device in part.devices):
            inputs = load_inputs(part, display.note)
            for workload in workloads_of(part, inputs.data):
                if workload_key(describe_workload(workload)) == self.series.workload_key:
                    needs = estimate(workload, inputs.weights.config)
                    made = Prepared(part, workload, program.artifact, inputs.data, NOT_YET, needs)
                    return made, {part.model: inputs.weights.source}
        raise UserError(
            f"The plan of {self.nights[-1].run_id} no longer yields {self.series.name}: its task or model has changed "
            "since then; name later nights with --good and --bad."
        )


@contextlib.contextmanager
def open_bisection(series: Series, good: str | None, bad: str | None, store: Store, home: Home) -> Iterator[Bisection]:
    """Opens the nights of a series from the good run to the bad one (`choose_nights`) for the block."""
    points = nights_of_series(store, series)
    if len(points) < 2:
        raise UserError(f"{series.name} has {len(points)} nights, but two are needed: measure with `suite nightly`.")
    with in_use(home):
        yield Bisection(series, choose_nights(points, good, bad), store, home)
