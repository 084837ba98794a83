"""Bisection: which nights it lies between, which programs it measures, and what it says of those that are gone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from devices.deployment.built_runner import BuiltRunner
from foundation.errors import UserError
from suite.nightly.bisecting import Answer, Step, Version, bisect, choose_nights, versions_of
from suite.nightly.evidence import KeptProgram
from suite.regression.confirmation import CONFIRM_PAIRS, Pair
from suite.store.series import NightPoint
from workloads.export.artifact import Artifact


def nights(programs: str, regressed_from: int | None = None, runners: str = "") -> list[NightPoint]:
    """A night for each letter, which is its program; values step up where it regressed."""
    return [
        NightPoint(
            f"2026-01-{place + 1:02d}T00-00-00-aaaa",
            f"2026-01-{place + 1:02d}",
            110.0 if regressed_from is not None and place >= regressed_from else 100.0,
            letter,
            runners[place] if runners else None,
            regressed_from is not None and place >= regressed_from,
        )
        for place, letter in enumerate(programs)
    ]


class Bench:
    """Measures programs by their names: those of `slow` take a tenth longer."""

    def __init__(self, slow: str, gone: str = "", pairs: int = CONFIRM_PAIRS) -> None:
        self.slow, self.gone, self.pairs, self.measured = slow, gone, pairs, list[str]()

    def open(self, version: Version) -> KeptProgram | None:
        if version.artifact_hash in self.gone:
            return None
        runner = (
            None
            if version.runner_hash is None
            else BuiltRunner(Path(version.runner_hash), version.runner_hash, "x86_64", ())
        )
        return KeptProgram(Artifact(Path(version.artifact_hash), {"hash": version.artifact_hash}), runner)

    def measure(self, good: KeptProgram, candidate: KeptProgram) -> list[Pair]:
        self.measured.append(self.name(candidate))
        value = 110.0 if self.name(candidate) in self.slow else 100.0
        base = 110.0 if self.name(good) in self.slow else 100.0
        return [Pair(base + number / 10, value + number / 10) for number in range(self.pairs)]

    @staticmethod
    def name(program: KeptProgram) -> str:
        return program.artifact.hash if program.runner is None else program.runner.hash

    def bisect(self, points: Sequence[NightPoint]) -> tuple[Answer, list[Step]]:
        steps: list[Step] = []
        return bisect(points, "latency_ms", self.open, self.measure, steps.append), steps


def test_the_first_changed_program_is_found_by_halving() -> None:
    bench = Bench(slow="fgh")
    answer, steps = bench.bisect(nights("aabbcdefgh", 8))
    assert [version.artifact_hash for version in answer.culprits] == ["f"]
    assert bench.measured == ["h", "e", "g", "f"]
    assert [step.changed for step in steps] == [True, False, True, True]
    assert answer.sentence == "The change came with program f, first measured in 2026-01-08T00-00-00-aaaa."
    assert "+10.0 %" in steps[-1].sentence and "10 pairs" in steps[-1].sentence


def test_programs_that_are_gone_are_named_with_the_one_that_is_left() -> None:
    bench = Bench(slow="def", gone="bcd")
    answer, _ = bench.bisect(nights("abcdef", 3))
    assert [version.artifact_hash for version in answer.culprits] == ["b", "c", "d", "e"]
    assert bench.measured == ["f", "e"]
    assert "one of 4 programs" in answer.sentence
    assert "3 of them are no longer on this host" in answer.sentence


def test_programs_that_do_not_differ_today_leave_the_device() -> None:
    bench = Bench(slow="")
    answer, steps = bench.bisect(nights("abc", 2))
    assert answer.culprits == ()
    assert bench.measured == ["c"]
    assert len(steps) == 1
    assert "came from the device or its surroundings" in answer.sentence


def test_a_change_for_the_better_is_found_too() -> None:
    points = [*nights("ab"), *(NightPoint("z", "z", 90.0, letter, None, False) for letter in "cd")]
    answer, _ = Bench(slow="ab").bisect(points)
    assert [version.artifact_hash for version in answer.culprits] == ["c"]


def test_a_runner_of_its_own_is_a_version_of_its_own() -> None:
    bench = Bench(slow="yz")
    answer, _ = bench.bisect(nights("aaaa", 2, runners="wxyz"))
    assert [version.runner_hash for version in answer.culprits] == ["y"]


def test_versions_span_the_nights_that_measured_them() -> None:
    found = versions_of(nights("aabab"))
    assert [(each.artifact_hash, each.first.run_id[8:10], each.last.run_id[8:10]) for each in found] == [
        ("a", "01", "02"),
        ("b", "03", "03"),
        ("a", "04", "04"),
        ("b", "05", "05"),
    ]


def test_nights_around_the_newest_regression_are_the_default() -> None:
    points = nights("abcdef", 3)
    assert [point.artifact_hash for point in choose_nights(points, None, None)] == ["c", "d", "e", "f"]
    assert [point.artifact_hash for point in choose_nights(points, points[1].run_id, points[4].run_id)] == list("bcde")


@pytest.mark.parametrize(
    ("good", "bad", "sentence"),
    [
        (None, None, "2026-01-04T00-00-00-aaaa did not regress, .* name one with --good"),
        ("2026-01-04T00-00-00-aaaa", "2026-01-02T00-00-00-aaaa", "is not before the bad one, .*: swap them"),
        ("2025", None, "2025 has no point of this series: see `suite history SERIES`"),
    ],
)
def test_nights_that_enclose_nothing_are_refused(good: str | None, bad: str | None, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        choose_nights(nights("abcd"), good, bad)


@pytest.mark.parametrize(
    ("programs", "gone", "pairs", "sentence"),
    [
        ("aaa", "", CONFIRM_PAIRS, "were measured with one program and runner: the change came from elsewhere"),
        ("abc", "a", CONFIRM_PAIRS, "The program a, first measured in .*, is no longer on this host"),
        ("abc", "", 4, "Only 4 of 10 pairs of sessions of program c"),
    ],
)
def test_what_can_not_be_measured_is_refused(programs: str, gone: str, pairs: int, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        Bench("c", gone, pairs).bisect(nights(programs, 2))
