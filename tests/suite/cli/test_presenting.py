"""What is printed: numbers, the table of results, notes in a pipe and on a terminal, and how soon."""

import io
from typing import Any

import pytest
from rich.console import Console

from foundation.text import format_duration, format_rounded
from reports.model.measurement import Measurement
from suite.cli.measure.run import findings, reasons, results_table
from suite.display import Display
from suite.planning.plan import Plan
from suite.results.measurement import Subject, measure, with_ratios
from tests.support.suite.recorded_session import result


@pytest.mark.parametrize(
    ("value", "digits"),
    [(0.6512, "0.65"), (9.994, "9.99"), (9.996, "10.0"), (34.55, "34.5"), (99.96, "100"), (812.4, "812"), (0, "0.00")],
)
def test_numbers_are_printed_with_the_digits_that_matter(value: float, digits: str) -> None:
    assert format_rounded(value) == digits


def test_durations_change_their_unit() -> None:
    assert [format_duration(seconds) for seconds in (119.4, 121, 7200, 9000)] == ["119 s", "2 min", "2.0 h", "2.5 h"]


def measurement_of(quant: str, *ms: float, **more: object) -> Measurement:
    workload: dict[str, Any] = {
        "model": "tiny",
        "method": "prge",
        "quant": quant,
        "backend": "xnnpack",
        "q": 2,
        "b": 2,
        "T": 8,
        "rank": 4,
        **more,
    }
    subject = Subject("[bold]pi", "local", False, workload, planned_sessions=max(1, len(ms)), program_bytes=4_200_000)
    return measure(subject, [result(ordinal, ms=value) for ordinal, value in enumerate(ms)])


def table_of(*found: Measurement, width: int = 80) -> list[str]:
    text = io.StringIO()
    Console(file=text, width=width).print(results_table(with_ratios(found)))
    return text.getvalue().splitlines()


def with_energy(found: Measurement, **energy: Any) -> Measurement:
    document = found.document() | {"energy_mj_per_step": {"gross": 900.0, "net": 400.0, "short": False} | energy}
    return Measurement.from_document(document)


@pytest.mark.parametrize(
    ("energy", "words"),
    [
        ({}, "400 net, 900 gross "),
        ({"net": {"unavailable": "idle power was not steady"}}, "900 gross only "),
        ({"short": True}, "400 net, 900 gross, short window"),
    ],
)
def test_the_terminal_has_the_energy_of_the_page(energy: dict[str, Any], words: str) -> None:
    found = with_energy(measurement_of("int8", 1206.0, 1209.0, 1211.0), **energy)
    assert words in "\n".join(table_of(found, width=200))
    assert any("short windows of energy" in line for line in reasons([found])) == ("short" in words)


def test_sessions_too_few_for_an_interval_have_their_range_and_number() -> None:
    lines = table_of(measurement_of("fp32", 2412.0, 2421.0), measurement_of("int8", 1206.0), width=200)
    assert any("(2412-2421, n = 2)" in line for line in lines)
    assert any("n = 1" in line for line in lines if "int8" in line)


def test_no_setting_is_called_the_fastest_where_noise_could_have_made_it_so() -> None:
    close = with_ratios([measurement_of("fp32", 100.0, 102.0, 98.0), measurement_of("int8", 99.0, 97.0, 101.0)])
    apart = with_ratios([measurement_of("fp32", 100.0, 101.0, 99.0), measurement_of("int8", 50.0, 50.5, 49.5)])
    single = with_ratios([measurement_of("fp32", 100.0), measurement_of("int8", 50.0)])
    assert "lowest latency: int8 and fp32 can't be told apart" in findings(close)[0]
    assert (
        "lowest latency int8, 50.0 ms a step (0.500x that of fp32, 95 % interval 0.489-0.511x); " in findings(apart)[0]
    )
    assert "lowest peak memory: fp32 and int8 can't be told apart" in findings(apart)[0]
    assert "latency: a first look (fewer than 3 sessions" in findings(single)[0]


def test_rows_of_several_workloads_are_distinguished_by_what_differs() -> None:
    lines = table_of(
        measurement_of("fp32", 10.0, q=1, b=4),
        measurement_of("fp32", 11.0, q=4, b=1, outer_parallel=False),
        measurement_of("fp32", 12.0, q=1, b=4, method="mezo-lora-fa"),
        width=120,
    )
    named = [line.split("fp32", 1)[1].strip() for line in lines if "pi" in line]
    assert named[0].startswith("prge q=1 b=4 outer_parallel=default ")
    assert named[1].startswith("prge q=4 b=1 outer_parallel=off ")
    assert named[2].startswith("mezo-lora-fa q=1 b=4 ")
    assert not any("rank=" in line or "model" in line for line in lines)


def test_a_failure_is_of_a_workload_where_several_were_measured() -> None:
    lines = reasons([measurement_of("fp32", q=1, b=4), measurement_of("fp32", 11.0, q=4, b=1)])
    assert lines[0] == "[bold]pi fp32 q=1 b=4: failed: no session was run"


def test_the_table_fits_a_terminal_of_80_columns_with_every_number_whole() -> None:
    lines = table_of(measurement_of("fp32", 2412.0, 2418.0, 2421.0), measurement_of("int8", 1206.0, 1209.0, 1211.0))
    (row,) = [line for line in lines if "int8" in line]
    assert [word for word in row.split() if word[0].isdigit() or word == "ok"] == [
        "1209",
        "1202-1215",
        "118",
        "4.20",
        "0.50",
        "ok",
    ]
    assert "…" not in "".join(lines)


def test_what_was_not_measured_is_a_dash_with_its_reason_below() -> None:
    found = [measurement_of("fp32", 2.0), measurement_of("nf4")]
    (row,) = [line for line in table_of(*found) if "nf4" in line]
    assert row.split()[2:6] == ["-", "-", "-", "4.20"]
    lines = reasons(with_ratios(found))
    assert lines[0] == "[bold]pi nf4: failed: no session was run"
    assert lines[1].startswith("[bold]pi: energy is unavailable: ")


def test_names_from_outside_are_not_markup() -> None:
    assert any("[bold]pi" in line for line in table_of(measurement_of("fp32", 2.0)))


def test_a_pipe_gets_one_line_for_each_note_and_no_bars() -> None:
    text = io.StringIO()
    display = Display(Console(file=text, width=20))
    steps = Plan(("local",), model="tiny").steps
    with display.busy("building the runner"), display.steps("local fp32", steps) as on_step:
        display.note("a note that is longer than the [width] of it")
        on_step("measuring", 3)
    with display.bytes("local: deploying") as on_bytes:
        on_bytes("program.pte", 1, 2)
    with display.waiting("measuring idle power"):
        pass
    assert text.getvalue() == "building the runner\na note that is longer than the [width] of it\n"


def test_a_terminal_gets_bars_that_vanish_and_notes_that_stay() -> None:
    text = io.StringIO()
    display = Display(Console(file=text, width=100, force_terminal=True))
    with display.steps("local fp32 [1]", Plan(("local",), model="tiny", steps=10).steps) as on_step:
        on_step("warming up", 2)
        on_step("measuring", 5)
        display.note("still here")
    written = text.getvalue()
    assert "local fp32 [1], measuring" in written
    assert "3/10" in written
    assert "still here" in written
