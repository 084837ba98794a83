"""Reaches the verdicts of a night: screens every series, confirms suspects in two steps, judges all series together.

Suspects are measured in pairs: sessions of candidate and baseline take turns on the same device.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from devices.inventory.entry import DeviceEntry
from foundation.unavailable import Unavailable
from reports.model.findings import Finding
from reports.model.measurement import Measurement
from reports.model.quantities import Metric
from suite.errors import ExitCode
from suite.measuring.fleet import measure_fleet
from suite.measuring.recording import RecordedMeasurement
from suite.measuring.run import Run
from suite.nightly.evidence import (
    Baseline,
    KeptProgram,
    ScreenedSeries,
    baseline_of,
    candidates_for,
    device_state,
    is_at_level,
    screen_series,
)
from suite.nightly.gaps import Gap
from suite.planning.plan import RunPlan, describe_workload
from suite.preparing.preparation import Preparation, Prepared
from suite.regression.confirmation import (
    AGAIN_PAIRS,
    CONFIRM_PAIRS,
    FIRST_PAIRS,
    Pair,
    confirm,
    first_look,
    repeat,
)
from suite.regression.segments import StateDifference, state_differences
from suite.regression.verdict import Evidence, Verdict, judge_night
from suite.store.identity import workload_key
from suite.store.nights import provenance_of, series_of_night
from workloads.export.artifact import ArtifactCache

Place = tuple[str, str]
"""Device name and workload key."""


@dataclass(frozen=True)
class ToConfirm:
    """A workload on a device that is measured again, in turn with its baseline."""

    device: str
    prepared: Prepared
    baseline: Baseline | KeptProgram

    @property
    def place(self) -> Place:
        """The device and the workload key."""
        return self.device, workload_key(describe_workload(self.prepared.workload))


@dataclass(frozen=True)
class PairedSessions:
    """Pairs of measurements of single sessions, (baseline, candidate), and why other pairs are missing."""

    sessions: tuple[tuple[Measurement, Measurement], ...]
    reason: str | None

    def of(self, metric: Metric, first: int = 0) -> list[Pair]:
        """Returns the pairs of one metric, without the first `first` ones and those that lack a number."""
        values = [(metric.value(baseline), metric.value(candidate)) for baseline, candidate in self.sessions[first:]]
        return [
            Pair(baseline, candidate)
            for baseline, candidate in values
            if baseline is not None and candidate is not None and _positive(baseline) and _positive(candidate)
        ]


def measure_pairs(
    run: Run,
    entries: Mapping[str, DeviceEntry],
    items: Sequence[ToConfirm],
    pairs: int,
    *,
    fresh_loads: bool = False,
) -> dict[Place, PairedSessions]:
    """Measures until each of `items` has `pairs` pairs in total. Stored sessions are not repeated.

    With `fresh_loads`, each session has a fresh copy of its program.
    """
    if not items:
        return {}
    prepared = tuple(replace(side, fresh_loads=fresh_loads) for item in items for side in _sides(item, pairs))
    again = replace(
        run,
        plan=RunPlan(
            tuple(side.plan for side in prepared if side.role == "candidate"), budget_minutes=run.plan.budget_minutes
        ),
        preparation=Preparation(prepared, weights_source=run.preparation.weights_source),
    )
    by_place: dict[Place, dict[str, RecordedMeasurement]] = {}
    for recorded in measure_fleet(again, [entries[name] for name in again.plan.devices]):
        place = (recorded.measurement.device, workload_key(recorded.measurement.workload))
        by_place.setdefault(place, {})[recorded.role] = recorded
    return {place: _pair_sessions(sides["baseline"], sides["candidate"]) for place, sides in by_place.items()}


def _sides(item: ToConfirm, pairs: int) -> tuple[Prepared, Prepared]:
    """Returns baseline and candidate, which are measured in this order and then in reverse: A B B A."""
    plan = replace(item.prepared.plan, devices=(item.device,), quants=(item.prepared.workload.quant,), sessions=pairs)
    candidate = replace(item.prepared, plan=plan, role="candidate")
    baseline = replace(candidate, role="baseline", artifact=item.baseline.artifact, runner=item.baseline.runner)
    return baseline, candidate


def _pair_sessions(baseline: RecordedMeasurement, candidate: RecordedMeasurement) -> PairedSessions:
    before, after = baseline.by_session, candidate.by_session
    both = sorted(set(before) & set(after))
    reasons = [
        f"the {side.role}: {side.measurement.reason}" for side in (baseline, candidate) if side.measurement.reason
    ]
    return PairedSessions(tuple((before[ordinal], after[ordinal]) for ordinal in both), "; ".join(reasons) or None)


def _positive(value: float) -> bool:
    return math.isfinite(value) and value > 0


@dataclass(frozen=True)
class JudgedSeries:
    """A series with a point tonight, and the verdict on it."""

    screened: ScreenedSeries
    verdict: Verdict


def judge(
    run: Run, entries: Mapping[str, DeviceEntry], confirming: type[Confirming] | None = None
) -> list[JudgedSeries]:
    """Returns the verdict on every series with a point tonight. Measures suspects again, which may take hours.

    Stored sessions are not repeated. `confirming` replaces the measurements on devices. Raises what measuring raises
    (StoreError, KeyboardInterrupt).
    """
    found = [screen_series(series) for series in series_of_night(run.store, run.run_id)]
    suspects: dict[Place, list[ScreenedSeries]] = {}
    for item in found:
        if item.is_suspect:
            suspects.setdefault((item.series.device, item.series.workload_key), []).append(item)
    if suspects:
        count = sum(map(len, suspects.values()))
        run.display.note(
            f"{count} of {len(found)} series are suspects: measuring them again in turn with their baselines"
        )
    evidence = {id(item): Evidence(item.series.name, item.screening, item.drift) for item in found}
    (confirming or Confirming)(run, entries, evidence).carry_out(suspects)
    verdicts = judge_night([evidence[id(item)] for item in found])
    return [JudgedSeries(item, verdict) for item, verdict in zip(found, verdicts, strict=True)]


@dataclass(frozen=True)
class Confirming:
    """Measures suspects again and adds to `evidence` (keyed by the identity of the series)."""

    run: Run
    entries: Mapping[str, DeviceEntry]
    evidence: dict[int, Evidence]

    def carry_out(self, suspects: Mapping[Place, Sequence[ScreenedSeries]]) -> None:
        """Takes a first look at all suspects, then confirms those that are worth it."""
        chosen = [item for place, items in suspects.items() if (item := self.choose(place, items)) is not None]
        first = self.measure(chosen, FIRST_PAIRS)
        going_on = []
        for item in chosen:
            for suspect in suspects[item.place]:
                self._look(suspect, first[item.place])
            if any(self._is_promising(suspect) for suspect in suspects[item.place]):
                going_on.append(item)
        second = self.measure(going_on, FIRST_PAIRS + CONFIRM_PAIRS)
        found = []
        for item in going_on:
            for suspect in suspects[item.place]:
                if self._is_promising(suspect):
                    self._confirm(suspect, second[item.place])
            if any(self._is_found(suspect) for suspect in suspects[item.place]):
                found.append(item)
        every = FIRST_PAIRS + CONFIRM_PAIRS + AGAIN_PAIRS
        third = self.measure(found, every, fresh_loads=True)
        for item in found:
            for suspect in suspects[item.place]:
                if self._is_found(suspect):
                    self._repeat(suspect, third[item.place])

    def measure(
        self, items: Sequence[ToConfirm], pairs: int, *, fresh_loads: bool = False
    ) -> dict[Place, PairedSessions]:
        """Returns pairs of each workload, `pairs` in total (see `measure_pairs`)."""
        return measure_pairs(self.run, self.entries, items, pairs, fresh_loads=fresh_loads)

    def choose(self, place: Place, suspects: Sequence[ScreenedSeries]) -> ToConfirm | None:
        """Returns what to measure for the suspects of a workload, or notes the obstacle and returns None."""
        prepared = _find_prepared(self.run.preparation.prepared, place)
        if prepared is None:
            self._obstruct(suspects, "its workload is no longer part of this plan")
            return None
        candidates = candidates_for(suspects)
        tonight_id = suspects[0].series.tonight.measurement_id
        facts = provenance_of(self.run.store, [*candidates, tonight_id])
        tonight = facts[tonight_id]
        cache = ArtifactCache(self.run.home.artifacts)
        baseline = baseline_of(candidates, facts, tonight.runner_hash, cache, self.run.home.runner)
        if isinstance(baseline, str):
            self._obstruct(suspects, baseline)
            return None
        differences = state_differences(device_state(baseline.provenance), device_state(tonight))
        self.note_baseline(suspects, baseline, differences)
        # If the device is in another state, no session can tell the code's effect from the state's.
        return None if differences else ToConfirm(place[0], prepared, baseline)

    def note_baseline(
        self, suspects: Sequence[ScreenedSeries], baseline: Baseline, differences: tuple[StateDifference, ...]
    ) -> None:
        """Adds the baseline of a workload's suspects to the evidence."""
        made = baseline.provenance.measurement_id
        for suspect in suspects:
            self.evidence[id(suspect)] = replace(
                self.evidence[id(suspect)],
                baseline_measurement=made,
                baseline_at_level=is_at_level(suspect, made),
                state_differences=differences,
            )

    def _look(self, suspect: ScreenedSeries, paired: PairedSessions) -> None:
        known, pairs = self.evidence[id(suspect)], paired.of(suspect.metric)
        if known.side is None:
            return
        if len(pairs) < FIRST_PAIRS:
            self._obstruct([suspect], _too_few(len(pairs), FIRST_PAIRS, paired))
            return
        look = first_look(pairs[:FIRST_PAIRS], suspect.metric.direction, known.side, suspect.metric.floor)
        self.evidence[id(suspect)] = replace(known, first_look=look)

    def _is_promising(self, suspect: ScreenedSeries) -> bool:
        look = self.evidence[id(suspect)].first_look
        return look is not None and look.go_on

    def _confirm(self, suspect: ScreenedSeries, paired: PairedSessions) -> None:
        known, pairs = self.evidence[id(suspect)], paired.of(suspect.metric, FIRST_PAIRS)[:CONFIRM_PAIRS]
        if known.side is None:
            return
        if len(pairs) < CONFIRM_PAIRS:
            self._obstruct([suspect], _too_few(len(pairs), CONFIRM_PAIRS, paired))
            return
        found = confirm(pairs, suspect.metric.direction, known.side, suspect.metric.floor)
        self.evidence[id(suspect)] = replace(known, confirmation=found)

    def _is_found(self, suspect: ScreenedSeries) -> bool:
        found = self.evidence[id(suspect)].confirmation
        return found is not None and found.go_on

    def _repeat(self, suspect: ScreenedSeries, paired: PairedSessions) -> None:
        known = self.evidence[id(suspect)]
        pairs = paired.of(suspect.metric, FIRST_PAIRS + CONFIRM_PAIRS)
        if known.confirmation is None:
            return
        if len(pairs) < AGAIN_PAIRS:
            self._obstruct([suspect], _too_few(len(pairs), AGAIN_PAIRS, paired))
            return
        found = repeat(known.confirmation, pairs, suspect.metric.direction, suspect.metric.floor)
        self.evidence[id(suspect)] = replace(known, repeat=found)

    def _obstruct(self, suspects: Sequence[ScreenedSeries], why: str) -> None:
        for suspect in suspects:
            self.evidence[id(suspect)] = replace(self.evidence[id(suspect)], obstacle=why)


def _find_prepared(prepared: Sequence[Prepared], place: Place) -> Prepared | None:
    device, key = place
    return next(
        (
            item
            for item in prepared
            if device in item.plan.devices and workload_key(describe_workload(item.workload)) == key
        ),
        None,
    )


def _too_few(found: int, needed: int, paired: PairedSessions) -> str:
    why = f" ({paired.reason})" if paired.reason else ""
    return f"only {found} of {needed} pairs of sessions are valid{why}"


@dataclass(frozen=True)
class Night:
    """The result of a night. `commands` repeat the measurement behind a verdict, by device and workload key."""

    run_id: str
    series: tuple[JudgedSeries, ...]
    measurements: tuple[Measurement, ...]
    commands: Mapping[tuple[str, str], str]
    report: str | Unavailable
    gaps: tuple[Gap, ...] = ()
    findings: tuple[Finding, ...] = ()

    def of(self, verdict: str) -> list[JudgedSeries]:
        """Returns the series with this verdict, largest change first."""
        found = [item for item in self.series if item.verdict.verdict == verdict]
        return sorted(found, key=lambda item: -abs(_size_of_change(item)))

    @property
    def errors(self) -> list[Measurement]:
        """Measurements without numbers: errors, which are never verdicts."""
        return [item for item in self.measurements if item.status not in ("ok", "unstable", "unsupported")]

    @property
    def exit_code(self) -> int:
        """3 if something regressed, 4 if something is inconclusive or failed, else 0. Muted findings don't count."""
        if self._counting("regressed"):
            return ExitCode.REGRESSION
        muted = {board for one in self.findings if one.muted and not one.sizes for board in one.devices}
        failed = [item for item in self.errors if item.device not in muted]
        return ExitCode.INCOMPLETE if self._counting("inconclusive") or failed else ExitCode.OK

    def finding_of(self, item: JudgedSeries) -> Finding | None:
        """Returns the finding that a series is part of, if any."""
        series = item.screened.series
        return self._by_series.get((series.device, series.workload_key, series.metric))

    @cached_property
    def _by_series(self) -> Mapping[tuple[str, str, str], Finding]:
        return {
            (member.device, member.workload_key, member.metric): one
            for one in self.findings
            if one.seen and one.state != "fixed"
            for member in one.members
        }

    def _counting(self, verdict: str) -> list[JudgedSeries]:
        found = [(item, self.finding_of(item)) for item in self.of(verdict)]
        return [item for item, finding in found if finding is None or not finding.muted]

    def command(self, item: JudgedSeries) -> str:
        """Returns the command that measures the series again."""
        return self.commands.get((item.screened.series.device, item.screened.series.workload_key), "")


def _size_of_change(item: JudgedSeries) -> float:
    numbers = item.verdict.numbers
    return numbers["ratio"] - 1 if "ratio" in numbers else numbers.get("change", 0.0)
