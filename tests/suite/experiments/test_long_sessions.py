"""Answers of experiments that take one long session, or one run in each power mode, from what was kept of them."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest

from foundation.errors import UserError
from foundation.unavailable import Unavailable
from reports.model.experiment import Experiment, Part
from suite.endurance.modes import ModeRun, ModesTaken
from suite.endurance.session import LongSession, keep_long_session, read_long_session
from suite.experiments.answers import memory, power_modes, sustained
from suite.experiments.material import Material
from suite.home import Home
from suite.sessions.record import SensorTrace
from tests.support.suite import recorded_session as recorded

SESSION = "made-fp32"
FREQUENCY = {"cpu-frequency.policy0": "frequency_khz", "zone": "temperature_mc", "VDD_IN": "power_mw"}
NO_POWER = {"power": "no sensor that can be read measures the whole device", "cpu-frequency": "no cpufreq policy"}


@pytest.fixture
def home(tmp_path):
    return Home(tmp_path)


def material(home, name, part="session"):
    parts = tuple(Part(f"{part}, local, {quant}", "own", "finished", f"made-{quant}") for quant in ("fp32", "nf4"))
    experiment = Experiment(
        "e", name, "?", True, ("local",), None, ("suite", "experiment"), "2026-11-30T10:00:00+00:00", "running", parts
    )
    return Material(experiment, None, home)  # type: ignore[arg-type]


def keep(home, lines, quantities=None, **facts):
    """Keeps a session of these lines in the home as that in fp32."""
    record = recorded.collect(SESSION, lines, recorded.ProcessEnd(rc=0), quantities or {})
    assert record.complete, record.sentence
    given = {"throttled": None, "energy_sensors": (), "unavailable": NO_POWER} | facts
    session = LongSession(
        record, "local", {"quant": "fp32"}, 16, given["throttled"], given["energy_sensors"], {}, given["unavailable"]
    )
    (home.long_session_folder(SESSION) / "session.jsonl").write_text("\n".join(lines))
    keep_long_session(session, home, SESSION)
    return session


def memory_lines(count=400, each_kib=0.0, allocations=0):
    """Lines of steps that leak so much each, with a reading after every fourth."""
    lines = [recorded.header(SESSION), recorded.load()]
    for index in range(count):
        phase = "warm_up" if index < 10 else "measured"
        lines.append(recorded.step(index, phase, allocations=allocations, allocated_bytes=64 * allocations))
        if index % 4 == 0:
            grown = int(each_kib * index)
            lines.append(recorded.memory(index, rss_kib=90_000 + grown, heap_used_kib=10_000 + grown))
    return recorded.text([*lines, recorded.footer()])


def test_a_session_is_read_as_it_was_kept(home):
    kept = keep(home, memory_lines())
    assert read_long_session(SESSION, home) == kept


def test_a_meters_trace_is_kept_beside_the_lines(home):
    session = keep(home, memory_lines())
    meter = SensorTrace("meter", "power_mw", (1, 2), (3.0, 4.0), 0.5)
    record = recorded.collect(SESSION, memory_lines(), recorded.ProcessEnd(rc=0), {})
    session = LongSession(with_trace(record, meter), "local", session.workload, 16, None, ("meter",), {}, {})
    keep_long_session(session, home, SESSION)
    assert read_long_session(SESSION, home) == session


def with_trace(record, trace):
    return replace(record, samples={**record.samples, trace.sensor: trace})


@pytest.mark.parametrize("text", ["", "[]", '{"schema": 1}', '{"schema": 2}', "\xff"])
def test_a_damaged_session_is_named(home, text):
    keep(home, memory_lines())
    (home.long_session_folder(SESSION) / "session.json").write_text(text, encoding="latin-1")
    with pytest.raises(UserError, match="can't be read"):
        read_long_session(SESSION, home)


def only_fp32(found):
    return replace(found, experiment=replace(found.experiment, parts=found.experiment.parts[:1]))


def test_memory_that_rests_is_one_sentence_with_its_figures(home):
    keep(home, memory_lines())
    answer = memory.answer(only_fp32(material(home, "memory")), "local")
    assert answer.sentence.startswith("training in fp32 needs no more memory the longer it goes on: over 390 steps, ")
    assert answer.sentence.endswith("no step requests any.")
    assert answer.picture is not None
    assert [curve.name for curve in answer.picture.curves] == ["fp32, resident", "fp32, heap in use"]
    assert {table.title for table in answer.evidence} == {
        "Growth of memory", "Allocations of a measured step", "Readings in fp32",
    }  # fmt: skip
    assert answer.missing == ()


def test_a_leak_is_reported_with_its_size(home):
    keep(home, memory_lines(each_kib=4.0, allocations=1))
    sentence = memory.answer(only_fp32(material(home, "memory")), "local").sentence
    assert "training in fp32 leaks memory" in sentence
    assert "351 of 351 steps request some, up to 1 times" in sentence


def test_without_a_session_there_is_no_verdict(home):
    empty = only_fp32(material(home, "memory"))
    none = Material(Experiment(**{**vars(empty.experiment), "parts": ()}), None, home)  # type: ignore[arg-type]
    assert "can't be told" in memory.answer(none, "local").sentence
    assert "can't be told" in sustained.answer(none, "local").sentence


def pace_lines(slow_ms, khz=2_000_000, slow_khz=2_000_000):
    """Lines of 200 fast steps and 300 slower ones, with clock, heat and power beside them."""
    lines, at = [recorded.header(SESSION), recorded.load()], recorded.LOAD_END_NS
    for index in range(500):
        late = index >= 200
        ms = (slow_ms if late else 100.0) * (1 + 0.003 * ((7 * index) % 5 - 2))
        step = recorded.step(index, "warm_up" if index < 2 else "measured")
        lines.append(step | {"t0_ns": at, "t1_ns": (at := at + int(ms * recorded.MS))})
        values = {"cpu-frequency.policy0": slow_khz if late else khz, "zone": 60_000 if late else 45_000, "VDD_IN": 9e3}
        lines += [recorded.sample(at, value, sensor) for sensor, value in values.items()]
    return recorded.text([*lines, recorded.footer()])


def test_throttling_is_reported_with_its_cause_and_what_it_costs(home):
    keep(home, pace_lines(125.0, slow_khz=1_600_000), FREQUENCY, energy_sensors=("VDD_IN",), unavailable={})
    answer = sustained.answer(only_fp32(material(home, "sustained")), "local")
    assert "training in fp32 loses 20 % of its speed (95 %: 20 to 20) to throttling after 19 s " in answer.sentence
    assert "cpu-frequency.policy0 fell from 2000 to 1600 MHz" in answer.sentence
    assert "100 ms a step warmed up, 125 ms sustained, the first step took " in answer.sentence
    assert answer.missing == ()
    assert answer.picture is not None
    names = [curve.name for curve in answer.picture.curves]
    assert names == ["fp32, step time", "fp32, fit", "fp32, clock", "fp32, power", "fp32, temperature"]
    (paces, sensors) = answer.evidence
    assert {row[1] for row in sensors.rows} == {"cpu-frequency.policy0", "zone", "power of the device"}
    assert paces.heads[1:4] == ("first step, ms", "warmed up, ms", "sustained, ms")


def test_a_slowdown_without_a_visible_cause_is_not_called_throttling(home):
    keep(home, pace_lines(125.0), FREQUENCY)
    answer = sustained.answer(only_fp32(material(home, "sustained")), "local")
    assert "no reading explains why" in answer.sentence
    assert "throttling" not in answer.sentence
    assert "fp32, power: no sensor that can be read measures the whole device" in answer.missing


def test_a_devices_own_word_is_the_cause(home):
    keep(
        home, pace_lines(125.0), FREQUENCY, throttled="throttle.package0 counted 3 throttling events during the session"
    )
    assert (
        "to throttling after 19 s (throttle.package0 counted 3 "
        in sustained.answer(only_fp32(material(home, "sustained")), "local").sentence
    )


def test_what_can_not_be_read_is_missing_with_its_reason(home):
    keep(home, pace_lines(100.0))
    answer = sustained.answer(only_fp32(material(home, "sustained")), "local")
    assert "training in fp32 keeps its speed" in answer.sentence
    assert "fp32, clock: no cpufreq policy" in answer.missing
    assert any(words.startswith("fp32, temperature: ") for words in answer.missing)


def made_run(ms, mj=None):
    energy = Unavailable("no sensor of power") if mj is None else mj
    return SimpleNamespace(
        measurements=[SimpleNamespace(latency=SimpleNamespace(median_ms=ms), energy=SimpleNamespace(gross_mj=energy))]
    )


@pytest.fixture
def answer_of_modes(home, monkeypatch):
    """Answers from (ms, mJ) by mode, one for each round."""

    def answer_of_modes(costs, refused=None, named=True):
        runs = {(mode, turn): made_run(*cost) for mode, of in costs.items() for turn, cost in enumerate(of)}
        made = tuple(ModeRun(mode, turn, f"{mode} {turn}", True) for mode, turn in runs)
        taken = ModesTaken("local", named, dict.fromkeys([*costs, *(refused or {})], "cores 0"), made, refused or {})
        by_id = {f"{mode} {turn}": found for (mode, turn), found in runs.items()}
        monkeypatch.setattr(power_modes, "read_modes", lambda _made, _home: taken)
        monkeypatch.setattr(power_modes, "StoreSource", lambda _store: SimpleNamespace(run=by_id.__getitem__))
        return power_modes.answer(only_fp32(material(home, "power-modes", "modes")), "local")

    return answer_of_modes


def test_the_fastest_and_the_most_frugal_mode_are_named(answer_of_modes):
    answer = answer_of_modes({
        "MAXN": [(100.0, 900.0), (101.0, 905.0), (99.0, 910.0)],
        "15W": [(150.0, 700.0), (151.0, 705.0), (149.0, 695.0)],
    })  # fmt: skip
    assert answer.sentence == (
        "for training in fp32, MAXN is the fastest with 100 ms a step, 150 with 15W; 15W is the most frugal with "
        "700 mJ a step, 905 with MAXN."
    )
    assert answer.picture is not None
    assert answer.picture.y_title == "mJ a step"


def test_modes_with_overlapping_intervals_are_reported_as_indistinguishable(answer_of_modes):
    answer = answer_of_modes(
        {"a": [(100.0, 1.0), (110.0, 1.0), (90.0, 1.0)], "b": [(101.0, 1.0), (95.0, 1.0), (105.0, 1.0)]}
    )
    assert "a is the fastest with 100 ms a step, 101 with b, and can't be told apart from b" in answer.sentence


def test_without_a_power_sensor_the_reason_stands_in_the_place_of_the_frugal_mode(answer_of_modes):
    answer = answer_of_modes({"1 core": [(200.0,)], "2 cores": [(120.0,)]}, named=False)
    assert answer.sentence == (
        "for training in fp32, 2 cores is the fastest of its sets of cores (the inventory names no power modes) with "
        "120 ms a step, 200 with 1 core (a first look, from fewer than 3 rounds); which is the most frugal can't be "
        "told, as its power can't be read."
    )
    assert answer.picture is not None
    assert answer.picture.curves[0].x == ("1 core", "2 cores")
    assert "fp32, 1 core, energy: no sensor of power" in answer.missing


def test_a_refused_mode_is_missing_with_its_reason(answer_of_modes):
    answer = answer_of_modes({"a": [(100.0, 1.0)]}, refused={"b": "it needs a restart"})
    assert "a is the fastest with 100 ms a step, the only one that was measured" in answer.sentence
    assert "fp32, b: it needs a restart" in answer.missing


def test_a_part_that_failed_is_missing_for_its_device_alone(home):
    parts = (Part("session, pi, fp32", "own", "failed", reason="the session is failed"),)
    experiment = replace(material(home, "memory").experiment, devices=("local", "pi"), parts=parts)
    found = Material(experiment, None, home)  # type: ignore[arg-type]
    assert found.missing("pi") == ("session, pi, fp32: the session is failed",)
    assert found.missing("local") == ()
