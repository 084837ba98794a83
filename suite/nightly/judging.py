"""The verdicts of a night: screen every series, measure suspects again in two steps, judge all of them together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from devices.entry import DeviceEntry
from suite.campaign import Run
from suite.nightly.baselines import baseline_of, candidates_for
from suite.nightly.evidence import Screened, device_state, screened
from suite.nightly.pairs import PairedSessions, Place, ToConfirm, measure_pairs
from suite.plan import described
from suite.preparation import Prepared
from suite.regression.confirmation import CONFIRM_PAIRS, confirm
from suite.regression.device_state import state_differences
from suite.regression.first_look import FIRST_PAIRS, first_look
from suite.regression.verdict import Evidence, Verdict, judge_night
from suite.store.identity import workload_key
from suite.store.nights import measured_with, series_of_night
from workloads.artifact import ArtifactCache


@dataclass(frozen=True)
class Judged:
    """A series of tonight and the verdict on it."""

    screened: Screened
    verdict: Verdict


def judge(run: Run, entries: Mapping[str, DeviceEntry]) -> list[Judged]:
    """The verdicts on every series that has a point tonight; measures suspects again, which may take hours.

    Raises what measuring raises (StoreError, KeyboardInterrupt); sessions so far are stored and not repeated.
    """
    found = [screened(series) for series in series_of_night(run.store, run.run_id)]
    suspects: dict[Place, list[Screened]] = {}
    for item in found:
        if item.is_suspect:
            suspects.setdefault((item.series.device, item.series.workload_key), []).append(item)
    if suspects:
        count = sum(map(len, suspects.values()))
        run.display.note(f"{count} of {len(found)} series are suspects: measuring them again beside their baseline")
    evidence = {id(item): Evidence(item.series.name, item.screening, item.drift) for item in found}
    _Confirming(run, entries, evidence).carry_out(suspects)
    verdicts = judge_night([evidence[id(item)] for item in found])
    return [Judged(item, verdict) for item, verdict in zip(found, verdicts, strict=True)]


@dataclass(frozen=True)
class _Confirming:
    """Measuring suspects again; `evidence` (by the identity of its series) grows meanwhile."""

    run: Run
    entries: Mapping[str, DeviceEntry]
    evidence: dict[int, Evidence]

    def carry_out(self, suspects: Mapping[Place, Sequence[Screened]]) -> None:
        """The first look at all suspects, then the confirmation of those that are worth it."""
        chosen = [item for place, items in suspects.items() if (item := self._chosen(place, items)) is not None]
        first = measure_pairs(self.run, self.entries, chosen, FIRST_PAIRS)
        going_on = []
        for item in chosen:
            for suspect in suspects[item.place]:
                self._look(suspect, first[item.place])
            if any(self._goes_on(suspect) for suspect in suspects[item.place]):
                going_on.append(item)
        second = measure_pairs(self.run, self.entries, going_on, FIRST_PAIRS + CONFIRM_PAIRS)
        for item in going_on:
            for suspect in suspects[item.place]:
                if self._goes_on(suspect):
                    self._confirm(suspect, second[item.place])

    def _chosen(self, place: Place, suspects: Sequence[Screened]) -> ToConfirm | None:
        """What to measure for the suspects of one workload; None, with the obstacle noted, when that can't be."""
        prepared = _prepared_at(self.run.preparation.prepared, place)
        if prepared is None:
            self._obstruct(suspects, "its workload is no part of this plan any more")
            return None
        candidates = candidates_for(suspects)
        tonight_id = suspects[0].series.tonight.measurement_id
        facts = measured_with(self.run.store, [*candidates, tonight_id])
        tonight = facts[tonight_id]
        cache = ArtifactCache(self.run.home.artifacts)
        baseline = baseline_of(candidates, facts, tonight.runner_hash, cache, self.run.home.runner)
        if isinstance(baseline, str):
            self._obstruct(suspects, baseline)
            return None
        differences = state_differences(device_state(baseline.measured), device_state(tonight))
        if differences:  # no session could tell the code from that
            for suspect in suspects:
                known = self.evidence[id(suspect)]
                self.evidence[id(suspect)] = replace(known, state_differences=differences)
            return None
        return ToConfirm(place[0], prepared, baseline)

    def _look(self, suspect: Screened, paired: PairedSessions) -> None:
        known, pairs = self.evidence[id(suspect)], paired.of(suspect.metric)
        if known.side is None:
            return
        if len(pairs) < FIRST_PAIRS:
            self._obstruct([suspect], _too_few(len(pairs), FIRST_PAIRS, paired))
            return
        look = first_look(pairs[:FIRST_PAIRS], suspect.metric.direction, known.side, suspect.metric.floor)
        self.evidence[id(suspect)] = replace(known, first_look=look)

    def _goes_on(self, suspect: Screened) -> bool:
        look = self.evidence[id(suspect)].first_look
        return look is not None and look.go_on

    def _confirm(self, suspect: Screened, paired: PairedSessions) -> None:
        known, pairs = self.evidence[id(suspect)], paired.of(suspect.metric, FIRST_PAIRS)
        if known.side is None:
            return
        if len(pairs) < CONFIRM_PAIRS:
            self._obstruct([suspect], _too_few(len(pairs), CONFIRM_PAIRS, paired))
            return
        found = confirm(pairs, suspect.metric.direction, known.side, suspect.metric.floor)
        self.evidence[id(suspect)] = replace(known, confirmation=found)

    def _obstruct(self, suspects: Sequence[Screened], why: str) -> None:
        for suspect in suspects:
            self.evidence[id(suspect)] = replace(self.evidence[id(suspect)], obstacle=why)


def _prepared_at(prepared: Sequence[Prepared], place: Place) -> Prepared | None:
    device, key = place
    return next(
        (item for item in prepared if device in item.plan.devices and workload_key(described(item.workload)) == key),
        None,
    )


def _too_few(found: int, needed: int, paired: PairedSessions) -> str:
    why = f" ({paired.reason})" if paired.reason else ""
    return f"only {found} of {needed} pairs of sessions are valid{why}"
