"""Verdicts of a night as findings: what has one cause is one, and nothing is claimed that was not seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from reports.model.histories import SeriesVerdict
from suite.regression.grouping import Group, group_night, place_of

KINDS = {f"jetson-{number}": "jetson" for number in range(1, 9)} | {"phone-1": "android", "phone-2": "android"}
SETTINGS = ("fp32", "fp16", "int8", "nf4")
ENERGY = "energy_net_mj_per_step"
Where = tuple[str, str, str]
"""Device, setting, metric."""


def verdict(device: str, setting: str, metric: str = "latency_ms", word: str = "unchanged", T: int = 64, **how: Any):
    workload: dict[str, Any] = {"model": "tiny", "method": "prge", "quant": setting, "T": T}
    numbers = how.pop("numbers", {"ratio": how.pop("ratio", 1.07), "change": how.pop("change", 0.07)})
    return SeriesVerdict(
        device, f"tiny/{setting}/{T}", workload, metric, "lower", False, "1", word, "nightly 3", "", None, numbers, how
    )


def night(changed: Mapping[Where, str], boards: Sequence[str] = tuple(KINDS), **how: Any) -> list[SeriesVerdict]:
    """All that the boards measure, unchanged but for `changed`."""
    return [
        verdict(board, setting, metric, changed.get((board, setting, metric), "unchanged"), **how)
        for board in boards
        for setting in SETTINGS
        for metric in ("latency_ms", ENERGY)
    ]


def regressed(
    boards: Sequence[str], settings: Sequence[str], metrics: Sequence[str] = ("latency_ms",)
) -> dict[Where, str]:
    return {(board, setting, metric): "regressed" for board in boards for setting in settings for metric in metrics}


def groups(verdicts: Sequence[SeriesVerdict], **how: Any) -> list[Group]:
    return group_night(verdicts, KINDS, how.pop("blamed", {}), **how)


JETSONS = [name for name, kind in KINDS.items() if kind == "jetson"]
PHONES = ["phone-1", "phone-2"]


def test_a_setting_that_changed_on_every_board_of_a_kind_is_one_finding_with_the_energy_that_follows():
    (found,) = groups(night(regressed(JETSONS, ["int8"], ["latency_ms", ENERGY])))
    assert (found.category, found.side, found.level) == ("regressed", "worse", "kind")
    assert (found.settings, found.workloads) == (("int8",), ())
    assert [(part.kind, len(part.boards), part.of) for part in found.where] == [("jetson", 8, 8)]
    assert {one.metric for one in found.members} == {"latency_ms", ENERGY} and len(found.members) == 16


@pytest.mark.parametrize(("count", "level"), [(8, "kind"), (7, "kind"), (6, "boards"), (3, "boards")])
def test_a_kind_is_claimed_from_four_boards_of_five_and_else_its_boards_are_named(count: int, level: str):
    (found,) = groups(night(regressed(JETSONS[:count], ["int8"])))
    assert (found.level, found.where[0].boards, found.where[0].of) == (level, tuple(JETSONS[:count]), 8)


def test_kinds_that_run_the_same_program_are_one_finding_and_settings_are_not():
    both = regressed(JETSONS, ["int8"]) | regressed(PHONES, ["int8"]) | regressed(JETSONS, ["nf4"])
    found = groups(night(both))
    assert [(one.settings, [part.kind for part in one.where]) for one in found] == [
        (("int8",), ["android", "jetson"]), (("nf4",), ["jetson"]),
    ]  # fmt: skip


def test_a_kind_that_changed_in_every_setting_is_one_finding_beside_a_setting_of_another():
    changed = regressed(JETSONS, SETTINGS) | regressed(PHONES, ["fp16"])
    every, one = groups(night(changed))
    assert (every.settings, [part.kind for part in every.where]) == ((), ["jetson"])
    assert (one.settings, [part.kind for part in one.where]) == (("fp16",), ["android"])


def test_better_and_worse_are_never_one_finding():
    better = dict.fromkeys(regressed(PHONES, ["int8"]), "improved")
    verdicts = [
        verdict(*where, word, ratio=1.07 if word == "regressed" else 0.94)
        for where, word in (regressed(JETSONS, ["int8"]) | better).items()
    ]
    assert [(one.category, one.side, one.where[0].kind) for one in groups(verdicts)] == [
        ("regressed", "worse", "jetson"), ("improved", "better", "android"),
    ]  # fmt: skip


def test_metrics_that_do_not_follow_one_another_are_findings_of_their_own():
    changed = regressed(JETSONS, ["int8"]) | regressed(["jetson-3"], SETTINGS, [ENERGY])
    verdicts = [
        *night(changed),
        *(verdict("jetson-3", setting, "peak_memory_kib", "regressed") for setting in SETTINGS),
    ]
    assert {(one.family, one.level, one.settings) for one in groups(verdicts)} == {
        ("latency_ms", "kind", ("int8",)), ("latency_ms", "device", ("fp32", "fp16", "nf4")),
        ("peak_memory_kib", "device", ()),
    }  # fmt: skip


def test_one_board_that_changed_in_most_settings_is_one_finding_of_that_board():
    (found,) = groups(night(regressed(["jetson-2"], ["fp32", "int8", "nf4"])))
    assert (found.level, found.settings) == ("device", ("fp32", "int8", "nf4"))
    assert (found.where[0].boards, found.where[0].of) == (("jetson-2",), 8)


def test_the_only_board_of_a_kind_is_a_board_and_joins_what_holds_for_others():
    boards = [*JETSONS, "phone-1"]
    (alone,) = groups(night(regressed(["phone-1"], ["int8"]), boards))
    assert alone.level == "boards"
    (joined,) = groups(night(regressed(boards, ["int8"]), boards))
    assert (joined.level, len(joined.where)) == ("kind", 2)


def test_boards_that_could_not_be_judged_speak_neither_for_nor_against():
    changed = regressed(JETSONS[:4], ["int8"]) | {
        ("jetson-5", "int8", metric): word for metric in ("latency_ms", ENERGY) for word in ["inconclusive"]
    }
    verdicts = night(changed, JETSONS[:6])
    verdicts = [one for one in verdicts if place_of(one)[0] != "jetson-6"]  # not measured
    found = [one for one in groups(verdicts) if one.category == "regressed"]
    assert [(one.level, one.where[0].of) for one in found] == [("kind", 4)]


def test_a_finding_of_one_length_of_rows_is_not_claimed_for_the_others():
    short = [verdict(board, "int8", word="regressed") for board in JETSONS]
    long = [verdict(board, "int8", T=128) for board in JETSONS]
    (found,) = groups([*short, *long])
    assert found.workloads == ("tiny, prge, T=64",)


def blamed_on(device: str, settings: Sequence[str], change: float = 0.06) -> list[SeriesVerdict]:
    return [verdict(device, setting, numbers={"change": change}, cause="device") for setting in settings]


def device_groups(settings: Sequence[str], **how: Any) -> list[Group]:
    rest = [verdict("jetson-1", setting) for setting in SETTINGS if setting not in settings]
    return groups([*blamed_on("jetson-1", settings), *rest], **how)


def test_a_device_is_a_finding_when_most_of_its_workloads_moved_with_their_baselines():
    (found,) = device_groups(SETTINGS[:3])
    assert (found.category, found.level, found.side) == ("device", "device", "worse")
    assert device_groups(SETTINGS[:2]) == []


def test_what_was_blamed_on_a_device_in_the_last_nights_counts_with_tonights():
    before = {("jetson-1", "latency_ms", "worse"): [("jetson-1", "tiny, prge, T=64", "nf4")] * 2}
    assert [one.category for one in device_groups(SETTINGS[:2], blamed=before)] == ["device"]
    assert device_groups((), blamed=before) == []


def test_a_single_workload_has_to_be_blamed_twice():
    once = blamed_on("jetson-1", ["int8"])
    assert groups(once) == []
    before = {("jetson-1", "latency_ms", "worse"): [place_of(once[0])]}
    assert [one.category for one in groups(once, blamed=before)] == ["device"]


def test_what_the_code_changed_on_a_device_that_moved_is_still_a_finding_of_the_code():
    changed = verdict("jetson-1", "nf4", word="regressed")
    found = groups([*blamed_on("jetson-1", SETTINGS[:3]), changed])
    assert [one.category for one in found] == ["device", "regressed"]


def test_what_could_not_be_decided_is_one_finding_for_each_reason_of_several_devices_and_one_for_each_device():
    gone = [
        verdict(device, "int8", word="inconclusive", sentence="+5 %. Not confirmed: no earlier night can be it.")
        for device in JETSONS[:3]
    ]
    warm = [
        verdict("phone-1", setting, word="inconclusive", state_differences=[f"temperature was {setting}"])
        for setting in SETTINGS[:2]
    ]
    by_reason, by_device = groups([*gone, *warm])
    assert (by_reason.reason, len(by_reason.members)) == ("no earlier night can be it", 3)
    assert by_device.reason == "the device was in another state: temperature was fp32 (and 1 other reasons)"
    assert (by_device.level, by_device.where[0].boards) == ("device", ("phone-1",))


@pytest.mark.parametrize("seed", range(20))
def test_every_changed_series_is_in_exactly_one_finding(seed: int):
    random = np.random.default_rng(seed)
    words = ["unchanged", "regressed", "inconclusive", "insufficient"]
    changed = {
        (board, setting, metric): str(random.choice(words, p=[0.4, 0.4, 0.1, 0.1]))
        for board in KINDS for setting in SETTINGS for metric in ("latency_ms", ENERGY)
    }  # fmt: skip
    verdicts = night(changed)
    members = [id(one) for group in groups(verdicts) for one in group.members]
    expected = [id(one) for one in verdicts if one.verdict in ("regressed", "inconclusive")]
    assert sorted(members) == sorted(expected)
