from __future__ import annotations

import json

import numpy as np
import pytest

from foundation.unavailable import Unavailable
from suite.endurance.memory import Growth, MemoryVerdict, growth_over, judge_memory
from suite.sessions.events import MemoryEvent, StepEvent, parse_line
from tests.support.suite import recorded_session as recorded

READINGS, EVERY = 100, 50
RESIDENT = 90_000


def grown(kib, every=EVERY):
    found = growth_over([every * place for place in range(len(kib))], list(kib))
    assert isinstance(found, Growth)
    return found


def covered(series):
    """The share of series [m, n], of which none grows, whose interval holds 0."""
    intervals = [grown(row).interval for row in series]
    return sum(interval.low <= 0 <= interval.high for interval in intervals) / len(intervals)


def drawn(kind, sessions=2000):
    random = np.random.default_rng(7)
    noise = random.standard_normal((sessions, READINGS))
    if kind == "walk":
        return noise.cumsum(1)
    if kind == "rare jumps":
        return (noise * (random.random(noise.shape) < 0.05)).cumsum(1)
    for place in range(1, READINGS):
        noise[:, place] += kind * noise[:, place - 1]
    return noise


@pytest.mark.parametrize("kind", [0.0, 0.5, 0.9, "walk", "rare jumps"])
def test_what_does_not_grow_is_covered_however_alike_neighbours_are(kind):
    assert covered(drawn(kind)) >= 0.93


def test_a_straight_line_would_not_cover_it():
    """Why growth is not a line's slope: its usual interval on a random walk."""
    series, places = drawn("walk"), np.arange(READINGS) - (READINGS - 1) / 2
    slopes = series @ places / (places @ places)
    rest = series - series.mean(1, keepdims=True) - slopes[:, None] * places
    errors = np.sqrt((rest**2).sum(1) / (READINGS - 2) / (places @ places))
    assert np.mean(np.abs(slopes) <= 1.98 * errors) < 0.3


def test_a_leak_amid_noise_is_found_and_its_size_is_right():
    random = np.random.default_rng(3)
    growth = grown(RESIDENT + 0.5 * EVERY * np.arange(READINGS) + 100 * random.standard_normal(READINGS))
    assert growth.interval.low > 0
    assert growth.kib_per_step == pytest.approx(0.5, rel=0.1)


def test_jumps_of_an_allocator_that_grows_steadily_are_growth():
    growth = grown(RESIDENT + 132 * (np.arange(READINGS) // 7))
    assert growth.interval.low > 0


def test_one_jump_is_no_growth():
    growth = grown(RESIDENT + 4000 * (np.arange(READINGS) > 60))
    assert growth.interval.low < 0 < growth.gained_kib


def test_a_constant_has_grown_by_exactly_nothing():
    growth = grown([RESIDENT] * READINGS)
    assert (growth.gained_kib, growth.interval.low, growth.interval.high) == (0, 0, 0)


def test_too_few_readings_say_so():
    found = growth_over(range(19), [1.0] * 19)
    assert isinstance(found, Unavailable)
    assert "19 readings of memory, but a slope needs at least 20" in found.reason


def session(readings=READINGS, allocations=0, warm_up=100, **kib):
    """Steps, and readings after every `EVERY`th; `kib` are series, or numbers for all of them."""
    steps = [
        StepEvent(
            event="step", index=index, phase="warm_up" if index < warm_up else "measured",
            t0_ns=index * 10, t1_ns=index * 10 + 9, losses=(1.0,), allocations=allocations, allocated_bytes=allocations,
        )
        for index in range((readings - 1) * EVERY + 1)
    ]  # fmt: skip
    found = []
    for place in range(readings):
        values = {name: value[place] if hasattr(value, "__getitem__") else value for name, value in kib.items()}
        reasons = {name: "not here" for name, value in values.items() if value is None}
        memory = parse_line(json.dumps(recorded.memory(place * EVERY) | values | {"unavailable": reasons}), 1)
        assert isinstance(memory, MemoryEvent)
        found.append(memory)
    return steps, found


def noise(level, kib, seed=0):
    return [int(value) for value in level + kib * np.random.default_rng(seed).standard_normal(READINGS)]


def climbing(level, each):
    return [int(level + each * place) for place in range(READINGS)]


def test_a_heap_that_grows_is_a_leak():
    finding = judge_memory(*session(rss_kib=climbing(RESIDENT, 5), heap_used_kib=climbing(10_000, 5)))
    assert finding.verdict is MemoryVerdict.LEAK
    assert "the heap in use grew by " in finding.reason


def test_a_process_that_grows_around_a_heap_that_does_not_is_fragmented():
    grows = {"rss_kib": climbing(RESIDENT, 50), "anonymous_kib": climbing(60_000, 50)}
    finding = judge_memory(*session(**grows, heap_used_kib=noise(10_000, 20)))
    assert finding.verdict is MemoryVerdict.FRAGMENTATION


def test_memory_that_rests_is_no_finding():
    finding = judge_memory(*session(rss_kib=noise(RESIDENT, 30)))
    assert finding.verdict is MemoryVerdict.NONE
    assert finding.growth["swap"].gained_kib == 0


def test_growth_by_swapping_out_is_seen():
    finding = judge_memory(*session(anonymous_kib=RESIDENT, swap_kib=climbing(0, 100)))
    assert finding.verdict is MemoryVerdict.FRAGMENTATION


def test_pages_of_files_that_come_in_are_no_fragmentation():
    finding = judge_memory(*session(rss_kib=climbing(RESIDENT, 50)))
    assert finding.verdict is MemoryVerdict.UNKNOWN
    assert "may have grown by up to" in finding.reason


def test_noise_that_could_hide_growth_is_not_called_none():
    finding = judge_memory(*session(rss_kib=noise(RESIDENT, 3000)))
    assert finding.verdict is MemoryVerdict.UNKNOWN
    assert "take more steps" in finding.reason


def test_growth_without_a_known_heap_is_neither_leak_nor_fragmentation():
    grows = {"rss_kib": climbing(RESIDENT, 50), "anonymous_kib": climbing(60_000, 50)}
    finding = judge_memory(*session(**grows, heap_used_kib=None, heap_held_kib=None))
    assert finding.verdict is MemoryVerdict.UNKNOWN
    assert "of the heap: not here" in finding.reason
    assert finding.document()["growth"]["heap in use"] == {"unavailable": "not here"}


def test_the_warm_up_does_not_count():
    heap = [20_000, 9000, *[10_000] * (READINGS - 2)]
    finding = judge_memory(*session(heap_used_kib=heap, rss_kib=[200_000, *[RESIDENT] * (READINGS - 1)]))
    assert finding.verdict is MemoryVerdict.NONE
    assert finding.growth["heap in use"].gained_kib == 0


def test_allocations_are_those_of_measured_steps():
    steps, readings = session(allocations=3)
    steps[-1] = steps[-1].model_copy(update={"allocations": 9})
    steps[0] = steps[0].model_copy(update={"allocations": 900})
    found = judge_memory(steps, readings).allocations
    assert (found.asking, found.median, found.most, found.most_bytes) == (found.steps, 3, 9, 3)


def test_a_buffer_that_a_thread_needs_once_is_no_growth():
    heap = [500, 500, 500, 760, *[760] * (READINGS - 4)]
    finding = judge_memory(*session(heap_used_kib=heap))
    assert finding.verdict is MemoryVerdict.NONE


def test_allocations_that_can_not_be_counted_have_a_reason():
    steps, readings = session(allocations=None, readings=30)
    readings = [each.model_copy(update={"unavailable": {"allocations": "only glibc"}}) for each in readings]
    assert judge_memory(steps, readings).allocations == Unavailable("only glibc")
