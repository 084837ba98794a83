"""Values out of a document: what is missing keeps its reason and never becomes a number."""

from typing import Any

from foundation.unavailable import Unavailable
from reports.model.measurement import Measurement
from reports.model.reading import NOT_RECORDED, Interval, interval, number, records, text, value
from reports.tables.results import memory_over_weights


def test_unavailable_keeps_the_reason_from_wherever_it_is_on_the_path() -> None:
    record: dict[str, Any] = {"energy": {"unavailable": "no rail"}, "power": {"mean": {"unavailable": "charging"}}}
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
    assert interval({"ci95": [1, 2.5]}, "ci95") == Interval(1.0, 2.5)
    for odd in ([1], "12", [1, None], {"unavailable": "one session"}, [1, float("nan")]):
        assert isinstance(interval({"ci95": odd}, "ci95"), Unavailable), odd


def test_ratio_over_zero_or_unavailable_is_unavailable() -> None:
    def ratio(**record: Any) -> tuple[str, list[str]]:
        cell = memory_over_weights(Measurement.from_document(record))
        return cell.main, [*cell.small]

    assert ratio(peak_memory_kib=3.0, weight_bytes=2048) == ("1.50\u00d7", ["of 2.00\u00a0KiB"])
    assert ratio(peak_memory_kib=3.0, weight_bytes=0) == ("unavailable", ["the value to divide by is 0"])
    assert ratio(peak_memory_kib=3.0, weight_bytes={"unavailable": "why"}) == ("unavailable", ["why"])


def test_lists_of_objects_and_texts_survive_odd_documents() -> None:
    assert records({"a": [{"b": 1}, 7, None]}, "a") == [{"b": 1}]
    assert records({"a": "text"}, "a") == []
    assert text({"a": {"unavailable": "x"}}, "a", default="?") == "?"
