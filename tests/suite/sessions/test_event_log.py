import pytest

from suite.sessions import event_log
from suite.sessions.event_log import read_events
from suite.sessions.events import DefectKind
from tests.support.suite import recorded_session as recorded


def kinds(lines):
    return [defect.kind for defect in read_events(lines).defects]


def without(lines, index):
    return lines[:index] + lines[index + 1 :]


def test_a_whole_session_has_no_defects():
    log = read_events(recorded.whole(recorded.sample(recorded.START_NS, 1.0)))
    assert log.defects == ()
    assert log.fatal_count == 0
    assert len(log.events) == 2 + 7 + 1 + 1 + 1


def test_garbage_between_the_lines_is_noted_and_harmless():
    lines = recorded.whole()
    log = read_events(["* daemon started *", *lines[:3], "WARNING: linker", *lines[3:]])
    assert [defect.kind for defect in log.defects] == [DefectKind.GARBAGE] * 2
    assert log.fatal_count == 0
    assert log.defects[1].line == 5


def test_a_lost_line_shows_in_the_line_count():
    lines = recorded.whole()
    assert kinds(without(lines, 8)) == [DefectKind.LINE_COUNT]


def test_a_line_torn_by_garbage_shows_in_the_line_count():
    lines = recorded.whole(recorded.sample(recorded.START_NS, 1.0))
    lines[9] = lines[9][:20] + "oops"
    assert kinds(lines) == [DefectKind.GARBAGE, DefectKind.LINE_COUNT]


def test_a_missing_end_marker_is_named():
    assert kinds(recorded.whole()[:-1]) == [DefectKind.NO_END]


def test_a_missing_footer_is_named():
    lines = recorded.text([recorded.header(), recorded.load(), *recorded.steps()])
    assert kinds(lines) == [DefectKind.NO_FOOTER]


def test_a_last_line_that_stops_in_the_middle_is_truncated():
    lines = recorded.whole()[:6]
    lines[-1] = lines[-1][:30]
    assert kinds(lines) == [DefectKind.TRUNCATED, DefectKind.NO_FOOTER, DefectKind.NO_END]


def test_nothing_at_all_misses_everything():
    assert kinds([]) == [DefectKind.NO_HEADER, DefectKind.NO_FOOTER, DefectKind.NO_END]


def test_a_step_left_out_is_missing():
    lines = recorded.text([recorded.header(), recorded.load(), recorded.step(0), recorded.step(2), recorded.footer()])
    assert kinds(lines) == [DefectKind.MISSING_STEP]


@pytest.mark.parametrize(
    ("first", "second", "kind"),
    [
        (recorded.step(1), recorded.step(0), DefectKind.OUT_OF_ORDER),
        (recorded.step(0), recorded.step(0), DefectKind.OUT_OF_ORDER),
        (recorded.step(0), recorded.step(1, "warm_up"), DefectKind.OUT_OF_ORDER),
        (recorded.step(0), recorded.step(1) | {"t0_ns": recorded.LOAD_END_NS + 1}, DefectKind.TIME_REVERSED),
        (recorded.step(0), recorded.step(1) | {"t1_ns": 5}, DefectKind.TIME_REVERSED),
        (recorded.sample(9, 1.0), recorded.sample(8, 1.0), DefectKind.TIME_REVERSED),
        (recorded.memory(0), recorded.step(0), DefectKind.OUT_OF_ORDER),
        (recorded.step(0), recorded.memory(1), DefectKind.OUT_OF_ORDER),
        (recorded.step(0), recorded.memory(0, t_ns=5), DefectKind.TIME_REVERSED),
        (recorded.load(), recorded.step(0), DefectKind.DUPLICATE),
        (recorded.header(), recorded.step(0), DefectKind.DUPLICATE),
        (recorded.footer(), recorded.step(0), DefectKind.OUT_OF_ORDER),
        (recorded.footer(), recorded.footer(), DefectKind.DUPLICATE),
    ],
)
def test_lines_in_an_impossible_order_are_named(first, second, kind):
    assert kind in kinds(recorded.text([recorded.header(), recorded.load(), first, second, recorded.footer()]))


def test_lines_before_the_header_and_after_the_end_are_out_of_order():
    lines = recorded.whole()
    assert kinds([lines[1], lines[0], *lines[2:]]) == [DefectKind.OUT_OF_ORDER]
    assert kinds([*lines, lines[4]])[0] is DefectKind.OUT_OF_ORDER


def test_a_step_before_the_load_is_out_of_order():
    lines = recorded.text([recorded.header(), recorded.step(0), recorded.load(), recorded.footer()])
    assert kinds(lines) == [DefectKind.OUT_OF_ORDER, DefectKind.OUT_OF_ORDER]


def test_noise_without_end_keeps_few_defects_and_counts_all():
    log = read_events(["noise"] * 500)
    assert log.defect_count == 503
    assert len(log.defects) == event_log.MAX_DEFECTS + 3
    assert log.fatal_count == 3


def test_more_lines_than_bearable_are_not_read(monkeypatch):
    monkeypatch.setattr(event_log, "MAX_LINES", 5)
    assert DefectKind.TOO_MANY_LINES in kinds(recorded.whole())
