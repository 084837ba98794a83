"""Which points an acceptance means, and that it is whole or not at all."""

from __future__ import annotations

import pytest

from foundation.errors import UserError
from suite.report_data.source import StoreSource
from suite.store import schema
from suite.store.series import accept_points, newest_point, regressed_points, series_list
from suite.store.store import VerdictRow
from tests.support.suite.stored_run import begin, finish


@pytest.fixture
def nights(tmp_path):
    """Three nights, of which the second was measured last."""
    made = [begin(tmp_path / "store.sqlite") for _ in range(3)]
    for begun, at in zip(made, ("2026-01-01", "2026-01-09", "2026-01-03"), strict=True):
        finish(begun, 100.0)
        with begun.store.database.writing() as connection:
            chosen = schema.measurement.c.id == begun.measurement_id
            connection.execute(schema.measurement.update().where(chosen).values(started_at=f"{at}T00:00:00+00:00"))
    yield made
    for begun in made:
        begun.store.close()


def latency(store):
    return next(item for item in series_list(store) if item.metric == "latency_ms")


def judge(begun, point, *verdicts):
    for verdict in verdicts:
        begun.store.add_verdicts([VerdictRow(point.series_id, point.measurement_id, verdict, "nightly 2", {}, {})])


def accepted(store):
    with store.database.reading() as connection:
        return [(row.series_id, row.why) for row in connection.execute(schema.acceptance.select())]


def test_the_newest_point_is_the_one_measured_last_or_that_of_the_run_named(nights):
    store, (first, second, _) = nights[0].store, nights
    assert newest_point(store, latency(store)).run_id == second.run_id
    assert newest_point(store, latency(store), first.run_id).measurement_id == first.measurement_id
    with pytest.raises(UserError, match="has no point of local/"):
        newest_point(store, latency(store), "2020-01-01T00-00-00-aaaa")


def test_of_the_verdicts_on_a_point_the_last_one_counts(nights):
    (begun, other, _) = nights
    point = newest_point(begun.store, latency(begun.store), begun.run_id)
    judge(begun, point, "unchanged", "regressed")
    assert [item.measurement_id for item in regressed_points(begun.store, begun.run_id)] == [begun.measurement_id]
    assert regressed_points(begun.store, other.run_id) == []
    judge(begun, point, "inconclusive")
    assert regressed_points(begun.store, begun.run_id) == []


def test_of_a_night_what_is_left_is_accepted(nights):
    begun = nights[0]
    points = [newest_point(begun.store, item, begun.run_id) for item in series_list(begun.store)]
    for point in points:
        judge(begun, point, "regressed")
    accept_points(begun.store, points[:1], "lena", "known")
    left = regressed_points(begun.store, begun.run_id)
    assert {item.series_id for item in left} == {item.series_id for item in points[1:]}
    accept_points(begun.store, left, "ben", "the others")
    assert regressed_points(begun.store, begun.run_id) == []
    assert len(regressed_points(begun.store, begun.run_id, accepted=True)) == len(points)
    source = StoreSource(begun.store)
    assert {one.verdict for one in source.verdicts(begun.run_id)} == {"accepted"}
    history = next(
        one for one in source.history("local", latency(begun.store).workload_key) if one.metric == "latency_ms"
    )
    assert {point.verdict for point in history.points if point.run_id == begun.run_id} == {"accepted"}


def test_points_are_accepted_all_or_none(nights):
    store = nights[0].store
    points = [newest_point(store, item) for item in series_list(store)]
    accept_points(store, points[:1], "lena", "known")
    with pytest.raises(
        UserError, match=rf"{points[0].series} was already accepted from run .* by lena at .*nothing is left"
    ):
        accept_points(store, [*points[1:], points[0]], "ben", "again")
    assert accepted(store) == [(points[0].series_id, "known")]
    accept_points(store, points[1:], "ben", "the others")
    assert len(accepted(store)) == len(points) > 3
