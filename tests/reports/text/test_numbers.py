"""Numbers, times and outcomes as people read them."""

import time
from collections.abc import Iterator

import pytest

from reports.text import numbers
from reports.text.appearance import glossary, status
from reports.text.escaping import prose
from reports.text.numbers import NBSP
from suite.cli.output import local_time


def zone(monkeypatch: pytest.MonkeyPatch, name: str) -> Iterator[None]:
    monkeypatch.setenv("TZ", name)
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.fixture
def berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    yield from zone(monkeypatch, "Europe/Berlin")


@pytest.fixture
def utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    yield from zone(monkeypatch, "UTC")


@pytest.mark.parametrize(
    ("stored", "unit", "words"),
    [
        (0.1234, "ms", "0.123 ms"),
        (12.34, "ms", "12.3 ms"),
        (999.4, "ms", "999 ms"),
        (1234.5, "ms", "1.23 s"),
        (9996.0, "ms", "10.0 s"),
        (750_000.0, "ms", "12.5 min"),
        (512.0, "KiB", "512 KiB"),
        (619_520.0, "KiB", "605 MiB"),
        (13_000_000.0, "KiB", "12.4 GiB"),
        (850.0, "mJ", "850 mJ"),
        (27_731.0, "mJ", "27.7 J"),
        (6_500.0, "mW", "6.50 W"),
        (0.0, "mJ", "0 mJ"),
        (-30.0, "mJ", "\u221230.0 mJ"),
    ],
)
def test_quantity_moves_to_the_unit_that_reads_best(stored: float, unit: str, words: str) -> None:
    assert numbers.quantity(stored, unit) == words.replace(" ", NBSP)


def test_interval_has_unit_and_places_of_its_median() -> None:
    assert numbers.span(990.0, 1270.0, "ms", like=1234.5) == f"0.99\u20131.27{NBSP}s"


def test_narrow_interval_gets_a_place_more_rather_than_two_equal_ends() -> None:
    assert numbers.span(2856.0, 2862.0, "ms", like=2859.0) == f"2.856\u20132.862{NBSP}s"


def test_interval_of_a_ratio_has_equal_places() -> None:
    assert numbers.times_span(0.996, 1.07) == "1.00\u20131.07\u00d7"
    assert numbers.times(0.4761) == "0.476\u00d7"


def test_counts_and_lists_read_as_sentences() -> None:
    assert numbers.format_count(1, "session") == f"1{NBSP}session"
    assert numbers.format_count(3, "session") == f"3{NBSP}sessions"
    assert numbers.format_list(["a", "b", "c"]) == "a, b and c"
    assert numbers.format_list([]) == ""


def test_small_errors_are_written_with_powers_of_ten() -> None:
    assert numbers.scientific(3.2e-6) == f"3.2{NBSP}\u00d7{NBSP}10\u207b\u2076"
    assert numbers.scientific(0.0) == "0"


def test_moments_are_displayed_in_the_hosts_zone_and_unreadable_ones_as_they_came(utc: None) -> None:
    assert numbers.moment_text("2026-03-02T04:15:00+02:00") == "2026-03-02 02:15 UTC"
    assert numbers.moment_text("yesterday") == "yesterday"
    assert numbers.moment_text("9999-12-31T23:59:00Z").startswith("9999-12-31 23:59")
    assert numbers.moment_text(None) == ""


def test_duration_is_unknown_when_an_end_is_missing_or_before_the_beginning() -> None:
    begin = "2026-03-02T02:15:00Z"
    assert numbers.duration(begin, "2026-03-02T02:43:10Z") == f"28{NBSP}min 10{NBSP}s"
    assert numbers.duration(begin, None) is None
    assert numbers.duration(begin, "2026-03-02T02:14:59Z") is None


def test_every_outcome_has_a_glyph_and_a_word() -> None:
    words = ("ok", "unstable", "unsupported", "failed", "invalid", "partial", "throttled", "lost", "interrupted")
    found = [status(word) for word in words]
    assert [one.word for one in found] == list(words)
    assert all(one.glyph and one.meaning for one in found)
    assert status("on fire").word == "on fire"


def test_glossary_names_the_worst_outcome_first_and_only_those_on_the_page() -> None:
    assert [one.word for one in glossary({"ok", "failed", "unstable"})] == ["failed", "unstable", "ok"]


def test_a_day_is_the_users(berlin: None) -> None:
    assert numbers.moment_text("2026-03-01T23:30:00+00:00") == "2026-03-02 00:30 CET"
    assert numbers.day_and_time("2026-07-01T22:30:00+00:00") == "2026-07-02 00:30"
    assert local_time("2026-03-01T23:30:00.123+00:00") == "2026-03-02 00:30:00+01:00"
    assert numbers.moment_text("9999-12-31T23:59:00Z").startswith("9999-12-31 23:59")


@pytest.mark.parametrize(
    ("written", "utc_time"),
    [
        ("2026-03-01 02:15 CET", "01:15"),
        ("2026-07-01 02:15 CEST", "00:15"),
        ("2026-10-25 02:30 CEST", "00:30"),
        ("2026-10-25 02:30 CET", "01:30"),
    ],
)
def test_a_moment_in_a_sentence_has_its_utc_also_in_the_hour_that_comes_twice(
    berlin: None, written: str, utc_time: str
) -> None:
    text = str(prose(f"since {written}, <b>"))
    day = written[:10]
    assert text == (
        f'since <time datetime="{day}T{utc_time}Z" title="{day} {utc_time} UTC">{written}</time>, &lt;b&gt;'
    )


def test_a_moment_of_another_zone_stays_text(berlin: None) -> None:
    assert str(prose("at 2026-03-01 02:15 JST")) == "at 2026-03-01 02:15 JST"
