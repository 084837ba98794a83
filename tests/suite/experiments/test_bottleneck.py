"""What holds a step up, on made-up profiles, peaks and steps, where the answer is known."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from reports.model.experiment import Answer, Experiment, Part
from reports.model.measurement import Measurement
from reports.model.profile import Profile
from suite.experiments.answers.bottleneck import answer, more_parts, to_verify, verification
from suite.experiments.material import Material
from suite.home import PEAKS, Home
from suite.planning.plan import Plan
from suite.profiling.kept import keep_profile
from suite.results.measurement import Subject, measure
from suite.store.store import Store
from tests.support.suite.made_profiles import BATCHED, QUANTIZED, profile, row
from tests.support.suite.made_profiles import PEAKS as FOUND
from tests.support.suite.recorded_session import result

BOARD = "board"
NORM = row("norm", "norm", 20.0, 0.1, 0.1)
FP32 = profile(row("frozen products", BATCHED, 200.0, 10.0, 0.1), NORM)
INT8 = profile(row("frozen products", QUANTIZED, 50.0, 10.0, 0.1), NORM, quant="int8-dynamic")
PROFILE = Profile("2026-a", "2026-11-30T00:00:00+00:00", BOARD, "linux", False, {}, (FP32, INT8), {})


@dataclass(frozen=True)
class Made(Material):
    """Material with measurements that no store has."""

    steps: tuple[Measurement, ...] = field(default=())

    def measurements(self, part: str, device: str | None = None) -> list[Measurement]:
        assert (part, device) == (f"verify, {BOARD}", BOARD)
        return list(self.steps)


def steps(quant: str, *ms: float, **shape: int) -> Measurement:
    """A measurement with a session for each of `ms`."""
    workload = {**FP32.workload, "backend": "xnnpack", "quant": quant, **shape}
    subject = Subject(BOARD, "linux", False, workload, planned_sessions=len(ms), program_bytes=10)
    return measure(subject, [result(ordinal, ms=value) for ordinal, value in enumerate(ms)])


@pytest.fixture
def material(tmp_path: Path) -> Iterator[Made]:
    """An experiment whose profile and peaks are kept, and no step measured."""
    home = Home(tmp_path / "home")
    keep_profile(PROFILE, home)
    (home.peaks_folder("2026-b") / PEAKS).write_text(json.dumps(FOUND.document()))
    parts = (
        Part(f"profile, {BOARD}", "profile", "finished", "2026-a"),
        Part(f"peaks, {BOARD}", "own", "finished", "2026-b"),
    )
    made = Experiment(
        "e", "bottleneck", "?", True, (BOARD,), None, ("suite",), "2026-11-30T00:00:00+00:00", "running", parts
    )
    store = Store.open(home.store_path)
    yield Made(made, store, home)
    store.close()


def tables(found: Answer) -> Mapping[str, list[tuple[object, ...]]]:
    return {one.title: list(one.rows) for one in found.evidence}


def test_the_largest_group_and_each_change_with_its_outcome_make_the_sentence(material: Made) -> None:
    measurements = (
        steps("fp32", 220.0, 220.0, 221.0, q=4, b=4), steps("int8-dynamic", 110.0, 110.0, 110.5, q=4, b=4),
        steps("int8-dynamic", 220.0, 221.0, 220.0, q=4, b=8),
    )  # fmt: skip
    found = answer(replace(material, steps=measurements), BOARD)
    assert found.sentence == (
        "91 % of a step in fp32 goes to frozen products, bound by compute and at 50 % of that roof; "
        "int8-dynamic instead of fp32 is forecast to do the same work 3.14 times as fast (measured 2.00 times); "
        "b 8 with int8-dynamic is forecast to do the same work 1.00 times as fast (measured 1.00 times)."
    )
    (first, second) = tables(found)["Forecast and measured gains"]
    assert first[:4] == ("fp32", "quant int8-dynamic", pytest.approx(220 / 70), pytest.approx(2.0))
    assert second[3] == pytest.approx(1.0)
    assert first[6] == pytest.approx(100 * (220 / 70 / 2 - 1))


def test_points_lie_under_roofs_on_logarithmic_axes(material: Made) -> None:
    picture = answer(material, BOARD).picture
    assert picture is not None
    assert (picture.x_log, picture.y_log) == (True, True)
    curves = {curve.name: curve for curve in picture.curves}
    assert list(curves) == ["fp32", "int8-dynamic", "float32, memory", "int8, memory", "float32, cache"]
    assert curves["fp32"].x[0] == pytest.approx(100.0)
    assert curves["fp32"].y[0] == pytest.approx(50.0)
    roof = curves["int8, memory"]
    assert roof.x[1] == pytest.approx(40.0)
    assert roof.y == pytest.approx((float(roof.x[0]) * 10, 400.0, 400.0))


def test_groups_and_peaks_are_evidence(material: Made) -> None:
    found = tables(answer(material, BOARD))
    assert found["The roof of each group of operators"][1] == (
        "fp32", "norm", 20.0, pytest.approx(100 * 20 / 220), "bandwidth", pytest.approx(50.0),
    )  # fmt: skip
    assert found["Peaks of the device"][0][:3] == ("float32", "fma", 100.0)
    assert {row[1] for row in found["Forecast gains of changes"]} >= {"b 8", "q 8", "quant int8-dynamic"}


def test_what_was_not_measured_is_reported(material: Made) -> None:
    assert "(was not measured)" in answer(material, BOARD).sentence
    no_peaks = replace(material.experiment, parts=material.experiment.parts[:1])
    assert "no peaks of board" in answer(replace(material, experiment=no_peaks), BOARD).sentence
    nothing = replace(material.experiment, parts=())
    assert "no profile of board" in answer(replace(material, experiment=nothing), BOARD).sentence


def test_nothing_worth_a_change_is_reported(material: Made) -> None:
    keep_profile(replace(PROFILE, settings=(FP32,)), material.home)
    without_int8 = replace(FOUND, peaks=tuple(one for one in FOUND.peaks if one.of != "int8"))
    (material.home.peaks_folder("2026-b") / PEAKS).write_text(json.dumps(without_int8.document()))
    assert answer(material, BOARD).sentence.endswith("; no change of q, b or setting is forecast to gain 2 %.")


def test_operators_above_the_peaks_are_named(material: Made) -> None:
    keep_profile(replace(PROFILE, settings=(profile(row("norm", "norm", 10.0, 10.0, 0.01)),)), material.home)
    assert "; norm exceeds the peaks" in answer(material, BOARD).sentence


def test_the_changes_are_measured_beside_what_they_change() -> None:
    plan = Plan((BOARD,), model="tiny", quants=("fp32", "int8-dynamic"), sessions=2, steps=3)
    found = verification(plan, to_verify(PROFILE, FOUND))
    assert [(each.q, each.b, each.quants, each.sessions) for each in found.plans] == [
        (4, 4, ("fp32", "int8-dynamic"), 2), (4, 8, ("int8-dynamic",), 2),
    ]  # fmt: skip


def test_peaks_come_before_what_they_advise_and_a_device_without_profile_has_nothing_to_verify(material: Made) -> None:
    assert list(more_parts(material)) == [f"peaks, {BOARD}", f"verify, {BOARD}"]
    nothing = replace(material.experiment, parts=())
    assert list(more_parts(replace(material, experiment=nothing))) == [f"peaks, {BOARD}"]
