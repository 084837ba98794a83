"""What a run's first screen says: the best setting and what can't be told, and the matrix of kinds by settings."""

from __future__ import annotations

from typing import Any

from reports.model.measurement import Measurement
from reports.tables.answers import answers_of, kind_matrix
from reports.tables.pictures import Spark
from tests.support.reports.page_models import WORKLOAD


def item(setting: str, ms: float, device: str = "board", **more: Any) -> Measurement:
    plain: dict[str, Any] = {
        "measurement_id": f"{device}-{setting}", "device": device, "kind": "jetson", "status": "ok",
        "workload": WORKLOAD | {"quant": setting}, "peak_memory_kib": 1024 * 100,
        "latency_ms": {"median": ms, "ci95": [0.98 * ms, 1.02 * ms], "sessions": [0.99 * ms, ms, 1.01 * ms]},
        "energy_mj_per_step": {"unavailable": "no rail"},
        "sessions": [{"ordinal": n, "status": "ok", "hwm_kib": 1024 * 100 + n} for n in range(3)],
    }  # fmt: skip
    return Measurement.from_document(plain | more)


def answers_by_question(found: list[Measurement]) -> dict[str, tuple[str, list[str]]]:
    return {
        one.question: (one.answer, [words.replace("\u00a0", " ") for words in one.words]) for one in answers_of(found)
    }


def test_one_device_has_its_numbers_and_what_is_indistinguishable_from_the_best() -> None:
    answers = answers_by_question([item("fp32", 100.0), item("int8", 50.0), item("nf4", 50.5)])
    assert answers["Fastest"] == ("int8", ["50.0 ms a step", "Can't be told apart from nf4."])
    assert answers["Most frugal"] == ("not known", ["Not measured: no rail"])
    assert answers["Smallest"][1] == ["100 MiB at the peak", "Can't be told apart from int8 and nf4."]


def test_of_many_devices_the_setting_that_is_best_on_most_of_them_is_named_with_the_others() -> None:
    found = [
        item(setting, ms, f"board-{number}")
        for number in range(5)
        for setting, ms in (("fp32", 100.0), ("int8", 50.0 if number < 3 else 99.5 if number == 3 else 200.0))
    ]
    answer, words = answers_by_question(found)["Fastest"]
    assert answer == "int8"
    assert words == ["on 3 of 5 devices", "fp32 on 1", "Can't be told apart on 1 device."]


def test_where_no_device_has_a_best_setting_none_is_named() -> None:
    found = [item(name, 100.0, device) for device in ("a", "b") for name in ("fp32", "int8")]
    assert answers_by_question(found)["Fastest"] == ("no difference", ["Can't be told apart on 2 devices."])
    matrix = kind_matrix(found)
    assert matrix is not None and not any(value.best for cell in matrix.rows[0].cells for value in cell.values)


def test_settings_that_are_best_on_as_many_devices_are_both_named() -> None:
    pairs = (("a", 50.0), ("b", 200.0))
    found = [item(name, ms, device) for device, ms8 in pairs for name, ms in (("fp32", 100.0), ("int8", ms8))]
    assert answers_by_question(found)["Fastest"] == ("fp32 and int8", ["on 1 of 2 devices each"])


def test_nothing_is_answered_of_emulated_devices() -> None:
    assert answers_of([item("fp32", 100.0, emulated=True), item("int8", 50.0, emulated=True)]) == []


def test_a_cell_of_the_matrix_is_the_median_over_the_devices_of_a_kind_with_the_best_in_bold() -> None:
    found = [item("fp32", 100.0 + number, f"board-{number}") for number in range(3)]
    found += [item("int8", 50.0 + number, f"board-{number}") for number in range(3)]
    found += [item("int8", 9.0, "phone", kind="android"), item("fp32", 9.0, "phone", kind="android", status="failed")]
    matrix = kind_matrix(found)
    assert matrix is not None and [title for title, _ in matrix.columns] == ["fp32", "int8"]
    boards, phone = matrix.rows
    assert (boards.name, boards.quiet) == ("jetson", "3\u00a0devices")
    latencies = [(cell.values[0].text, cell.values[0].best) for cell in boards.cells]
    assert latencies == [("101\u00a0ms", False), ("51.0\u00a0ms", True)]
    assert [(cell.note, len(cell.values)) for cell in phone.cells] == [("failed", 0), ("", 2)]
    assert not phone.cells[1].values[0].best  # there is none to be better than


def test_a_sparkline_breaks_at_gaps_and_is_highest_where_its_value_is() -> None:
    spark = Spark([1.0, 3.0, None, 2.0], "course")
    assert spark.lines == ["2.0,22.0 34.0,2.0", "98.0,12.0 98.0,12.0"]
    assert Spark([5.0, 5.0], "steady").lines == ["2.0,12.0 98.0,12.0"]
