"""A lab of twenty boards with planted causes, judged by the suite's own rules: each cause is one finding, and nothing
else is found."""

from __future__ import annotations

from pathlib import Path

import pytest

from reports.model.findings import Finding
from tests.support.suite.planted_lab import MEMORY, TIME, PlantedLab, make_lab

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> PlantedLab:
    made = make_lab(Path(tmp_path_factory.mktemp("lab")) / "store.sqlite")
    made.store.close()
    return made


def where(one: Finding) -> tuple[str, str, tuple[str, ...], tuple[tuple[str, int], ...]]:
    """What a finding says: category, side, settings, and kinds or boards with their number."""
    places = [(part.kind, len(part.boards)) for part in one.where]
    return one.category, one.level, one.settings, tuple(places) if one.level == "kind" else one.devices  # type: ignore[return-value]


def test_the_planted_causes_are_the_findings_and_nothing_else_is(lab: PlantedLab):
    assert sorted(where(nights[0]) for nights in lab.every().values()) == [
        ("device", "device", (), ("pi-4",)),
        ("device", "device", (), ("pi-5",)),
        ("failed", "device", (), ("phone-6",)),
        ("improved", "kind", ("fp16",), (("android", 6),)),
        ("missing", "device", (), ("pi-6",)),
        ("regressed", "device", (), ("jetson-3",)),
        ("regressed", "kind", ("int8",), (("jetson", 8),)),
    ]


def test_what_the_code_changed_has_its_metrics_and_sizes(lab: PlantedLab):
    planted = {("int8",): (TIME, 0.068), ("fp16",): (TIME, -0.055), (): (MEMORY, 0.09)}
    for nights in lab.every().values():
        for one in nights:
            if one.category in ("regressed", "improved"):
                metrics, change = planted[one.settings]
                assert {size.metric for size in one.sizes} == set(metrics)
                ends = [end.ratio - 1 for size in one.sizes for end in (size.least, size.most)]
                assert max(abs(end - change) for end in ends) < 0.015
                assert one.confirmation.pairs == 30


def test_a_finding_lives_over_its_nights_and_is_fixed_when_the_cause_is_gone(lab: PlantedLab):
    (slow,) = (nights for nights in lab.every().values() if nights[0].settings == ("int8",))
    assert [(one.state, one.nights) for one in slow] == [("new", 1), ("known", 2), ("known", 3), ("fixed", 3)]
    assert {one.since_run for one in slow} == {lab.run_ids[lab.plan.began]}
    (better,) = (nights for nights in lab.every().values() if nights[0].category == "improved")
    assert [one.state for one in better] == ["new", "known", "known", "known"]


def test_a_finding_names_what_is_not_as_the_baseline_was(lab: PlantedLab):
    (slow,) = (nights for nights in lab.every().values() if nights[0].settings == ("int8",))
    found = {one.what: (one.before, one.after, one.boards) for one in slow[0].differences}
    assert found["torch"] == ("2.12.1", "2.13.0", 8)
    assert set(found) == {"torch", "commit", "program"}
    (memory,) = (nights for nights in lab.every().values() if nights[0].sizes and nights[0].metric == MEMORY[0])
    assert "4 programs changed" in [one.words for one in memory[0].differences]


def test_a_device_that_changed_has_no_differences_from_what_was_measured_beside_it(lab: PlantedLab):
    changed = [one for nights in lab.every().values() for one in nights if one.category == "device"]
    assert changed and not any(one.differences for one in changed)


def test_devices_that_failed_or_are_missing_come_first(lab: PlantedLab):
    assert [one.category for one in lab.last][:2] == ["missing", "failed"]
    assert lab.last[-1].state == "fixed"
