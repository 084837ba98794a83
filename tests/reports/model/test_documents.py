"""Values out of a document: what is missing keeps its reason and never becomes a number."""

from foundation.unavailable import Unavailable
from reports.model.measurements import NOT_RECORDED, interval, number, ratio, records, text, value


def test_unavailable_keeps_the_reason_from_wherever_it_is_on_the_path() -> None:
    record = {"energy": {"unavailable": "no rail"}, "power": {"mean": {"unavailable": "charging"}}}
    assert number(record, "energy", "net") == Unavailable("no rail")
    assert number(record, "power", "mean") == Unavailable("charging")


def test_missing_and_null_are_not_recorded_rather_than_zero() -> None:
    assert number({"a": None}, "a") == NOT_RECORDED
    assert number({}, "a", "b") == NOT_RECORDED
    assert value({"a": 1}, "a", "b") == NOT_RECORDED


def test_nan_infinity_text_and_truth_values_are_no_numbers() -> None:
    for odd in (float("nan"), float("inf"), "12", True, [1], 10**400):
        assert isinstance(number({"a": odd}, "a"), Unavailable), odd
    assert number({"a": 0}, "a") == 0.0


def test_interval_needs_both_ends() -> None:
    assert interval({"ci95": [1, 2.5]}, "ci95") == (1.0, 2.5)
    for odd in ([1], "12", [1, None], {"unavailable": "one session"}, [1, float("nan")]):
        assert interval({"ci95": odd}, "ci95") is None


def test_ratio_over_zero_or_unavailable_is_unavailable() -> None:
    assert ratio(3.0, 2.0) == 1.5
    assert isinstance(ratio(3.0, 0.0), Unavailable)
    assert ratio(3.0, Unavailable("why")) == Unavailable("why")


def test_lists_of_objects_and_texts_survive_odd_documents() -> None:
    assert records({"a": [{"b": 1}, 7, None]}, "a") == [{"b": 1}]
    assert records({"a": "text"}, "a") == []
    assert text({"a": {"unavailable": "x"}}, "a", default="?") == "?"
