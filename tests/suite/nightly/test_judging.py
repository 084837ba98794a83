"""A night's suspects: which are measured again, with how many pairs, and what is said where that cannot be."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from devices.checks.facts import read_facts
from devices.sensors.reading import Tree
from devices.transports.local.transport import LocalTransport
from reports.model.measurement import Measurement
from suite.nightly import judging
from suite.nightly.evidence import Baseline
from suite.nightly.judging import PairedSessions
from suite.regression.confirmation import AGAIN_PAIRS, CONFIRM_PAIRS, FIRST_PAIRS
from suite.store.nights import Provenance
from suite.store.nights import provenance_of as stored_facts
from tests.support.suite.nights_made import DEVICE, KEY, history, tonight_of
from tests.support.suite.stored_run import begin

BEFORE = FIRST_PAIRS + CONFIRM_PAIRS
ALL = BEFORE + AGAIN_PAIRS


def pair(latency: float, power: float = 1.0, baseline: float = 100.0) -> tuple[Measurement, Measurement]:
    """Measurements of a baseline's and a candidate's session; `latency` and `power` are the ratios of the two."""
    before, after = (
        Measurement.from_document({"latency_ms": {"median": baseline * a}, "power_mw": {"mean": baseline * b}})
        for a, b in ((1.0, 1.0), (latency, power))
    )
    return before, after


class Bench:
    """A night of two suspects of one workload, whose pairs are given."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.latency = tonight_of(history(), 106.0)
        self.power = tonight_of(history(), 106.0, "power_mw")
        self.sessions = [pair(1.06)] * ALL
        self.reason: str | None = None
        self.requests: list[tuple[int, int]] = []
        self.devices: tuple[str, ...] = (DEVICE,)
        self.baseline: Baseline | str = Baseline(self.made(1), SimpleNamespace(hash="old"), None)  # type: ignore[arg-type]
        self.facts = {1000: self.made(1000)}
        monkeypatch.setattr(judging, "series_of_night", lambda *_: [self.latency.series, self.power.series])
        monkeypatch.setattr(judging, "provenance_of", lambda *_: self.facts)
        monkeypatch.setattr(judging, "baseline_of", lambda *_: self.baseline)
        monkeypatch.setattr(judging, "measure_pairs", self.measure)
        monkeypatch.setattr(judging, "describe_workload", lambda workload: workload)
        monkeypatch.setattr(judging, "workload_key", lambda workload: KEY)
        monkeypatch.setattr("suite.nightly.judging.describe_workload", lambda workload: workload)
        monkeypatch.setattr("suite.nightly.judging.workload_key", lambda workload: KEY)

    @staticmethod
    def made(number: int, **document: Any) -> Provenance:
        return Provenance(number, "program", "runner", Measurement.from_document(document), {})

    def measure(
        self, _run: Any, _entries: Any, items: Any, pairs: int, *, fresh_loads: bool = False
    ) -> dict[Any, PairedSessions]:
        assert fresh_loads is (pairs > BEFORE)
        self.requests.append((len(items), pairs))
        return {item.place: PairedSessions(tuple(self.sessions[:pairs]), self.reason) for item in items}

    def verdicts(self) -> dict[str, Any]:
        prepared = SimpleNamespace(plan=SimpleNamespace(devices=self.devices), workload={})
        run = SimpleNamespace(
            store=None, run_id="r", display=SimpleNamespace(note=lambda _: None),
            preparation=SimpleNamespace(prepared=[prepared]), home=SimpleNamespace(artifacts=None, runner=None),
        )  # fmt: skip
        return {item.screened.metric.name: item.verdict for item in judging.judge(run, {})}  # type: ignore[arg-type]


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.setattr(judging, "ArtifactCache", lambda root: root)
    return Bench(monkeypatch)


def test_suspects_of_one_workload_share_their_pairs_and_each_is_judged_by_its_own_numbers(bench):
    found = bench.verdicts()
    assert bench.requests == [(1, FIRST_PAIRS), (1, BEFORE), (1, ALL)]
    assert (found["latency_ms"].verdict, found["latency_ms"].cause) == ("regressed", "code")
    assert (found["power_mw"].verdict, found["power_mw"].cause) == ("unchanged", "noise")
    assert "pairs" not in found["power_mw"].inputs  # the first look cleared it


def test_the_confirmation_takes_none_of_the_first_looks_pairs(bench):
    bench.sessions = [pair(1.30)] * FIRST_PAIRS + [pair(1.06)] * (CONFIRM_PAIRS + AGAIN_PAIRS)
    found = bench.verdicts()["latency_ms"]
    assert found.numbers["ratio"] == pytest.approx(1.06)
    assert (len(found.inputs["first_pairs"]), len(found.inputs["pairs"])) == (FIRST_PAIRS, CONFIRM_PAIRS)
    assert len(found.inputs["pairs_again"]) == AGAIN_PAIRS
    assert found.inputs["first_pairs"][0] == [100.0, pytest.approx(130.0)]


def test_a_change_that_other_loads_of_the_same_programs_do_not_show_is_noise(bench):
    bench.sessions = [pair(1.06)] * BEFORE + [pair(1.001)] * AGAIN_PAIRS
    found = bench.verdicts()["latency_ms"]
    assert (found.verdict, found.cause) == ("unchanged", "noise")
    assert "with fresh copies it is +0.1 %, but only 2.5% or more count" in found.sentence


def test_a_confirmation_that_could_not_be_repeated_is_inconclusive(bench):
    bench.sessions, bench.reason = [pair(1.06)] * (ALL - 1), "the candidate: no room for a copy"
    found = bench.verdicts()["latency_ms"]
    assert found.verdict == "inconclusive"
    assert "only 19 of 20 pairs of sessions are valid (the candidate: no room for a copy)" in found.sentence


def test_a_baseline_that_was_slow_in_its_own_night_says_nothing_of_the_device(bench):
    slow = [*history()]
    slow[6] = replace(slow[6], value=106.0)
    bench.latency = tonight_of(slow, 106.0)
    bench.baseline = replace(bench.baseline, provenance=bench.made(7))
    bench.sessions = [pair(1.0, baseline=106.0)] * ALL
    assert bench.verdicts()["latency_ms"].cause == "noise"
    bench.baseline = replace(bench.baseline, provenance=bench.made(8))
    assert bench.verdicts()["latency_ms"].cause == "device"


def test_pairs_of_a_night_that_was_broken_off_do_not_enter_its_first_look(bench, monkeypatch):
    whole = PairedSessions(tuple([pair(1.0)] * FIRST_PAIRS + [pair(1.3)] * CONFIRM_PAIRS), None)
    monkeypatch.setattr(
        judging, "measure_pairs", lambda _run, _entries, items, _pairs, **_: {i.place: whole for i in items}
    )
    found = bench.verdicts()["latency_ms"]
    assert (found.verdict, len(found.inputs["first_pairs"])) == ("unchanged", FIRST_PAIRS)


def test_nothing_is_measured_again_when_no_series_is_a_suspect(bench):
    bench.latency, bench.power = tonight_of(history(), 100.0), tonight_of(history(), 100.0, "power_mw")
    assert {found.verdict for found in bench.verdicts().values()} == {"unchanged"}
    assert all(items == 0 for items, _ in bench.requests)


def test_a_device_in_another_state_than_its_baseline_is_not_measured_again(bench):
    bench.facts = {1000: bench.made(1000, temperature_c={"start": 60.0})}
    bench.baseline = replace(bench.baseline, provenance=bench.made(1, temperature_c={"start": 40.0}))
    found = bench.verdicts()
    assert {verdict.verdict for verdict in found.values()} == {"inconclusive"}
    assert "temperature was 40.0 degC and is 60.0 degC" in found["latency_ms"].sentence
    assert all(items == 0 for items, _ in bench.requests)


def stored_with_charge(folder: Path, percent: int, charger: str = "0") -> Provenance:
    """What the store has of a measurement on a phone whose kernel says `percent`, and of its charger `charger`."""
    supplies = {"battery": {"type": "Battery", "capacity": str(percent)}, "usb": {"type": "USB", "online": charger}}
    for name, files in supplies.items():
        (folder / "sys/class/power_supply" / name).mkdir(parents=True, exist_ok=True)
        for file, text in files.items():
            (folder / "sys/class/power_supply" / name / file).write_text(f"{text}\n")
    begun = begin(folder / "store.sqlite")
    facts = read_facts(Tree(LocalTransport(), str(folder))).as_document()
    begun.store.record_device_state(begun.run_id, begun.device_id, "Android 14", facts)
    found = stored_facts(begun.store, [begun.measurement_id])[begun.measurement_id]
    begun.store.close()
    return found


@pytest.mark.parametrize(
    ("tonight", "charger", "difference"),
    [(60, "0", "battery was 90 % and is 60 %"), (90, "1", "charging was off and is on"), (75, "0", None)],
)
def test_a_battery_charged_otherwise_than_at_the_baseline_makes_a_suspect_inconclusive(
    bench, tmp_path, tonight, charger, difference
):
    bench.baseline = replace(bench.baseline, provenance=stored_with_charge(tmp_path, 90))
    bench.facts = {1000: stored_with_charge(tmp_path, tonight, charger)}
    found = bench.verdicts()["latency_ms"]
    assert found.verdict == ("inconclusive" if difference else "regressed")
    assert (difference or "") in found.sentence


def test_a_suspect_without_a_baseline_is_inconclusive_and_says_why(bench):
    bench.baseline = "no earlier night can be the baseline"
    found = bench.verdicts()
    assert {verdict.verdict for verdict in found.values()} == {"inconclusive"}
    assert found["power_mw"].sentence.endswith("Not confirmed: no earlier night can be the baseline.")


def test_a_suspect_that_is_no_part_of_the_plan_is_inconclusive(bench):
    bench.devices = ("another",)
    assert "its workload is no longer part of this plan" in bench.verdicts()["latency_ms"].sentence


@pytest.mark.parametrize(
    ("missing", "words"),
    [
        (CONFIRM_PAIRS + AGAIN_PAIRS + 1, "only 2 of 3 pairs of sessions are valid (the baseline: it was lost)"),
        (AGAIN_PAIRS + 1, "only 9 of 10 pairs of sessions are valid (the baseline: it was lost)"),
    ],
)
def test_a_suspect_with_too_few_valid_pairs_is_inconclusive_and_counts_them(bench, missing, words):
    bench.sessions, bench.reason = bench.sessions[:-missing], "the baseline: it was lost"
    found = bench.verdicts()["latency_ms"]
    assert (found.verdict, found.cause) == ("inconclusive", "unknown")
    assert words in found.sentence


@pytest.mark.parametrize(
    ("ratio", "verdict", "confirmed"),
    [(1.04, "unchanged", False), (1.08, "unchanged", True), (1.15, "regressed", True)],
)
def test_a_metrics_own_floor_holds_for_its_pairs_too(bench, ratio, verdict, confirmed):
    bench.latency = tonight_of(history(), 120.0, "load_ms")
    documents = [{"load_ms": {"median": 100.0 * a}, "power_mw": {"mean": 1.0}} for a in (1.0, ratio)]
    bench.sessions = [tuple(Measurement.from_document(document) for document in documents)] * ALL
    found = bench.verdicts()["load_ms"]
    assert (found.verdict, "pairs" in found.inputs) == (verdict, confirmed)


def test_a_pair_without_a_metrics_number_is_no_pair_of_that_metric():
    no_rail = {"latency_ms": {"median": 1.0}, "power_mw": {"unavailable": "no rail"}}
    no_time = {"latency_ms": {"median": 0.0}, "power_mw": {"mean": 2.0}}
    lacking, zero = ((Measurement.from_document(document), pair(1.0)[1]) for document in (no_rail, no_time))
    paired = PairedSessions((pair(1.1), lacking, zero, pair(1.2)), None)
    latency, power = (tonight_of(history(), 100.0, name).metric for name in ("latency_ms", "power_mw"))
    assert [one.candidate for one in paired.of(latency)] == pytest.approx([110.0, 100.0, 120.0])
    assert [one.baseline for one in paired.of(power)] == [100.0, 2.0, 100.0]
    assert len(paired.of(latency, 1)) == 2


@pytest.mark.parametrize("side", ["latency_ms", "power_mw"])
def test_pairs_go_on_as_soon_as_one_suspect_of_the_workload_asks_for_them(bench, side):
    bench.sessions = [pair(1.06, 1.0) if side == "latency_ms" else pair(1.0, 1.06)] * ALL
    assert {name: found.verdict for name, found in bench.verdicts().items()} == {
        "latency_ms": "regressed" if side == "latency_ms" else "unchanged",
        "power_mw": "regressed" if side == "power_mw" else "unchanged",
    }
