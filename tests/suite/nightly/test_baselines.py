"""Which earlier night a suspect is measured beside."""

from __future__ import annotations

import json

import pytest

from devices.deployment.built_runner import write_manifest
from reports.model.measurement import Measurement
from suite.nightly.evidence import baseline_of, candidates_for, is_at_level
from suite.regression.screen import Suspect
from suite.store.nights import Provenance
from tests.support.suite.nights_made import DRIFTING, history, point, tonight_of
from workloads.export.artifact import ArtifactCache


def test_the_oldest_night_that_was_compared_is_the_first_choice():
    """Of 40 nights the newest 4 are not compared, and neither are those before the last 30 of the others."""
    assert candidates_for([tonight_of(history(), 110.0)]) == list(range(7, 37))


def test_of_a_short_history_ten_nights_are_left():
    before = history()[:12]
    assert candidates_for([tonight_of(before, 110.0)]) == list(range(1, 11))


def test_a_night_that_was_unlike_the_history_itself_is_the_last_choice():
    before = history()
    before[6] = point(7, 108.0)
    found = candidates_for([tonight_of(before, 110.0)])
    assert (found[0], found[-1], len(found)) == (8, 7, 30)


def test_a_level_that_was_left_long_ago_is_the_last_choice():
    """Sixteen nights at 105, then fourteen at 100 and the four that are not compared: 100 is the history's level."""
    before = [point(number, (105.0 if number <= 20 else 100.0) * (1 + 0.0005 * number % 3)) for number in range(1, 56)]
    found = tonight_of(before, 105.0)
    assert isinstance(found.screening, Suspect)
    assert candidates_for([found])[0] == 22


def test_levels_are_compared_as_the_device_has_them_now():
    before = history()
    before[35] = point(36, before[35].value, numbers={"device_level": 110.0})
    before[36] = point(37, before[36].value, numbers={"device_level": 110.0})
    found = tonight_of(before, 121.0)
    assert found.screening.numbers.centre == pytest.approx(110.0, abs=0.5)
    assert candidates_for([found])[0] == 7
    assert is_at_level(found, 7)


def test_what_merely_drifts_is_measured_beside_the_oldest_night():
    drifting = tonight_of(history(DRIFTING[:-1]), DRIFTING[-1])
    assert candidates_for([drifting])[:3] == [1, 2, 3]
    unlike = tonight_of(history(DRIFTING[:-1]), 150.0, "power_mw")
    assert candidates_for([drifting, unlike])[0] == 26


def test_a_night_that_regressed_is_no_baseline():
    before = [*history(), *(point(50 + i, 110.0, verdict="regressed") for i in range(8))]
    assert candidates_for([tonight_of(before, 110.0)]) == list(range(7, 37))


def test_nights_before_a_change_of_the_device_or_an_acceptance_are_no_baseline():
    before = history()
    before[20:] = [point(one.measurement_id, one.value, fingerprint="new") for one in before[20:]]
    before[25] = point(26, before[25].value, fingerprint="new", accepted=True)
    found = candidates_for([tonight_of(before, 110.0, fingerprint="new")])
    assert found == list(range(26, 37))


def test_all_suspects_of_a_workload_share_their_baseline():
    fewer = [one for one in history() if one.measurement_id % 3]
    both = [tonight_of(history(), 110.0), tonight_of(fewer, 110.0, "power_mw")]
    assert candidates_for(both) == [number for number in range(7, 35) if number % 3]
    assert candidates_for([tonight_of(history()[:10], 110.0), tonight_of(history()[20:], 110.0)]) == []


@pytest.fixture
def programs(tmp_path):
    """A cache that holds the programs a and b."""
    for name in "ab":
        folder = tmp_path / "artifacts" / name
        folder.mkdir(parents=True)
        (folder / "program.pte").write_bytes(b"1234")
        (folder / "artifact.json").write_text(json.dumps({"hash": name, "program_bytes": 4}))
    return ArtifactCache(tmp_path / "artifacts")


def runner(folder, name):
    path = folder / name
    path.mkdir(parents=True)
    (path / "runner").write_bytes(b"code")
    write_manifest(path, ["{folder}/runner"], {"machine": "x86_64", "hash": name})
    return path


def facts(**made):
    """Measurement by measurement: the hashes of its program and runner."""
    return {
        int(key[1:]): Provenance(int(key[1:]), *hashes, Measurement.from_document({}), {})
        for key, hashes in made.items()
    }


def test_a_baseline_is_the_first_candidate_whose_program_is_still_there(programs, tmp_path):
    known = facts(n3=("gone", "r"), n2=("b", "r"), n1=("a", "r"))
    found = baseline_of([3, 2, 1], known, "r", programs, tmp_path)
    assert (found.provenance.measurement_id, found.artifact.hash, found.runner) == (2, "b", None)


def test_a_baseline_of_another_runner_is_measured_with_that_one(programs, tmp_path):
    runner(tmp_path / "runners", "old")
    known = facts(n2=("b", "lost"), n1=("a", "old"))
    found = baseline_of([2, 1], known, "new", programs, tmp_path / "runners")
    assert (found.artifact.hash, found.runner.hash) == ("a", "old")


def test_a_baseline_whose_runner_is_unknown_is_measured_with_tonights(programs, tmp_path):
    found = baseline_of([1], facts(n1=("a", None)), "new", programs, tmp_path)
    assert (found.artifact.hash, found.runner) == ("a", None)


def test_a_suspect_without_a_baseline_gets_the_reason(programs, tmp_path):
    known = facts(n3=("gone", "r"), n2=("a", "lost"), n1=(None, "r"))
    assert baseline_of([3, 2, 1], known, "r", programs, tmp_path).startswith(
        "the programs or runners of 2 earlier nights"
    )
    assert baseline_of([1, 9], known, "r", programs, tmp_path).startswith("no earlier night")
