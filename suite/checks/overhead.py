"""The cost of sampling: sessions with and without the sampler in turn, and the ratio of their step times."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from devices.access.connect import connect
from devices.inventory.entry import DeviceEntry
from devices.sensors.spec import Discovery
from foundation.unavailable import Unavailable
from suite import stats
from suite.display import Display
from suite.errors import SuiteError
from suite.home import Home
from suite.measuring.deployment import deploy_program, deploy_runner
from suite.measuring.orchestrate import prepare_host
from suite.measuring.sensor_plan import sensor_plan
from suite.measuring.session import SessionOrder, run_session
from suite.planning.plan import Plan, RunPlan, interleaved
from suite.rounding import format_rounded
from suite.sessions.validity import SessionStatus


@dataclass(frozen=True)
class Overhead:
    """Session medians with and without the sampler, ms, by round, and by how many percent it lengthens a step."""

    with_sampler_ms: tuple[float, ...]
    without_sampler_ms: tuple[float, ...]
    percent: float
    ci95_percent: tuple[float, float] | None

    def __str__(self) -> str:
        interval = (
            ""
            if self.ci95_percent is None
            else f" (95 %: {self.ci95_percent[0]:+.2f} to {self.ci95_percent[1]:+.2f} %)"
        )
        return (
            f"sampler overhead {self.percent:+.2f} %{interval}: "
            f"{format_rounded(stats.median(self.with_sampler_ms))} ms a step with, "
            f"{format_rounded(stats.median(self.without_sampler_ms))} ms without, "
            f"{len(self.with_sampler_ms)} sessions each"
        )


def sampler_overhead(plan: Plan, entry: DeviceEntry, home: Home, display: Display) -> Overhead:
    """Runs `plan.sessions` sessions of each kind in turn (A B B A ...).

    Raises SuiteError if a session is not valid, DeviceError if the device fails, and what `prepare_host` raises.
    """
    preparation, runners = prepare_host(RunPlan((plan,)), [entry], home, display)
    (prepared,) = preparation.prepared
    medians: dict[bool, list[float]] = {True: [], False: []}
    with connect(entry, home.locks) as device:
        chosen = runners.for_device(device, device.facts().machine, display.note)
        deploy_runner(device, chosen)
        deploy_program(device, prepared.artifact)
        for ordinal in range(plan.sessions):
            for sampled in (bool(index) for index in interleaved(2, ordinal)):
                found = device.sensors() if sampled else Discovery()
                name = f"overhead-{uuid.uuid4().hex[:12]}"
                log = home.session_log("overhead", name)
                order = SessionOrder(name, prepared, chosen, log)
                label = f"{'with' if sampled else 'without'} sampler {ordinal + 1}/{plan.sessions}"
                with display.steps(label, plan.steps) as on_step:
                    record, validity = run_session(device, order, found.sensors, sensor_plan(found), on_step)
                if validity.status is not SessionStatus.OK:
                    raise SuiteError(f"A session {label} is {validity.status}: {validity.reason}; run it again.")
                medians[sampled].append(stats.median(record.latencies_ms))
                display.note(f"{label}: {format_rounded(medians[sampled][-1])} ms a step")
    return compare_step_times(medians[True], medians[False])


def compare_step_times(sampled: Sequence[float], bare: Sequence[float]) -> Overhead:
    """Returns the median over rounds of each round's ratio, with the t interval of its logarithm.

    The two sessions of a round ran one after the other, so drift between rounds, which may be far larger than what the
    sampler costs, is the same in both and leaves their ratio.
    """
    ratios = [with_ms / without_ms for with_ms, without_ms in zip(sampled, bare, strict=True)]
    interval = stats.session_interval(ratios)
    bounds = None if isinstance(interval, Unavailable) else (_percent(interval.low), _percent(interval.high))
    return Overhead(tuple(sampled), tuple(bare), _percent(stats.median(ratios)), bounds)


def _percent(ratio: float) -> float:
    return 100 * (ratio - 1)
