import dataclasses
import json
import math

import pytest

from suite.regression.confirmation import AGAIN_PAIRS, Pair, confirm, first_look, repeat
from suite.regression.drift import total_drift
from suite.regression.screen import screen
from suite.regression.segments import StateDifference
from suite.regression.verdict import Evidence, judge_night

HISTORY = [100.0 * (1 + 0.01 * math.sin(17.0 * i)) for i in range(40)]


def pairs(ratio, count, baseline=100.0):
    return [
        Pair(baseline * (1 + 0.001 * i), baseline * (1 + 0.001 * i) * ratio * (1 + 0.0003 * i)) for i in range(count)
    ]


def evidence(value=106.0, ratio=1.06, baseline=100.0, direction="lower", name="s", again=None, **more):
    """What a night finds of one series, measured again as far as its numbers ask for it; `again` with other loads."""
    screening = screen(HISTORY, value, direction)
    found = Evidence(name, screening, **more)
    if not found.is_suspect:
        return found
    look = first_look(pairs(ratio, 3, baseline), direction, found.side)
    confirmation = confirm(pairs(ratio, 10, baseline), direction, found.side) if look.go_on else None
    loads = None
    if confirmation is not None and confirmation.go_on:
        loads = repeat(confirmation, pairs(again or ratio, AGAIN_PAIRS, baseline), direction)
    return Evidence(name, screening, first_look=look, confirmation=confirmation, repeat=loads, **more)


def verdict_on(item):
    (found,) = judge_night([item])
    return found


def test_a_confirmed_slowdown_is_regressed_and_the_code_did_it():
    found = verdict_on(evidence())
    assert (found.verdict, found.cause) == ("regressed", "code")
    assert found.numbers["q"] == found.numbers["p"] == pytest.approx(2**-30)
    assert found.numbers["ratio"] == pytest.approx(1.061, abs=0.003)
    assert "+6" in found.sentence and "p = " in found.sentence


def test_a_change_that_came_with_the_loads_is_no_finding():
    found = verdict_on(evidence(again=1.0))
    assert (found.verdict, found.cause) == ("unchanged", "noise")
    assert "20 of them from fresh copies of both" in found.sentence
    assert "with fresh copies it is +0.3 %, but only 2.5% or more count" in found.sentence


def test_a_confirmation_without_a_repetition_raises_no_alarm():
    item = dataclasses.replace(evidence(), repeat=None)
    assert verdict_on(item).verdict == "inconclusive"
    assert "not measured again with other loads" in verdict_on(item).sentence
    assert "the device was lost" in verdict_on(dataclasses.replace(item, obstacle="the device was lost")).sentence


def test_a_small_change_that_all_pairs_together_show_is_found():
    """2.2 % in the first pairs, 2.8 % in those of other loads."""
    found = verdict_on(evidence(ratio=1.022, again=1.028))
    assert found.verdict == "regressed"
    assert found.numbers["ratio"] > 1.025


def test_a_confirmed_speedup_is_improved():
    assert verdict_on(evidence(value=94.0, ratio=0.94)).verdict == "improved"


def test_where_higher_is_better_a_confirmed_fall_is_regressed():
    assert verdict_on(evidence(value=94.0, ratio=0.94, direction="higher")).verdict == "regressed"


def test_a_night_like_its_history_is_unchanged():
    found = verdict_on(evidence(value=100.0))
    assert (found.verdict, found.cause) == ("unchanged", None)
    assert found.inputs == {"value": 100.0}


def test_a_short_history_is_insufficient():
    found = verdict_on(Evidence("s", screen(HISTORY[:5], 200.0, "lower")))
    assert (found.verdict, found.numbers) == ("insufficient", {"points": 5})


def test_a_suspect_that_the_first_look_clears_is_unchanged_noise():
    found = verdict_on(evidence(ratio=1.0))
    assert (found.verdict, found.cause) == ("unchanged", "noise")
    assert "q" not in found.numbers


def test_a_baseline_that_is_as_slow_blames_the_device():
    found = verdict_on(evidence(ratio=1.0, baseline=106.0))
    assert (found.verdict, found.cause) == ("unchanged", "device")
    assert found.numbers["device_level"] == pytest.approx(106.1, abs=0.01)
    assert "the device changed, not the code" in found.sentence


def test_a_baseline_whose_own_point_was_not_at_the_old_level_does_not_blame_the_device():
    found = verdict_on(evidence(ratio=1.0, baseline=106.0, baseline_at_level=False))
    assert (found.verdict, found.cause) == ("unchanged", "noise")
    assert "device_level" not in found.numbers


def test_a_baseline_that_moved_the_other_way_does_not_explain_the_point():
    assert verdict_on(evidence(ratio=1.0, baseline=94.0)).cause == "noise"


def test_a_baseline_that_moved_less_than_what_counts_is_no_new_level_of_the_device():
    steady = [100.0 * (1 + 0.001 * math.sin(17.0 * i)) for i in range(40)]
    screening = screen(steady, 106.0, "lower")
    assert screening.numbers.margin < 1.0
    look = first_look(pairs(1.0, 3, baseline=101.5), "lower", "worse")
    assert verdict_on(Evidence("s", screening, first_look=look)).cause == "noise"


def test_a_slow_device_does_not_excuse_slow_code():
    found = verdict_on(evidence(value=112.0, ratio=1.06, baseline=106.0))
    assert (found.verdict, found.cause) == ("regressed", "code")


def test_a_device_in_another_state_is_inconclusive_whatever_the_pairs_say():
    found = verdict_on(evidence(state_differences=(StateDifference("governor", "performance", "powersave"),)))
    assert found.verdict == "inconclusive"
    assert "governor was performance and is powersave" in found.sentence
    assert found.inputs["state_differences"]


def test_another_state_does_not_matter_to_a_series_that_is_no_suspect():
    item = evidence(value=100.0, state_differences=(StateDifference("governor", "a", "b"),))
    assert verdict_on(item).verdict == "unchanged"


def test_a_suspect_that_was_not_measured_again_is_inconclusive_and_says_why():
    screening = screen(HISTORY, 106.0, "lower")
    found = verdict_on(Evidence("s", screening, obstacle="the budget of 60 min was used up"))
    assert found.verdict == "inconclusive"
    assert "the budget of 60 min was used up" in found.sentence


def test_a_suspect_whose_pairs_broke_off_after_the_first_look_is_inconclusive():
    item = evidence()
    found = verdict_on(Evidence("s", item.screening, first_look=item.first_look, obstacle="the device was lost"))
    assert (found.verdict, found.cause) == ("inconclusive", "unknown")


def weak(index):
    """Pairs whose signs are mixed: above the floor in the middle, p = 0.116."""
    ratios = [1.10, 1.09, 1.08, 1.07, 1.06, 1.05, 0.92, 0.91, 1.04, 0.97]
    confirmation = confirm([Pair(100.0, 100.0 * ratio) for ratio in ratios], "lower", "worse")
    look = first_look(pairs(1.06, 3), "lower", "worse")
    screening = screen(HISTORY, 106.0, "lower")
    return Evidence(f"weak {index}", screening, first_look=look, confirmation=confirmation)


def test_pairs_that_disagree_are_unchanged():
    found = verdict_on(weak(0))
    assert found.verdict == "unchanged"
    assert "p is above 0.005" in found.sentence


def test_a_large_change_that_noise_keeps_from_being_confirmed_is_inconclusive():
    noisy = (1.9, 2.4, 1.6, 3.0, 0.7, 2.2, 1.7, 1.5, 2.8, 0.6)  # two of ten pairs the other way
    tested = evidence()
    unsure = confirm([Pair(100.0, 100.0 * ratio) for ratio in noisy], "lower", "worse")
    assert unsure.p > 0.005 and unsure.interval.low > 1.025
    found = verdict_on(Evidence("s", tested.screening, first_look=tested.first_look, confirmation=unsure))
    assert (found.verdict, found.cause) == ("inconclusive", "unknown")
    assert "p is above 0.005" in found.sentence
    assert "not the code" not in found.sentence


@pytest.mark.parametrize("ratio", [1.1, 0.9])
def test_a_change_to_the_other_side_than_suspected_does_not_count(ratio):
    side, value = ("better", 94.0) if ratio > 1 else ("worse", 106.0)
    tested = evidence(value=value, ratio=ratio)
    other = confirm(pairs(ratio, 10), "lower", side)
    assert not other.beyond_floor
    found = verdict_on(Evidence("s", tested.screening, first_look=evidence().first_look, confirmation=other))
    assert found.verdict == "unchanged"


def test_many_series_tested_in_one_night_ask_for_more():
    found = evidence()
    unsure = dataclasses.replace(found, repeat=dataclasses.replace(found.repeat, p=1 / 1024))
    few = judge_night([unsure, *(weak(i) for i in range(40))])
    many = judge_night([unsure, *(weak(i) for i in range(60))])
    assert few[0].verdict == "regressed" and few[0].numbers["q"] == pytest.approx(41 / 1024)
    assert many[0].verdict == "inconclusive" and many[0].numbers["q"] > 0.05
    assert "q is above" in many[0].sentence


def test_series_that_were_not_tested_do_not_count_in_the_correction():
    found = judge_night([evidence(), *[evidence(value=100.0)] * 500, *[evidence(ratio=1.0)] * 100])
    assert found[0].verdict == "regressed"


def test_verdicts_come_in_the_order_of_the_evidence():
    night = [evidence(name="a"), evidence(value=100.0, name="b"), evidence(ratio=1.0, name="c")]
    assert [found.series for found in judge_night(night)] == ["a", "b", "c"]
    assert judge_night([]) == ()


DRIFTING = [100.0 * 1.0012**i * (1 + 0.002 * math.sin(17.0 * i)) for i in range(60)]


def drift_evidence(ratio, baseline):
    drift = total_drift(DRIFTING, "lower")
    screening = screen(DRIFTING[:-1], DRIFTING[-1], "lower", floor=0.05)
    look = first_look(pairs(ratio, 3, baseline), "lower", "worse")
    if not look.go_on:
        return Evidence("s", screening, drift=drift, first_look=look)
    confirmation = confirm(pairs(ratio, 10, baseline), "lower", "worse")
    loads = repeat(confirmation, pairs(ratio, AGAIN_PAIRS, baseline), "lower")
    return Evidence("s", screening, drift=drift, first_look=look, confirmation=confirmation, repeat=loads)


def test_drift_alone_makes_a_suspect():
    item = drift_evidence(1.0, 107.0)
    assert item.drift.found and item.is_suspect and item.side == "worse"
    unmeasured = Evidence("s", item.screening, drift=item.drift)
    assert verdict_on(unmeasured).verdict == "inconclusive"
    assert "no baseline" not in verdict_on(unmeasured).sentence


def test_drift_makes_a_suspect_where_the_screen_can_say_nothing():
    short = screen(HISTORY[:5], 100.0, "lower")
    found = verdict_on(Evidence("s", short, drift=total_drift(DRIFTING, "lower")))
    assert found.verdict == "inconclusive" and "drift" in found.sentence


def test_drift_that_the_first_artifact_has_too_is_the_devices():
    found = verdict_on(drift_evidence(1.0, 107.0))
    assert (found.verdict, found.cause) == ("unchanged", "device")
    assert found.numbers["drift_traced"] == 1.0 and "device_level" not in found.numbers


def test_drift_that_the_first_artifact_does_not_have_is_regressed():
    assert verdict_on(drift_evidence(1.06, 100.0)).verdict == "regressed"


def test_a_verdict_is_json_and_holds_rule_version_and_all_inputs():
    document = json.loads(json.dumps(verdict_on(evidence()).document()))
    assert (document["rule"], document["version"]) == ("nightly", 3)
    assert len(document["inputs"]["pairs"]) == 10 and len(document["inputs"]["first_pairs"]) == 3
    assert document["inputs"]["value"] == 106.0
    assert {"centre", "scale", "margin", "p", "q", "ratio_low", "ratio_high"} <= set(document["numbers"])
