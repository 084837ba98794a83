"""Trainings: their segments and evaluations, the curves of loss and accuracy these make up, and the trainings of one
command.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from foundation.unavailable import Json, Unavailable
from reports.model.measurement import setting_of
from reports.model.race import Race
from reports.model.reading import NOT_RECORDED, Number, text

_NAMED = ("method", "quant")
_FIRST = ("q", "b", "T", "rank", "lr", "eps", "schedule", "steps")
"""The first parts of a contender's name, in this order."""

CONDITIONS, DISTURBED = "conditions", "disturbed"
"""The workload's entry for a training with a busy device and an interruption, made to compare with one without."""


def steps_lost(steps: int, first: int, end: int) -> int:
    """Returns how many of the steps from `first` to before `end` a disturbed training of `steps` steps makes twice: the
    first half of its middle process, which is then interrupted.
    """
    return -(-(end - first) // 2) if first <= steps // 2 < end else 0


@dataclass(frozen=True)
class Segment:
    """Steps made by one process, from `first_step` on.

    `seconds` and `energy_mj` are for its steps alone. `curve` has the seconds and the loss of each step. `note` is what
    was unusual about it.
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
        """The number of steps that the training had made at its end."""
        return self.first_step + self.steps


@dataclass(frozen=True)
class Evaluation:
    """The accuracy and loss after `step` steps on held-out examples; `seconds` is how long the evaluation took."""

    step: int
    examples: int
    accuracy: float
    loss: float
    seconds: float


@dataclass(frozen=True)
class Training:
    """One training of a workload on a device.

    `forward_tokens`: the cost of a step, in tokens that pass forward through the model, at full rows of T.
    """

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
    forward_tokens: Number = NOT_RECORDED

    @property
    def steps(self) -> int:
        """Steps made so far."""
        return self.segments[-1].end if self.segments else 0

    @property
    def seconds(self) -> float:
        """Seconds of all steps on the device."""
        return sum(segment.seconds for segment in self.segments)

    @property
    def disturbed(self) -> bool:
        """Whether it was made with a busy device and an interruption."""
        return self.workload.get(CONDITIONS) == DISTURBED

    def seconds_at(self, step: int) -> float:
        """Returns the seconds of the first `step` steps on the device."""
        each = (seconds for segment in self.segments for seconds, _ in segment.curve)
        return sum(seconds for _, seconds in zip(range(step), each, strict=False))

    def energy_at(self, step: int) -> float | Unavailable:
        """Returns the millijoules of the segments up to `step`, or why they are not all known."""
        total = 0.0
        for segment in self.segments:
            if segment.end > step:
                break
            if isinstance(segment.energy_mj, Unavailable):
                return segment.energy_mj
            total += segment.energy_mj
        return total

    def document(self) -> dict[str, Json]:
        """Returns the training as JSON values: its description, and its curve at each evaluation."""
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
            "forward_tokens": _or_reason(self.forward_tokens),
            "seconds": self.seconds,
            "energy_mj": _or_reason(self.energy_at(self.steps)),
            "peak_memory_kib": _or_reason(Unavailable("no process reported its peak") if peak is None else peak),
            "evaluations": curve,
        }

    @property
    def peak_memory_kib(self) -> int | None:
        """The highest peak memory of its processes."""
        return max((peak for segment in self.segments if (peak := segment.peak_memory_kib) is not None), default=None)


def _or_reason(value: float | Unavailable) -> Json:
    return value.document() if isinstance(value, Unavailable) else value


@dataclass(frozen=True)
class TrainingGroupSummary:
    """One line of the list. ``ways`` are methods with their settings; ``accuracies`` the lowest and the highest
    held-out accuracy at the end of a training, None if none was evaluated after a step; ``outcomes`` counts trainings
    by status. ``stamp`` changes whenever the page's content changes."""

    group_id: str
    started_at: str
    status: str
    command: str
    models: Sequence[str]
    devices: Sequence[str]
    ways: Sequence[str]
    outcomes: Mapping[str, int]
    emulated: bool = False
    accuracies: tuple[float, float] | None = None
    stamp: str = ""


@dataclass(frozen=True)
class TrainingGroup:
    """The content of a group's page: its trainings in the order they were started, and a race for each device with
    several contenders."""

    group_id: str
    started_at: str
    status: str
    command: str
    trainings: Sequence[Training]
    races: Sequence[Race] = ()
    environment: Mapping[str, Json] = field(default_factory=dict)


def way_of(workload: Mapping[str, Json]) -> str:
    """Returns method and setting of a workload: ``prge nf4``."""
    return f"{text(workload, 'method', default='unknown method')} {setting_of(workload)}"


def names_of(workloads: Sequence[Mapping[str, Json]]) -> list[str]:
    """Returns a name for each: ``prge nf4``, and whatever else is not the same in all, such as ``q=4``."""
    others = {key for one in workloads for key in one} - {*_NAMED, *_FIRST}
    keys = (*_FIRST, *sorted(others))
    differing = [key for key in keys if len({str(one.get(key)) for one in workloads}) > 1]
    return [
        " ".join([way_of(one), *(f"{key}={_word(one[key])}" for key in differing if key in one)]) for one in workloads
    ]


def _word(value: Json) -> str:
    return ("on" if value else "off") if isinstance(value, bool) else str(value)


def contender_names(trainings: Sequence[Training]) -> dict[str, str]:
    """Returns the name of each training's contender by the training's id."""
    names = names_of([one.workload for one in trainings])
    return {one.training_id: name for one, name in zip(trainings, names, strict=True)}
