import math

import pytest

from suite.regression.segments import Point, Segment, comparable, scale_to, segments, since_device_change


def level(value, count, fingerprint="a"):
    return [Point(value, fingerprint) for _ in range(count)]


def test_no_points_have_no_segments():
    assert segments([]) == ()
    assert comparable([]) == ()
    assert since_device_change([]) == ()


def test_points_of_one_fingerprint_are_one_segment():
    assert segments(level(1.0, 3)) == (Segment(0, 3, "first point"),)


def test_a_new_firmware_opens_a_segment():
    points = level(1.0, 3) + level(2.0, 2, "b")
    assert segments(points) == (Segment(0, 3, "first point"), Segment(3, 5, "device changed"))
    assert comparable(points) == (2.0, 2.0)


def test_going_back_to_an_earlier_firmware_opens_one_more():
    points = level(1.0, 2) + level(2.0, 2, "b") + level(1.0, 2)
    assert [segment.start for segment in segments(points)] == [0, 2, 4]
    assert comparable(points) == (1.0, 1.0)


def test_an_acceptance_opens_a_segment_with_the_accepted_point():
    points = [*level(1.0, 3), Point(1.2, "a", accepted=True), Point(1.21, "a")]
    assert segments(points) == (Segment(0, 3, "first point"), Segment(3, 5, "accepted"))
    assert comparable(points) == (1.2, 1.21)


def test_points_that_were_taken_out_are_no_history():
    points = [*level(1.0, 2), Point(9.0, "a", excluded=True), Point(1.1, "a")]
    assert comparable(points) == (1.0, 1.0, 1.1)
    assert since_device_change(points) == (1.0, 1.0, 1.1)


def test_one_night_on_which_the_device_was_blamed_changes_nothing():
    points = [*level(100.0, 12), Point(106.0, "a", device_level=106.0), *level(100.0, 3)]
    assert comparable(points) == tuple(point.value for point in points)


def test_a_device_that_was_blamed_twice_brings_its_history_to_its_new_level():
    points = [*level(100.0, 12), Point(106.0, "a", device_level=105.0), Point(107.0, "a", device_level=107.0)]
    new = math.sqrt(105.0 * 107.0)
    assert comparable(points) == pytest.approx((*[new] * 12, 106.0, 107.0))
    assert since_device_change(points) == (106.0, 107.0)


def test_a_device_that_was_blamed_twice_long_apart_has_not_changed():
    blamed = Point(106.0, "a", device_level=106.0)
    points = [*level(100.0, 12), blamed, *level(100.0, 4), blamed]
    assert comparable(points) == tuple(point.value for point in points)
    near = [*level(100.0, 12), blamed, *level(100.0, 3), blamed]
    assert comparable(near)[0] == pytest.approx(106.0)


def test_a_device_that_changes_back_is_followed():
    slow = [Point(110.0, "a", device_level=110.0)] * 2
    back = [Point(100.0, "a", device_level=100.0)] * 2
    found = comparable([*level(100.0, 12), *slow, *level(110.0, 20), *back])
    assert found == pytest.approx([100.0] * len(found))


def test_what_an_earlier_segment_knew_of_the_device_does_not_count():
    points = [*level(100.0, 12), *[Point(106.0, "a", device_level=106.0)] * 2, *level(90.0, 3, "b")]
    assert comparable(points) == (90.0, 90.0, 90.0)


def test_a_drift_traced_to_the_device_is_not_looked_for_again():
    points = [*level(100.0, 20), Point(104.0, "a", drift_traced=True), Point(104.5, "a")]
    assert since_device_change(points) == (104.0, 104.5)
    assert comparable(points)[0] == 100.0


@pytest.mark.parametrize(("history", "new"), [([0.0, 0.0], 1.0), ([1.0], -1.0)])
def test_levels_are_positive(history, new):
    with pytest.raises(ValueError, match="positive"):
        scale_to(history, new)


def test_a_device_that_was_blamed_brings_the_level_of_the_last_thirty_nights_to_its_own():
    blamed = [Point(110.0, "a", device_level=110.0)] * 2
    found = comparable([*level(50.0, 40), *level(100.0, 30), *blamed])
    assert found[40:70] == pytest.approx([110.0] * 30)


def test_points_that_were_taken_out_have_no_say_in_the_level_before_a_device_changed():
    slow = [Point(130.0, "a", excluded=True)] * 8
    blamed = [Point(110.0, "a", device_level=110.0)] * 2
    found = comparable([*level(100.0, 6), *slow, *blamed])
    assert found == pytest.approx([110.0] * 8)


def test_drift_is_looked_for_since_the_last_of_what_was_explained():
    blamed = [Point(104.0, "a", device_level=104.0)] * 2
    traced = [Point(108.0, "a", drift_traced=True), Point(108.5, "a")]
    assert since_device_change([*level(100.0, 3), *blamed, *level(104.0, 3), *traced]) == (108.0, 108.5)
    assert since_device_change([*level(100.0, 3), *traced, *level(108.0, 3), *blamed]) == (104.0, 104.0)
