"""Carries out an experiment: its parts one after the other, each recorded at its start and end, then the answers.

An experiment can be interrupted anywhere; resuming it does what is left.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from devices.errors import DeviceError
from foundation.errors import UserError
from reports.model.experiment import Answer, Experiment, Part
from suite.errors import StoreError, SuiteError
from suite.experiments.experiment import Bench, Definition, Work, load_definition, planned
from suite.experiments.kept import keep_experiment
from suite.experiments.material import Material
from suite.experiments.work import planned_work
from suite.home import Home
from suite.measuring.orchestrate import claimed
from suite.store.identity import new_run_id, timestamp
from suite.store.store import Store


def begin(
    name: str,
    devices: tuple[str, ...],
    model: str | None,
    *,
    quick: bool,
    bench: Bench,
    task: str | None = None,
    template: str | None = None,
) -> Experiment:
    """Starts an experiment and carries it out. Raises UserError for an unknown name or a plan that no device can do."""
    plan = planned(name, quick=quick).on_task(task, template)
    planned_work(plan, devices, model, bench)  # before anything is recorded
    found = Experiment(
        experiment_id=new_run_id(),
        name=name,
        question=plan.question,
        quick=quick,
        devices=devices,
        model=model,
        command=bench.command,
        started_at=timestamp(),
        status="running",
        emulated=tuple(device for device in devices if bench.inventory.devices[device].emulated),
        task=task,
        template=template,
    )
    return go_on(found, bench)


def go_on(found: Experiment, bench: Bench) -> Experiment:
    """Carries out what is left of an experiment and answers it. It stays open if it is interrupted again.

    Raises UserError while another process carries it out.
    """
    with claimed(found.experiment_id, bench.home):
        return _go_on(found, bench)


def _go_on(found: Experiment, bench: Bench) -> Experiment:
    definition = load_definition(found.name)
    course = _Course(found, bench)
    course.record(status="running")
    try:
        plan = planned(found.name, quick=found.quick).on_task(found.task, found.template)
        course.carry_out(planned_work(plan, found.devices, found.model, bench))
        with open_material(course.found, bench.home) as material:
            more = definition.more_parts(material)
        course.carry_out(more)
        found = answered(course.found, definition, bench.home)
    except BaseException:
        with contextlib.suppress(StoreError):
            course.record(status="interrupted")
        raise
    complete = all(part.status == "finished" for part in course.found.parts)
    course.record(answers=found.answers, hardware=found.hardware, status="finished" if complete else "partial")
    return course.found


def answered(found: Experiment, definition: Definition, home: Home) -> Experiment:
    """Returns the experiment with each device's hardware and its answer from what was measured so far.

    An answer lists parts without a result as missing.
    """
    answers: dict[str, Answer] = {}
    with open_material(found, home) as material:
        for device in found.devices:
            answer = definition.answer(material, device)
            missing = dict.fromkeys((*answer.missing, *material.missing(device)))
            answers[device] = replace(answer, missing=tuple(missing))
        hardware = {device: material.hardware(device) for device in found.devices}
    return replace(found, answers=answers, hardware={device: words for device, words in hardware.items() if words})


@contextlib.contextmanager
def open_material(found: Experiment, home: Home) -> Iterator[Material]:
    """Opens the store for the block. Raises StoreError."""
    with contextlib.closing(Store.open(home.store_path)) as store:
        yield Material(found, store, home)


class _Course:
    """An experiment in progress. Every change is on disk before the experiment continues."""

    def __init__(self, found: Experiment, bench: Bench) -> None:
        self.found, self.bench = found, bench

    def record(self, **changes: Any) -> None:
        """Changes the experiment. Raises StoreError."""
        self.found = replace(self.found, **changes)
        keep_experiment(self.found, self.bench.home)

    def carry_out(self, work: Mapping[str, Work]) -> None:
        """Does the work of parts that are not done. An error in one becomes its reason and does not stop the others."""
        for number, (name, each) in enumerate(work.items(), 1):
            part = self.found.part(name) or Part(name, each.kind, "running")
            if part.status == "running":
                self.bench.display.note(f"part {number} of {len(work)}: {name}")
                self._do(part, each)

    def _do(self, part: Part, work: Work) -> None:
        before, started = part.seconds, time.monotonic()
        self._change(part)
        end: dict[str, Any] = {}
        try:
            complete = work.carry_out(
                self.bench, part.made_id, lambda made_id: self._change(replace(part, made_id=made_id))
            )
            end = {"status": "finished" if complete else "partial"}
        except (SuiteError, DeviceError, UserError) as error:
            if isinstance(error, StoreError):
                raise
            self.bench.display.note(f"{part.name} has no result: {error}")
            end = {"status": "failed", "reason": str(error)}
        finally:
            now = self.found.part(part.name) or part
            with contextlib.suppress(StoreError):
                self._change(replace(now, seconds=round(before + time.monotonic() - started, 1), **end))

    def _change(self, part: Part) -> None:
        """Replaces the part of that name, or adds it at the end."""
        parts = {one.name: one for one in self.found.parts} | {part.name: part}
        self.record(parts=tuple(parts.values()))
