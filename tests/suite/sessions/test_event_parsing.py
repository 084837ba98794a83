import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from suite.sessions.events import (
    MAX_LINE_CHARS,
    MAX_TEXT_CHARS,
    Defect,
    DefectKind,
    EndEvent,
    FooterEvent,
    HeaderEvent,
    LoadEvent,
    MemoryEvent,
    SampleEvent,
    SensorErrorEvent,
    StepEvent,
    parse_line,
)
from tests.support.suite import recorded_session as recorded


def parse(line):
    return parse_line(json.dumps(line), 7)


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        (recorded.header(), HeaderEvent),
        (recorded.load(), LoadEvent),
        (recorded.step(3), StepEvent),
        ({**recorded.step(3), "length": 48}, StepEvent),
        ({**recorded.step(3), "allocations": 2, "allocated_bytes": 96}, StepEvent),
        (recorded.memory(3), MemoryEvent),
        (recorded.memory(3, pss_kib=None, unavailable={"pss_kib": "no such file"}), MemoryEvent),
        (recorded.sample(1, 2.5), SampleEvent),
        ({"event": "sensor_error", "sensor": "x", "errors": 3, "reason": "gone"}, SensorErrorEvent),
        (recorded.footer(), FooterEvent),
        ({"event": "end", "lines": 12}, EndEvent),
    ],
)
def test_each_event_of_the_contract_is_read_with_all_its_values(line, kind):
    event = parse(line)
    assert isinstance(event, kind)
    assert json.loads(event.model_dump_json(by_alias=True, exclude_unset=True)) == line


def test_losses_that_are_not_finite_come_by_name():
    losses = parse(recorded.step(0, losses=["nan", "inf", "-inf", 1])).losses
    assert math.isnan(losses[0])
    assert losses[1:] == (math.inf, -math.inf, 1.0)


def test_step_latency_is_in_milliseconds():
    assert parse(recorded.step(4, ms=12.5)).latency_ms == 12.5


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"index": "3"}, "index"),
        ({"index": 3.0}, "index"),
        ({"index": True}, "index"),
        ({"index": -1}, "index"),
        ({"t0_ns": 2**63}, "t0_ns"),
        ({"phase": "cool_down"}, "phase"),
        ({"losses": ["much"]}, "losses"),
        ({"losses": "nan"}, "losses"),
        ({"extra": 1}, "extra"),
        ({"event": "stop"}, "event"),
    ],
)
def test_an_event_off_the_contract_is_a_defect_that_names_the_place(change, named):
    defect = parse(recorded.step(3) | change)
    assert isinstance(defect, Defect)
    assert defect.kind is DefectKind.INVALID_EVENT
    assert defect.line == 7
    assert named in defect.detail


@pytest.mark.parametrize(
    "change",
    [
        {"rss_kib": -1},
        {"heap_used_kib": "12"},
        {"heap_used_kib": 1.5},
        {"step": None},
        {"unavailable": ["pss_kib"]},
        {"unavailable": {"pss_kib": 3}},
        {"unavailable": {str(number): "x" for number in range(1000)}},
        {"more": 1},
    ],
)
def test_memory_off_the_contract_is_a_defect(change):
    defect = parse(recorded.memory(3) | change)
    assert isinstance(defect, Defect)
    assert defect.kind is DefectKind.INVALID_EVENT
    assert next(iter(change)) in defect.detail


def test_reasons_of_missing_memory_are_printable():
    reasons = parse(recorded.memory(3, unavailable={"\x1b[2J": "\x1b[31m" + "x" * 10_000})).unavailable
    ((name, reason),) = reasons.items()
    assert name == "\N{REPLACEMENT CHARACTER}[2J"
    assert reason.startswith("\N{REPLACEMENT CHARACTER}")
    assert len(reason) == MAX_TEXT_CHARS


@pytest.mark.parametrize("value", ["NaN", "Infinity", '"nan"', "null", "1e999"])
def test_a_sample_must_be_a_finite_number(value):
    line = f'{{"event": "sample", "t_ns": 1, "sensor": "x", "value": {value}}}'
    assert isinstance(parse_line(line, 1), Defect)


@pytest.mark.parametrize(
    "line", ["Segmentation fault", "[1, 2]", "{", '{"event": "step"', "[" * 100_000, '"x"', "\ud800", "{" * 5000]
)
def test_garbage_is_named_garbage(line):
    defect = parse_line(line, 1)
    assert isinstance(defect, Defect)
    assert defect.kind is DefectKind.GARBAGE
    assert len(defect.detail) < 200


def test_blank_lines_and_carriage_returns_do_no_harm():
    assert parse_line(" \r\n", 1) is None
    assert parse_line('{"event": "end", "lines": 1}\r\n', 1) == EndEvent(event="end", lines=1)


def test_a_line_without_end_is_not_read():
    defect = parse_line("x" * (MAX_LINE_CHARS + 1), 3)
    assert isinstance(defect, Defect)
    assert defect.kind is DefectKind.TOO_LONG


def test_control_characters_never_reach_a_terminal():
    event = parse({"event": "sensor_error", "sensor": "a\x1b[31mb", "errors": 1, "reason": "x" * 10_000})
    assert event.sensor == "a\N{REPLACEMENT CHARACTER}[31mb"
    assert len(event.reason) == MAX_TEXT_CHARS


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@settings(deadline=None, max_examples=200)
@given(st.one_of(st.text(max_size=200), JSON_VALUES.map(json.dumps)))
def test_no_text_whatever_raises(line):
    parsed = parse_line(line, 1)
    assert parsed is None or isinstance(parsed, Defect)


@settings(deadline=None, max_examples=200)
@given(st.sampled_from(["index", "phase", "t0_ns", "losses", "event"]), JSON_VALUES)
def test_no_value_of_a_field_raises(field, value):
    assert isinstance(parse(recorded.step(3) | {field: value}), Defect | StepEvent)
