"""The figures of a run: what they draw, what they say when there is nothing to draw."""

from typing import Any

import plotly.graph_objects as go

from reports.figures.panels import Figure
from reports.figures.run_figures import all_figures
from reports.figures.trade_offs import latency_against_memory
from reports.model.measurement import Measurement, Session, measurements
from reports.model.source import SessionTrace
from reports.model.traces import gather
from tests.support.reports.report_fixtures import HOSTILE, RUN_ID, FixtureSource, only, realistic


class _NoRows:
    def add(self, measurement: Measurement, session: Session, trace: SessionTrace) -> None:
        """Rows are not looked at here."""


def _figures(source: FixtureSource) -> dict[str, Figure]:
    found = measurements(source.document(RUN_ID))
    figures = [latency_against_memory(found), *all_figures(found, gather(source, found, _NoRows()))]
    return {figure.name: figure for figure in figures}


def _with_points(figure: Figure) -> list[dict[str, Any]]:
    return [trace for trace in figure.traces if trace["x"] != [None]]


def test_every_figure_is_accepted_by_plotly() -> None:
    for figure in _figures(realistic(steps=6)).values():
        assert not figure.empty
        drawn = go.Figure(figure.json)
        assert len(drawn.data) == len(figure.traces)


def test_warm_up_is_drawn_apart_and_left_of_the_measured_steps() -> None:
    traces = _with_points(_figures(realistic(steps=6, hostile=False))["step-latency"])
    warm_up = [trace for trace in traces if trace["line"]["dash"] == "dot"]
    after_warm_up = [trace for trace in traces if trace["line"]["dash"] == "solid"]
    assert len(warm_up) == len(after_warm_up) == 7 * 3 + 1
    assert all(trace["x"] == [-3, -2, -1] for trace in warm_up)
    assert all(trace["x"] == list(range(6)) for trace in after_warm_up)
    assert all(trace["marker"]["symbol"] == "circle-open" for trace in warm_up)


def test_session_that_does_not_count_is_drawn_faintly() -> None:
    traces = _with_points(_figures(realistic(steps=6, hostile=False))["step-latency"])
    faint = [trace for trace in traces if trace["opacity"] < 1]
    assert {trace["meta"][1] for trace in faint} == {"session 3 (throttled)"}


def test_setting_has_its_colour_in_every_figure() -> None:
    for figure in _figures(realistic(steps=6, hostile=False)).values():
        for trace in _with_points(figure):
            if trace.get("legendgroup") == "int8":
                look = trace["line"] if "line" in trace else trace["marker"]
                assert look["color"] == "var(--setting-2)", figure.name


def test_point_has_symbol_of_its_device_and_bars_of_its_interval() -> None:
    source = realistic(steps=4, hostile=False)
    points = _with_points(_figures(source)["latency-memory"])
    assert {trace["meta"][0].split(" ")[0]: trace["marker"]["symbol"] for trace in points} == {
        "local": "circle",
        "jetson": "square",
    }
    record = source.document(RUN_ID)["measurements"][0]["latency_ms"]
    assert (
        points[0]["y"][0] + points[0]["error_y"]["array"][0]
        == (record["ci95"][1] - record["median"]) / 1e3 + points[0]["y"][0]
    )


def test_measurement_without_latency_is_counted_beside_the_figure_not_drawn_at_zero() -> None:
    figure = _figures(realistic(steps=4, hostile=False))["latency-memory"]
    assert len(_with_points(figure)) == 7
    assert any("1\u00a0measurement without both values" in note for note in figure.notes)


def test_long_traces_are_thinned_and_the_figure_says_so() -> None:
    figure = _figures(realistic(steps=40, sensor_hz=50.0, hostile=False))["memory"]
    assert sum(len(trace["x"]) for trace in _with_points(figure)) <= 24_000
    assert any(note.startswith("Thinned: ") and "lowest and highest" in note for note in figure.notes)


def test_short_traces_are_drawn_whole_without_a_note() -> None:
    figure = _figures(realistic(steps=6, hostile=False))["step-latency"]
    assert not [note for note in figure.notes if "Thinned" in note]


def test_memory_is_one_line_a_session_of_the_resident_counter() -> None:
    source = realistic(steps=6, hostile=False)
    figure = _figures(source)["memory"]
    sessions = sum("memory.rss" in trace.samples for trace in source.traces.values())
    assert len(_with_points(figure)) == sessions
    assert {trace["meta"][-1] for trace in _with_points(figure)} == {"memory.rss"}


def test_power_figure_without_any_sensor_says_why_and_what_to_do() -> None:
    figure = _figures(only(realistic(steps=4), {}))["power"]
    assert "local: RAPL is not readable" in figure.empty
    assert "suite devices check" in figure.empty
    assert not figure.traces


def test_power_figure_names_the_devices_without_a_sensor() -> None:
    figure = _figures(realistic(steps=4, hostile=False))["power"]
    assert figure.traces
    assert [note for note in figure.notes if note.startswith("local: RAPL is not readable")]


def test_run_without_traces_has_a_reason_in_every_timeline() -> None:
    source = only(realistic(steps=4), {"latency_ms": {"unavailable": "lost"}})
    source.traces.clear()
    for figure in _figures(source).values():
        assert figure.empty.endswith((".", ")")) and len(figure.empty) > 40, figure.name


def test_loss_is_drawn_with_the_reference_where_it_is_known() -> None:
    source = realistic(steps=4, hostile=False)
    figure = _figures(source)["loss"]
    reference = [trace for trace in _with_points(figure) if trace["legendgroup"] == "reference"]
    assert len(reference) == 4
    assert reference[0]["y"] == [7.85, 7.75, 7.65]
    without = _figures(only(source, {"reference_losses": None}))["loss"]
    assert [note for note in without.notes if "did not keep the reference's losses" in note]


def test_reference_with_a_broken_step_is_not_drawn_at_a_shifted_place() -> None:
    figure = _figures(only(realistic(steps=4), {"reference_losses": [[7.9], ["nan"], [7.5]]}))["loss"]
    assert not [trace for trace in _with_points(figure) if trace["legendgroup"] == "reference"]


def test_no_outside_text_reaches_a_template_or_an_unescaped_label() -> None:
    for figure in _figures(realistic(steps=4)).values():
        for trace in figure.traces:
            texts = [trace["name"], *trace.get("meta", [])]
            assert not [text for text in texts if "<" in text or "%{x}</" in text]
            assert HOSTILE[:10] not in trace.get("hovertemplate", "")
        for note in (figure.layout or {}).get("annotations", []):
            assert "<img" not in note["text"]


def test_every_device_of_a_large_run_can_be_picked_and_has_its_own_lines() -> None:
    source = realistic(steps=2, hostile=False)
    document = source.document(RUN_ID)
    one = document["measurements"][0]
    document["measurements"] = [one | {"device": f"pi{index}", "measurement_id": str(index)} for index in range(20)]
    figure = _figures(source)["step-latency"]
    assert list(figure.picks) == [f"pi{index}" for index in range(20)] and figure.pick == "Device"
    own = [trace["meta"][0] for trace, place in zip(figure.traces, figure.of, strict=True) if place == 13]
    assert own and set(own) == {"pi13 · fp32"}
    assert [trace["x"] for trace, place in zip(figure.traces, figure.of, strict=True) if place is None] == [[None]]


def test_a_ring_marks_what_no_other_setting_of_the_device_beats() -> None:
    points = _with_points(_figures(realistic(steps=2, hostile=False))["latency-memory"])
    ringed = {point["meta"][0] for point in points if point["marker"]["line"]["width"]}
    assert ringed == {"local · int8", "local · nf4", "jetson · int8"}
