"""Made-up trainings: curves with known costs, and a source with groups of them; one device has a hostile name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from foundation.unavailable import Json, Unavailable
from reports.model.training import Evaluation, Segment, Training, TrainingGroup, TrainingGroupSummary, way_of
from suite.results.race import races
from tests.support.reports.report_fixtures import HOSTILE, FixtureSource

GROUP_ID, EMPTY_ID, ODD_ID = "2026-11-29T10-00-00-aaaa", "2026-11-29T11-00-00-bbbb", "2026-11-29T12-00-00-cccc"
NO_SENSOR = Unavailable("the device has no power sensor that can be read")


def made_up(
    accuracies: Sequence[tuple[int, float]],
    *,
    method: str = "prge",
    quant: str = "fp32",
    seed: int = 7,
    step_s: float = 1.0,
    step_mj: float | None = None,
    device: str = "jetson",
    emulated: bool = False,
    peak_kib: int | None = 200_000,
    status: str = "finished",
    reason: str | None = None,
    note: str | None = None,
    plan: Mapping[str, Any] | None = None,
    workload: Mapping[str, Json] | None = None,
    forward_tokens: float = 2048.0,
) -> Training:
    """A training with an evaluation (step, accuracy) at the end of each segment, steps of `step_s` and `step_mj`."""
    steps = [step for step, _ in accuracies]
    segments = [
        Segment(
            first_step=begin,
            seconds=(end - begin) * step_s,
            load_seconds=0.4,
            energy_mj=NO_SENSOR if step_mj is None else (end - begin) * step_mj,
            peak_memory_kib=peak_kib,
            curve=tuple((step_s, 0.7 * 0.999**step) for step in range(begin, end)),
            note=note if begin == 0 else None,
        )
        for begin, end in zip([0, *steps], steps, strict=False)
        if end > begin
    ]
    described = {"model": "smollm2-135m", "method": method, "quant": quant, "backend": "xnnpack"}
    return Training(
        training_id="-".join(
            [device, method, quant, str(seed), *(f"{key}{own}" for key, own in (workload or {}).items())]
        ),
        group_id=GROUP_ID,
        device=device,
        kind="jetson",
        emulated=emulated,
        workload=described | {"q": 4, "b": 4, "T": 64, "rank": 16} | dict(workload or {}),
        seed=seed,
        plan={"steps": 500, "eval_every": 100, "examples": 400, "schedule": "constant"} | dict(plan or {}),
        started_at="2026-11-29T10:00:00+00:00",
        finished_at="2026-11-29T11:00:00+00:00" if status == "finished" else None,
        status=status,
        reason=reason,
        segments=tuple(segments),
        evaluations=tuple(Evaluation(step, 400, value, 1.2 - value, 3.0) for step, value in accuracies),
        forward_tokens=forward_tokens,
    )


def rising(top: float, pace: float, every: int = 100, steps: int = 500) -> list[tuple[int, float]]:
    """A curve from 0.5 towards `top`."""
    return [(step, round(0.5 + (top - 0.5) * (1 - 2.718 ** (-step / pace)), 4)) for step in range(0, steps + 1, every)]


def lab_trainings() -> list[Training]:
    """A race of four contenders: three seeds on a board with power, one on an emulated board with a hostile name."""
    plan = {"target": 0.7}
    found = []
    for seed in (7, 8, 9):
        shift = 0.01 * (seed - 8)
        for device, emulated, energy in (("jetson", False, 5000.0), (HOSTILE, True, None)):
            for method, quant, top, pace, pause in (
                ("prge", "fp32", 0.86, 150.0, 1.1),
                ("prge", "nf4", 0.83, 190.0, 1.3),
                ("mezo-lora-fa", "fp32", 0.79, 320.0, 0.9),
                ("mezo-lora-fa", "nf4", 0.68, 320.0, 1.0),
            ):
                if emulated and seed != 9:
                    continue
                found.append(
                    made_up(
                        rising(top + shift, pace), method=method, quant=quant, seed=seed, step_s=pause + shift,
                        step_mj=None if energy is None else energy * pause, device=device, emulated=emulated, plan=plan,
                        peak_kib=540_000 if quant == "fp32" else 190_000,
                        note="throttled from step 12 on" if (seed, quant) == (9, "nf4") else None,
                    )
                )  # fmt: skip
    return found


def group_of(group_id: str, trainings: Sequence[Training], status: str = "finished") -> TrainingGroup:
    """Returns the group of these trainings, as the store would."""
    command = "suite race --device jetson --methods prge,mezo-lora-fa --quants fp32,nf4 --target 0.7"
    environment = {"suite": "0.1.0", "host": "lab-3"}
    started_at = f"{group_id[:10]}T{group_id[11:13]}:00:00+00:00"
    return TrainingGroup(group_id, started_at, status, command, trainings, races(trainings), environment)


class TrainingSource(FixtureSource):
    """Trainings without any run: a race, a command without results, and one in which much went wrong."""

    def __init__(self) -> None:
        super().__init__([], {}, {})
        odd = [
            made_up([], status="failed", reason=f"memory: {HOSTILE}", device="pi"),
            made_up([(0, 0.5)], seed=8, status="interrupted", reason="it was interrupted: continue with --resume"),
        ]
        self.groups = {
            GROUP_ID: group_of(GROUP_ID, lab_trainings()),
            EMPTY_ID: group_of(EMPTY_ID, [], "partial"),
            ODD_ID: group_of(ODD_ID, odd, "partial"),
        }

    def training_groups(self) -> list[TrainingGroupSummary]:
        return [summary_of(group) for group in self.groups.values()]

    def training_group(self, group_id: str) -> TrainingGroup:
        return self.groups[group_id]


def summary_of(group: TrainingGroup) -> TrainingGroupSummary:
    """Returns the summary of a group."""
    ends = [one.evaluations[-1].accuracy for one in group.trainings if one.evaluations and one.evaluations[-1].step]
    statuses = [one.status for one in group.trainings]
    return TrainingGroupSummary(
        group_id=group.group_id,
        started_at=group.started_at,
        status=group.status,
        command=group.command,
        models=list(dict.fromkeys(str(one.workload["model"]) for one in group.trainings)),
        devices=list(dict.fromkeys(one.device for one in group.trainings)),
        ways=list(dict.fromkeys(way_of(one.workload) for one in group.trainings)),
        outcomes={word: statuses.count(word) for word in set(statuses)},
        emulated=any(one.emulated for one in group.trainings),
        accuracies=(min(ends), max(ends)) if ends else None,
        stamp=group.group_id,
    )
