import pytest

from devices.processes import ProcessEnd
from suite.sessions.collect import collect
from suite.sessions.loss_check import ExpectedLosses
from suite.sessions.validity import Expectation, SessionStatus, judge
from tests.support.suite import recorded_session as recorded

LOSSES = [(2.0 - 0.1 * i, 1.0) for i in range(7)]


def expectation(**more):
    return Expectation(**({"measured_steps": 5} | more))


def validity_of(*lines, quantities=None, losses=None, **more):
    return judge(recorded.record(*lines, quantities=quantities, losses=losses), expectation(**more))


def test_a_session_with_everything_right_is_ok_without_a_reason():
    still = tuple((2.0, 1.1) for _ in LOSSES[1:3])
    expected = ExpectedLosses(tuple(LOSSES[:3]), still, noise=1e-6, lr=1e-3, eps=0.1)
    verdict = validity_of(losses=LOSSES, expected=expected)
    assert (verdict.status, verdict.reason) == (SessionStatus.OK, None)


def test_a_session_that_was_compared_with_nothing_says_so():
    verdict = validity_of(losses=LOSSES, expected=ExpectedLosses(shortfall="it takes an hour"))
    assert (verdict.status, verdict.reason) == (SessionStatus.OK, "its losses were not compared: it takes an hour")


@pytest.mark.parametrize(
    ("outcome", "status"),
    [
        (ProcessEnd(rc=139), SessionStatus.FAILED),
        (ProcessEnd(rc=137), SessionStatus.FAILED),
        (ProcessEnd(rc=137, lost="gone"), SessionStatus.LOST),
        (ProcessEnd(rc=137, stopped="deadline"), SessionStatus.INTERRUPTED),
        (ProcessEnd(rc=0), SessionStatus.INVALID),
    ],
)
def test_a_session_that_did_not_complete_keeps_its_cause(outcome, status):
    record = collect("s", recorded.whole()[:-2], outcome)
    verdict = judge(record, expectation())
    assert verdict.status is status
    assert verdict.reason == record.sentence


def test_an_unsupported_program_is_unsupported_not_failed():
    lines = recorded.text([recorded.header(), recorded.footer(cause="error", stage="load", error_code="0x14")])
    assert judge(collect("s", lines, ProcessEnd(rc=1)), expectation()).status is SessionStatus.UNSUPPORTED


def test_too_few_steps_are_invalid_with_both_numbers():
    verdict = validity_of(measured_steps=6)
    assert verdict.status is SessionStatus.INVALID
    assert verdict.reason == "5 measured steps arrived, but 6 were requested"


def test_more_steps_than_asked_for_are_fine():
    assert validity_of(measured_steps=3).status is SessionStatus.OK


def test_a_footer_that_counts_other_steps_is_invalid():
    lines = recorded.text([recorded.header(), recorded.load(), *recorded.steps(), recorded.footer(steps=9)])
    verdict = judge(collect("s", lines, ProcessEnd(rc=0)), expectation())
    assert verdict.reason == "the footer reports 9 steps, but 7 arrived"


@pytest.mark.parametrize("bad", ["nan", "inf", "-inf"])
def test_a_loss_that_is_not_finite_is_invalid_and_names_its_step(bad):
    verdict = validity_of(losses=[*LOSSES[:3], (1.0, bad), *LOSSES[4:]])
    assert verdict.status is SessionStatus.INVALID
    assert verdict.reason.startswith("step 3 has a loss that is not finite")


def test_a_step_without_losses_is_invalid():
    assert validity_of(losses=[*LOSSES[:6], ()]).reason == "step 6 reports no losses"


def test_losses_off_the_reference_are_invalid_with_the_error():
    verdict = validity_of(losses=LOSSES, expected=ExpectedLosses(((2.0, 1.0), (1.9, 1.1)), noise=0.01))
    assert verdict.status is SessionStatus.INVALID
    assert verdict.reason == "a loss of step 1 is off the reference by 0.1, but only 0.06 is allowed"


def test_what_is_allowed_is_the_noise_of_the_arithmetic():
    expected = ExpectedLosses(((2.0, 1.0), (1.9, 1.1)), noise=0.1, lr=1e-3, eps=0.1)
    assert validity_of(losses=LOSSES, expected=expected).status is SessionStatus.OK


def test_updates_that_were_not_compared_are_reported():
    expected = ExpectedLosses(((2.0, 1.0),), noise=0.001, lr=1e-3, eps=0.1, shortfall="it did 1 of 3 steps in 99 s")
    verdict = validity_of(losses=LOSSES, expected=expected)
    assert verdict.status is SessionStatus.OK
    assert verdict.reason == "no update was compared with the reference: it did 1 of 3 steps in 99 s"


def test_a_reference_of_another_shape_is_invalid():
    assert "2 losses, the reference 3" in validity_of(losses=LOSSES, expected=ExpectedLosses(((2.0, 1.0, 1.0),))).reason


def sampled(*values):
    return [recorded.sample(i, value, "x") for i, value in enumerate(values)]


@pytest.mark.parametrize(
    ("quantity", "values", "throttled"),
    [
        ("throttle_events", (7, 7, 7), False),
        ("throttle_events", (7, 7, 9), True),
        ("throttle_flags", (0, 0, 0), False),
        ("throttle_flags", (0, 4, 0), True),
        ("throttle_flags", (0x50000, 0x50000, 0x50000), False),
        ("throttle_flags", (0x10000, 0x50000, 0x50000), True),
        ("frequency_cap_khz", (1500000, 1500000), False),
        ("frequency_cap_khz", (1500000, 1200000, 1500000), True),
        ("frequency_khz", (1500000, 600000), False),
        ("temperature_mc", (50_000, 84_900), False),
        ("temperature_mc", (50_000, 85_000, 60_000), True),
    ],
)
def test_throttling_is_what_appears_during_the_session(quantity, values, throttled):
    verdict = validity_of(*sampled(*values), quantities={"x": quantity}, trip_mc={"x": 85_000.0})
    assert verdict.status is (SessionStatus.THROTTLED if throttled else SessionStatus.OK)
    assert (verdict.reason is not None) is throttled


def test_what_the_host_saw_of_throttling_counts():
    verdict = validity_of(throttle_notes=("thermal status SEVERE",))
    assert (verdict.status, verdict.reason) == (SessionStatus.THROTTLED, "thermal status SEVERE")


def test_an_invalid_session_is_invalid_even_if_it_was_throttled():
    assert validity_of(measured_steps=99, throttle_notes=("hot",)).status is SessionStatus.INVALID
