"""Trainings as stored: their parts as they were committed, one by one, and the curves that these make together."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import RowMapping, insert, select, update

from foundation.errors import UserError
from foundation.text import printable
from foundation.unavailable import Json, Unavailable
from suite.store import schema
from suite.store.database import Database
from suite.store.dialect import SqlValue, found_or_new
from suite.store.identity import canonical, timestamp, workload_key


@dataclass(frozen=True)
class Segment:
    """Steps that one process made, from `first_step` on.

    `seconds` are those of its steps alone. `energy_mj`: of all its steps. `curve`: of each step its seconds and its
    loss. `note`: what was odd about it.
    """

    first_step: int
    seconds: float
    load_seconds: float | None
    energy_mj: float | Unavailable
    peak_memory_kib: int | None
    curve: tuple[tuple[float, float], ...]
    note: str | None = None

    @property
    def steps(self) -> int:
        """Number of its steps."""
        return len(self.curve)

    @property
    def end(self) -> int:
        """The number of steps that the training had made after it."""
        return self.first_step + self.steps


@dataclass(frozen=True)
class Evaluation:
    """What the adapter was worth after `step` steps, on held-out examples; `seconds` are those of the evaluation."""

    step: int
    examples: int
    accuracy: float
    loss: float
    seconds: float


@dataclass(frozen=True)
class Training:
    """One training of a workload on a device."""

    training_id: str
    group_id: str
    device: str
    kind: str
    emulated: bool
    workload: Mapping[str, Json]
    seed: int
    plan: Mapping[str, Any]
    started_at: str
    finished_at: str | None
    status: str
    reason: str | None
    segments: tuple[Segment, ...]
    evaluations: tuple[Evaluation, ...]

    @property
    def steps(self) -> int:
        """Steps made so far."""
        return self.segments[-1].end if self.segments else 0

    @property
    def seconds(self) -> float:
        """Seconds of all steps on the device."""
        return sum(segment.seconds for segment in self.segments)

    def seconds_at(self, step: int) -> float:
        """Returns the seconds of the first `step` steps on the device."""
        each = (seconds for segment in self.segments for seconds, _ in segment.curve)
        return sum(seconds for _, seconds in zip(range(step), each, strict=False))

    def energy_at(self, step: int) -> float | Unavailable:
        """Returns the millijoules of the segments that ended at `step`, or why they are not all known."""
        total = 0.0
        for segment in self.segments:
            if segment.end > step:
                break
            if isinstance(segment.energy_mj, Unavailable):
                return segment.energy_mj
            total += segment.energy_mj
        return total

    def document(self) -> dict[str, Any]:
        """Returns the training as JSON values: what it is, and its curve at each evaluation."""
        curve = [
            {
                "step": each.step,
                "accuracy": each.accuracy,
                "loss": each.loss,
                "examples": each.examples,
                "seconds": self.seconds_at(each.step),
                "energy_mj": _or_reason(self.energy_at(each.step)),
            }
            for each in self.evaluations
        ]
        peak = self.peak_memory_kib
        return {
            "training_id": self.training_id,
            "group_id": self.group_id,
            "device": self.device,
            "kind": self.kind,
            "emulated": self.emulated,
            "workload": dict(self.workload),
            "seed": self.seed,
            "status": self.status,
            "reason": self.reason,
            "steps": self.steps,
            "seconds": self.seconds,
            "energy_mj": _or_reason(self.energy_at(self.steps)),
            "peak_memory_kib": _or_reason(Unavailable("no process reported its peak") if peak is None else peak),
            "evaluations": curve,
        }

    @property
    def peak_memory_kib(self) -> int | None:
        """The highest peak of its processes."""
        return max((peak for segment in self.segments if (peak := segment.peak_memory_kib) is not None), default=None)


def _or_reason(value: float | Unavailable) -> Json:
    return value.document() if isinstance(value, Unavailable) else value


class Trainings:
    """The trainings of a store. Every method is one transaction; StoreError if it fails."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def begin_group(
        self,
        group_id: str,
        plans: Sequence[Mapping[str, Any]],
        command: Sequence[str],
        environment: Mapping[str, str],
    ) -> None:
        """Starts the trainings of a command, or goes on with them."""
        table = schema.training_group
        with self.database.writing() as connection:
            if connection.execute(select(table.c.id).where(table.c.id == group_id)).first() is not None:
                connection.execute(update(table).where(table.c.id == group_id).values(status="running"))
                return
            connection.execute(
                insert(table).values(
                    id=group_id,
                    started_at=timestamp(),
                    status="running",
                    plans=canonical([dict(plan) for plan in plans]),
                    command=canonical(list(command)),
                    environment=canonical(dict(environment)),
                )
            )

    def finish_group(self, group_id: str, status: str) -> None:
        """Ends the trainings of a command as `finished`, or `partial` if there is something left to resume."""
        table = schema.training_group
        with self.database.writing() as connection:
            connection.execute(update(table).where(table.c.id == group_id).values(status=status))

    def open_group(self) -> str:
        """Returns the newest group that did not finish. UserError if there is none."""
        table = schema.training_group
        with self.database.reading() as connection:
            open_ones = select(table.c.id).where(table.c.status != "finished").order_by(table.c.id.desc())
            found: str | None = connection.execute(open_ones).scalars().first()
        if found is None:
            raise UserError("There is no interrupted training to resume: start one with `suite train`.")
        return found

    def plans_of(self, group_id: str) -> list[dict[str, Any]]:
        """Returns the plans of a group, as they were stored."""
        table = schema.training_group
        with self.database.reading() as connection:
            text = connection.execute(select(table.c.plans).where(table.c.id == group_id)).scalar_one()
        plans: list[dict[str, Any]] = json.loads(text)
        return plans

    def begin(
        self,
        training_id: str,
        group_id: str,
        device_id: int,
        workload: Mapping[str, Json],
        seed: int,
        plan: Mapping[str, Any],
    ) -> str:
        """Starts a training, or goes on with the one that its group has of this workload, seed and device.

        Returns its id.
        """
        key = workload_key(workload)
        identity = {"group_id": group_id, "device_id": device_id, "workload_key": key, "seed": seed}
        table = schema.training
        with self.database.writing() as connection:
            same = [table.c[name] == value for name, value in identity.items()]
            known: str | None = connection.execute(select(table.c.id).where(*same)).scalar_one_or_none()
            if known is not None:
                connection.execute(update(table).where(table.c.id == known).values(status="running", reason=None))
                return known
            facts = {
                "id": training_id,
                "workload": canonical(dict(workload)),
                "plan": canonical(dict(plan)),
                "started_at": timestamp(),
                "status": "running",
            }
            connection.execute(insert(table).values(**identity, **facts))
        return training_id

    def add_segment(self, training_id: str, segment: Segment) -> None:
        """Commits a segment; it is on the disk when this returns."""
        energy = segment.energy_mj
        with self.database.writing() as connection:
            connection.execute(
                insert(schema.training_segment).values(
                    training_id=training_id,
                    first_step=segment.first_step,
                    steps=segment.steps,
                    seconds=segment.seconds,
                    load_seconds=segment.load_seconds,
                    energy_mj=None if isinstance(energy, Unavailable) else energy,
                    why_no_energy=energy.reason if isinstance(energy, Unavailable) else None,
                    hwm_kib=segment.peak_memory_kib,
                    note=segment.note,
                    curve=canonical([list(point) for point in segment.curve]),
                    committed_at=timestamp(),
                )
            )

    def add_evaluation(self, training_id: str, evaluation: Evaluation) -> None:
        """Commits an evaluation; one of the same step is there already only if it was the same."""
        identity: dict[str, SqlValue] = {"training_id": training_id, "step": evaluation.step}
        facts: dict[str, SqlValue] = {
            "examples": evaluation.examples,
            "accuracy": evaluation.accuracy,
            "loss": evaluation.loss,
            "seconds": evaluation.seconds,
            "committed_at": timestamp(),
        }
        with self.database.writing() as connection:
            found_or_new(connection, schema.training_evaluation, identity, facts)

    def finish(self, training_id: str, status: str, reason: str | None = None) -> None:
        """Ends a training as `finished`, `failed` or `interrupted`."""
        table = schema.training
        with self.database.writing() as connection:
            values = {"status": status, "reason": reason, "finished_at": timestamp()}
            connection.execute(update(table).where(table.c.id == training_id).values(**values))

    def of_group(self, group_id: str) -> list[Training]:
        """Returns all trainings of a group in the order they were started. UserError if there are none."""
        return self._where(schema.training.c.group_id == group_id, f"training {printable(group_id, 80)}")

    def one(self, training_id: str) -> Training:
        """Returns one training. UserError if there is none with this id."""
        return self._where(schema.training.c.id == training_id, f"training {printable(training_id, 80)}")[0]

    def all(self) -> list[Training]:
        """Returns all trainings, oldest first."""
        return self._where(schema.training.c.id.is_not(None), None)

    def _where(self, condition: Any, what: str | None) -> list[Training]:
        table, segment, evaluation = schema.training, schema.training_segment, schema.training_evaluation
        device = schema.device
        chosen = select(table, device.c.name, device.c.kind, device.c.emulated).join(device).where(condition)
        with self.database.reading() as connection:
            rows = connection.execute(chosen.order_by(table.c.started_at, table.c.id)).mappings().all()
            ids = [row["id"] for row in rows]
            segments = (
                connection.execute(select(segment).where(segment.c.training_id.in_(ids)).order_by(segment.c.first_step))
                .mappings()
                .all()
            )
            evaluations = (
                connection.execute(
                    select(evaluation).where(evaluation.c.training_id.in_(ids)).order_by(evaluation.c.step)
                )
                .mappings()
                .all()
            )
        if not rows and what is not None:
            raise UserError(f"there is no {what} in {self.database.path}: see `suite adapters list`")
        return [
            _training(
                row,
                [each for each in segments if each["training_id"] == row["id"]],
                [each for each in evaluations if each["training_id"] == row["id"]],
            )
            for row in rows
        ]


def _training(row: RowMapping, segments: Sequence[RowMapping], evaluations: Sequence[RowMapping]) -> Training:
    return Training(
        training_id=row["id"],
        group_id=row["group_id"],
        device=row["name"],
        kind=row["kind"],
        emulated=bool(row["emulated"]),
        workload=json.loads(row["workload"]),
        seed=row["seed"],
        plan=json.loads(row["plan"]),
        started_at=row["started_at"],
        finished_at=row["finished_at"],
        status=row["status"],
        reason=row["reason"],
        segments=tuple(_segment(each) for each in segments),
        evaluations=tuple(
            Evaluation(each["step"], each["examples"], each["accuracy"], each["loss"], each["seconds"])
            for each in evaluations
        ),
    )


def _segment(row: RowMapping) -> Segment:
    energy = row["energy_mj"]
    return Segment(
        first_step=row["first_step"],
        seconds=row["seconds"],
        load_seconds=row["load_seconds"],
        energy_mj=Unavailable(row["why_no_energy"]) if energy is None else energy,
        peak_memory_kib=row["hwm_kib"],
        curve=tuple((seconds, loss) for seconds, loss in json.loads(row["curve"])),
        note=row["note"],
    )
