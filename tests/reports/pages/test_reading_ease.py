"""What a reader should not have to do: read the same twice, put a command together, guess a scale."""

from dataclasses import replace
from pathlib import Path

import pytest

from reports.figures.panels import Figure
from reports.figures.trade_offs import MOST_IN_LEGEND, latency_against_energy, latency_against_memory
from reports.figures.trends import trend
from reports.files import run_place
from reports.model.histories import HealthPoint, HistorySummary, Remark
from reports.model.measurement import Measurement, measurements
from reports.model.quantities import metric_title
from reports.pages.device import device_page
from reports.pages.series import series_page
from reports.pages.workload import workload_page
from reports.site.build import build
from reports.tables.sections import GridRow, Page
from tests.support.reports.lab_fixtures import METRICS, NIGHT_ID, LabSource, key
from tests.support.reports.page_text import PageText


def _rows(page: Page, section: str) -> list[GridRow]:
    return [row for part in page.sections if part.name == section for grid in part.grids for row in grid.rows]


def _figure(page: Page, name: str) -> Figure:
    return next(figure for figure in page.figures if figure.name == name)


@pytest.fixture
def lab() -> LabSource:
    return LabSource(nights=24)


def _series(lab: LabSource) -> HistorySummary:
    return next(one for one in lab.histories() if one.device == "jetson")


def test_remark_and_segment_of_every_metric_are_one_row_each_and_a_change_of_one_names_it(lab: LabSource) -> None:
    page = series_page(_series(lab), lab.history("jetson", key("fp32")))
    rows = [[cell.main for cell in row.cells] for row in _rows(page, "found")]
    assert sorted(row[2] for row in rows) == ["│ new segment", "▼ worse", "▼ worse", "▼ worse", "✎ annotation"]
    assert {row[0] for row in rows if row[2] in ("│ new segment", "✎ annotation")} == {"every metric"}
    assert [row[0] for row in rows if row[2] == "▼ worse"] == [metric_title(metric) for metric in METRICS]


def test_rows_of_findings_keep_their_links_when_the_history_grows(lab: LabSource) -> None:
    histories = lab.history("jetson", key("fp32"))
    more = [
        replace(one, remarks=[*one.remarks, Remark("annotation", "2026-09-01T00:00:00+00:00", "ben", "later")])
        for one in histories
    ]
    before, after = (
        {row.anchor for row in _rows(series_page(_series(lab), found), "found")} for found in (histories, more)
    )
    assert before < after and len(after) == len(before) + 1


def test_long_remark_is_cut_on_the_page(lab: LabSource) -> None:
    remark = Remark("annotation", "2026-01-05T00:00:00+00:00", "ben", "word " * 4000)
    histories = [replace(one, remarks=[remark]) for one in lab.history("jetson", key("fp32"))]
    page = series_page(_series(lab), histories)
    assert max(len(cell.main) for row in _rows(page, "found") for cell in row.cells) < 700
    assert max(len(note) for figure in page.figures for note in figure.notes) < 200


def _measurements_of(lab: LabSource) -> list[Measurement]:
    return measurements(lab.documents[NIGHT_ID])


def test_reason_of_a_failed_measurement_stands_once_in_its_row(lab: LabSource) -> None:
    why = {"unavailable": "the device went away"}
    lost = {"status": "lost", "reason": why["unavailable"], "latency_ms": why, "peak_memory_kib": why}
    record = lab.documents[NIGHT_ID]["measurements"][0] | lost
    found = measurements({"measurements": [record]})
    (row,) = _rows(workload_page(lab.workloads()[0], found), "settings")
    assert [line for cell in row.cells for line in cell.small].count("the device went away") == 1
    assert [cell.main for cell in row.cells].count("unavailable") == 3


def test_figures_without_a_value_say_so_and_are_not_drawn(lab: LabSource) -> None:
    why = {"unavailable": "the device went away"}
    gone = {"latency_ms": why, "peak_memory_kib": why, "energy_mj_per_step": why}
    records = [record | gone for record in lab.documents[NIGHT_ID]["measurements"]]
    found = measurements({"measurements": records})
    assert latency_against_memory(found).empty
    assert not workload_page(lab.workloads()[0], found).figures
    assert latency_against_memory(_measurements_of(lab)).traces


def test_scale_of_counts_has_whole_numbers(lab: LabSource) -> None:
    summary = next(one for one in lab.devices() if one.name == "jetson")
    for most in (0, 1, 30):
        health = [HealthPoint("run", "2026-01-02T00:00:00+00:00", "Debian", throttled=most)]
        layout = _figure(device_page(summary, health, ()), "throttling").layout
        assert layout is not None
        scale = layout["yaxis"]
        assert isinstance(scale["dtick"], int) and scale["dtick"] >= 1 and scale["range"][1] >= max(1, most)


def test_history_of_a_single_run_is_drawn_on_a_scale_of_days(lab: LabSource) -> None:
    (latency, *_) = lab.history("jetson", key("fp32"))
    alone = replace(latency, points=latency.points[:1], segments=(), changes=(), remarks=())
    scales = [trend(history, "fp32", "m").layout for history in (alone, latency)]
    assert scales[0] is not None and scales[1] is not None
    assert scales[0]["xaxis"]["range"] == ["2026-01-01T14:15:00", "2026-01-02T14:15:00"]
    assert "range" not in scales[1]["xaxis"]


@pytest.mark.parametrize(("spread", "share"), [(0.0, 0.0), (0.001, 0.02), (0.2, 0.8)])
def test_noise_that_is_never_judged_does_not_fill_a_trend(lab: LabSource, spread: float, share: float) -> None:
    (latency, *_) = lab.history("jetson", key("fp32"))
    points = [
        replace(point, value=1000.0 * (1 + spread * (place % 2)), low=None, high=None)
        for place, point in enumerate(latency.points)
    ]
    figure = trend(replace(latency, points=points, segments=(), changes=(), remarks=()), "fp32", "m")
    assert figure.layout is not None
    low, high = figure.layout["yaxis"]["range"]
    drawn = figure.traces[0]["y"]
    assert low < min(drawn) and high > max(drawn) and high - low > 0.05 * max(drawn) / (1 + spread)
    assert (max(drawn) - min(drawn)) / (high - low) == pytest.approx(share, abs=0.15 if spread > 0.05 else 0.005)


def test_command_that_accepts_a_night_can_be_taken_as_it_stands(lab: LabSource, tmp_path: Path) -> None:
    text = PageText(build(lab, tmp_path)).text
    assert f"`suite accept {NIGHT_ID} --why REASON`" in text


def test_tags_of_a_run_are_found_in_the_overview(lab: LabSource, tmp_path: Path) -> None:
    lab.summaries[0] = replace(lab.summaries[0], tags=("v1.2",))
    row = next(row for row in PageText(build(lab, tmp_path)).rows["runs"] if row[0]["main"] == NIGHT_ID)
    assert row[0]["href"] == run_place(NIGHT_ID) and row[0]["tags"] == ["v1.2"]


def test_device_has_one_symbol_in_all_figures_of_a_page(lab: LabSource) -> None:
    (first, *_) = lab.documents[NIGHT_ID]["measurements"]
    known = {"energy_mj_per_step": {"net": 900.0}, "latency_ms": {"median": 12.0}}
    unknown = {"energy_mj_per_step": {"unavailable": "no sensor"}}
    records = [
        first | known | {"device": "jetson", "measurement_id": "1"},
        first | known | unknown | {"device": "local", "measurement_id": "2"},
    ]
    for last in (records, records[::-1]):
        found = measurements({"measurements": last})
        symbol_of = [
            {
                trace["name"]: trace["marker"]["symbol"]
                for trace in figure.traces
                if trace["legendgroup"][:6] == "device"
            }
            for figure in (latency_against_memory(found), latency_against_energy(found))
        ]
        assert symbol_of[1].keys() == {"jetson"} and symbol_of[1].items() <= symbol_of[0].items()


def test_legend_names_devices_only_as_long_as_it_stays_smaller_than_the_figure(lab: LabSource) -> None:
    (first, *_) = lab.documents[NIGHT_ID]["measurements"]
    for count in (MOST_IN_LEGEND, MOST_IN_LEGEND + 1):
        records = [first | {"device": f"pi-{number}", "measurement_id": str(number)} for number in range(count)]
        figure = latency_against_memory(measurements({"measurements": records}))
        entries = [trace["name"] for trace in figure.traces if trace["showlegend"]]
        assert len(entries) == 1 + (count if count <= MOST_IN_LEGEND else 0)
        assert ("hover over a symbol for its name" in " ".join(figure.notes)) is (count > MOST_IN_LEGEND)
