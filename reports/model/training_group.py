"""The trainings of one command: devices, methods, settings and seeds, with the race between them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from foundation.unavailable import Json
from reports.model.measurement import setting_of
from reports.model.race import Race
from reports.model.reading import text
from reports.model.training import Training

_NAMED = ("method", "quant")


@dataclass(frozen=True)
class TrainingGroupSummary:
    """One line of the list. ``ways`` are methods with their settings; ``accuracies`` the lowest and the highest
    held-out accuracy at the end of a training, None if none was evaluated after a step; ``outcomes`` counts trainings
    by their status. ``stamp`` changes whenever what the page shows changes."""

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
    """All that the page of a group shows: its trainings in the order they were started, and a race for each device with
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


def contender_names(trainings: Sequence[Training]) -> dict[str, str]:
    """Returns the name of each training's contender by the training's id: ``prge nf4``, and whatever else of the
    workloads is not the same in all of them, such as ``q=4``."""
    keys = dict.fromkeys(key for one in trainings for key in one.workload if key not in _NAMED)
    differing = [key for key in keys if len({str(one.workload.get(key)) for one in trainings}) > 1]
    return {
        one.training_id: " ".join(
            [way_of(one.workload), *(f"{key}={one.workload[key]}" for key in differing if key in one.workload)]
        )
        for one in trainings
    }
