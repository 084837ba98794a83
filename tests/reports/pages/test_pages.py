"""Nights, series, devices, workloads and comparisons: what they say, what they leave out, what is built again."""

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reports.figures.trends import MOST_POINTS, drawn_places
from reports.files import UnknownRun, device_place, night_place, run_place, series_place
from reports.model.histories import Compared, HistoryPoint, MetricHistory, SeriesVerdict
from reports.model.measurement import Measurement
from reports.model.quantities import metric_span, metric_value
from reports.model.source import RunContents
from reports.site.build import build, build_comparison, build_night
from reports.text.numbers import percent_change
from tests.support.reports.lab_fixtures import METRICS, NIGHT_ID, LabSource, key, night_id
from tests.support.reports.page_text import DATA, PageText
from tests.support.reports.report_fixtures import HOSTILE, OLD_RUN_ID, RUN_ID, FixtureSource


class Stamped(LabSource):
    """Counts what is read, and has stamps that a test can change."""

    def __init__(self) -> None:
        super().__init__()
        self.marks = dict.fromkeys(("run", "series", "device", "workload"), "1")
        self.read: list[str] = []

    def runs(self) -> list[Any]:
        return [replace(run, stamp=f"{run.run_id}{self.marks['run']}") for run in super().runs()]

    def histories(self, run_id: str | None = None) -> list[Any]:
        return [replace(one, stamp=self.marks["series"]) for one in super().histories(run_id)]

    def devices(self, run_id: str | None = None) -> list[Any]:
        return [replace(one, stamp=self.marks["device"]) for one in super().devices(run_id)]

    def workloads(self, run_id: str | None = None) -> list[Any]:
        return [replace(one, stamp=self.marks["workload"]) for one in super().workloads(run_id)]

    def run(self, run_id: str) -> RunContents:
        self.read.append("run")
        return super().run(run_id)

    def verdicts(self, run_id: str) -> list[SeriesVerdict]:
        self.read.append("night")
        return super().verdicts(run_id)

    def history(self, device: str, workload_key: str) -> list[MetricHistory]:
        self.read.append("series")
        return super().history(device, workload_key)

    def health(self, device: str) -> list[Any]:
        self.read.append("device")
        return super().health(device)

    def latest(self, workload: str) -> list[Measurement]:
        self.read.append("workload")
        return super().latest(workload)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("lab")
    build(LabSource(), folder)
    return folder


def test_night_says_its_verdict_first_and_lists_what_changed_before_the_rest(site: Path) -> None:
    page = PageText(site / night_place(NIGHT_ID))
    assert "1 regressed, 1 improved, 1 inconclusive, 2 insufficient and 22 unchanged." in page.text
    rows = [name for name in page.ids if name.startswith("v-")]
    assert rows[:3] == ["v-m1-peak_memory_kib", "v-m2-energy_net_mj_per_step", "v-m3-latency_ms"]
    assert "+5.2 % +4.2 to +6.4 % n = 10 pairs 0.00098 0.0039" in page.text
    assert "suite compare 3f2a fp32 --device jetson" in page.text


def test_night_that_judged_nothing_says_what_to_do(site: Path) -> None:
    text = PageText(site / night_place(night_id(3))).text
    assert "Nothing has been judged yet" in text and "suite nightly" in text


def test_every_verdict_of_a_large_night_is_on_its_page_and_in_the_file(tmp_path: Path) -> None:
    class Many(LabSource):
        def verdicts(self, run_id: str) -> list[SeriesVerdict]:
            found = super().verdicts(run_id)
            return [replace(one, measurement_id=f"{n}-{one.measurement_id}") for n in range(10) for one in found]

    page = build_night(Many(nights=2), tmp_path, NIGHT_ID)
    read = PageText(page)
    assert [row[3]["state"][1] for row in read.rows["verdicts"]] == [
        *["regressed"] * 10, *["improved"] * 10, *["inconclusive"] * 10, *["insufficient"] * 20, *["unchanged"] * 220,
    ]  # fmt: skip
    assert "10 regressed, 10 improved, 10 inconclusive, 20 insufficient and 220 unchanged." in read.text
    with (page.parent / "verdicts.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 270 and rows[0]["verdict"] == "regressed" and float(rows[0]["ratio"]) == 1.052
    assert len(json.loads((page.parent / "verdicts.json").read_text(encoding="utf-8"))) == 270


def test_overview_names_what_needs_attention_the_worst_first(site: Path) -> None:
    page = PageText(site / "index.html")
    assert next(name for name in page.ids if name.startswith("a-")) == f"a-night-{NIGHT_ID}"
    assert "not in the night of" not in page.text.split("Nights")[0] or HOSTILE[:10] in page.text
    assert "suite devices check local" in page.text and "suite run --resume" in page.text
    assert "suite devices check NAME" in page.text  # the hostile name is no word of a command


def test_overview_without_trouble_says_so(tmp_path: Path) -> None:
    class Calm(LabSource):
        def devices(self, run_id: str | None = None) -> list[Any]:
            return super().devices(run_id)[1:2]

    source = Calm(nights=4)
    source.summaries = [replace(run, verdicts={"unchanged": 3}, status="finished") for run in source.summaries]
    assert "Nothing needs attention" in PageText(build(source, tmp_path)).text


def test_series_page_tells_in_words_what_its_figures_show(site: Path) -> None:
    page = PageText(site / series_place("jetson", key("fp16")))
    assert "▼ worse" in page.text and "+6.0 %: 1.20 s → 1.27 s" in page.text
    assert "new segment" in page.text and "device changed" in page.text
    assert "lena: the new kernel was rolled out" in page.text
    assert "drift (2.1 % allowed)" in page.text and "n = 3 sessions" in page.text
    assert f"../../../{run_place(night_id(59))}#m-m59" in page.links


def test_every_point_is_in_the_file_with_its_segment(site: Path) -> None:
    path = (site / series_place("jetson", key("fp16"))).parent / "points.csv"
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 60 * len(METRICS)
    assert [row["segment"] for row in rows[13:17]] == ["1", "1", "2", "2"]
    assert rows[0]["ci95_low"] and not rows[-1]["ci95_low"]


def test_long_series_is_thinned_with_its_extremes_and_marks_and_says_so(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    values = rng.normal(1000.0, 10.0, 5000)
    values[3210] = 1500.0
    points = [
        HistoryPoint(f"2026-01-01T00:{n // 60:02}:{n % 60:02}Z", "r", "m", float(value), "ok",
                     verdict="regressed" * (n == 7))
        for n, value in enumerate(values)
    ]  # fmt: skip
    drawn = drawn_places(MetricHistory("latency_ms", "lower", points))
    assert len(drawn) <= MOST_POINTS + 1
    assert {0, 7, 3210, 4999, int(values.argmin())} <= set(drawn)

    class Long(LabSource):
        def history(self, device: str, workload_key: str) -> list[MetricHistory]:
            is_long = (device, workload_key) == ("jetson", key("fp16"))
            return [MetricHistory("latency_ms", "lower", points if is_long else points[:9])]

    build(Long(nights=1), tmp_path)
    text = PageText(tmp_path / series_place("jetson", key("fp16"))).text
    assert "of 5,000 points are drawn" in text and "points.csv has all of them" in text


def test_device_page_shows_health_and_says_why_a_figure_is_missing(site: Path) -> None:
    text = PageText(site / device_place("jetson")).text
    assert "Last run: 3 ok and 1 unsupported." in text and "Throttled in 1 of the last 10 runs." in text
    assert "No run recorded a battery's charge" in text
    assert "Battery" in text and "33.1 GiB" in text and "governor: schedutil" in text
    assert "This device is emulated" in PageText(site / device_place(HOSTILE)).text


def test_workload_page_sets_the_settings_side_by_side_over_devices(site: Path) -> None:
    (path,) = site.glob("workloads/*/index.html")
    text = PageText(path).text
    assert "lowest latency int8" in text and "lowest peak memory" in text and "energy: a first look" in text
    assert "RAPL is not readable" in text and "Latency against energy" in text
    assert "emulated, so its numbers don't represent a real device" in text


def test_comparison_sets_two_runs_side_by_side_with_what_else_differs(tmp_path: Path) -> None:
    page = build_comparison(LabSource(nights=2), tmp_path, OLD_RUN_ID, RUN_ID)
    text = PageText(page).text
    assert "1 worse, 1 better, 1 insufficient, 1 missing and 5 same." in text
    assert "+6.0 %" in text and "+5.0 to +7.0 %" in text and "n = 5 sessions" in text
    assert "2.12.0" in text and "2.13.0" in text
    with (page.parent / "comparison.csv").open(encoding="utf-8", newline="") as file:
        assert [row["outcome"] for row in csv.DictReader(file)][:4] == ["worse", "better", "insufficient", "missing"]


def test_comparison_of_runs_with_nothing_in_common_says_what_to_do(tmp_path: Path) -> None:
    class Apart(LabSource):
        def compared(self, before: str, after: str) -> Compared:
            return Compared(before, after, ())

    text = PageText(build_comparison(Apart(nights=2), tmp_path, OLD_RUN_ID, RUN_ID)).text
    assert "no workload of the same device in common" in text and "suite history --runs" in text


def test_comparison_with_an_unknown_run_names_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(UnknownRun, match="did you mean"):
        build_comparison(LabSource(nights=2), tmp_path / "site", OLD_RUN_ID[:-1], RUN_ID)
    assert not (tmp_path / "site").exists()


@pytest.fixture(scope="module")
def stamped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A site of `Stamped`, for tests to copy."""
    folder = tmp_path_factory.mktemp("stamped")
    build(Stamped(), folder)
    return folder


@pytest.fixture
def built(stamped: Path, tmp_path: Path) -> Path:
    return shutil.copytree(stamped, tmp_path / "site")


def test_second_build_reads_and_writes_nothing_anew(built: Path) -> None:
    source = Stamped()
    written = {path: path.stat().st_mtime_ns for path in built.rglob("*") if path.is_file()}
    build(source, built)
    assert source.read == []
    assert {path: path.stat().st_mtime_ns for path in built.rglob("*") if path.is_file()} == written


@pytest.mark.parametrize(
    ("mark", "read"),
    [("run", {"run", "night"}), ("series", {"series"}), ("device", {"device"}), ("workload", {"workload"})],
)
def test_only_what_has_changed_is_built_again(built: Path, mark: str, read: set[str]) -> None:
    source = Stamped()
    source.marks[mark] = "2"
    build(source, built)
    assert set(source.read) == read


def test_page_that_was_cut_off_or_edited_is_built_again(built: Path) -> None:
    page = built / night_place(NIGHT_ID)
    whole = page.read_bytes()
    page.write_bytes(whole[: len(whole) // 2])
    build(Stamped(), built)
    assert page.read_bytes() == whole


def test_night_is_the_page_to_open_and_leads_to_its_run(tmp_path: Path) -> None:
    assert build(LabSource(nights=2), tmp_path, [NIGHT_ID]) == tmp_path / night_place(NIGHT_ID)
    assert f"../../{night_place(NIGHT_ID)}" in PageText(tmp_path / run_place(NIGHT_ID)).links


def test_every_link_of_a_site_leads_to_a_file_and_every_id_is_one_of_a_kind(site: Path) -> None:
    pages = [path for path in site.rglob("*.html") if "nights/2026-01" not in str(path)]
    assert len(pages) > 20
    for path in pages:
        page = PageText(path)
        assert len(page.ids) == len(set(page.ids)), path
        for link in page.links:
            target, _, anchor = link.partition("#")
            assert not target or (path.parent / target).resolve().is_file(), (path, link)
            if not target and anchor:
                assert anchor in page.ids, (path, link)


def test_page_built_alone_does_not_lead_to_what_is_not_there(tmp_path: Path) -> None:
    page = build_comparison(LabSource(nights=2), tmp_path, OLD_RUN_ID, RUN_ID)
    assert {link for link in PageText(page).links if link.startswith("../")} == {"../../index.html"}


def test_every_page_without_script_and_data_is_light(site: Path) -> None:
    for path in site.rglob("*.html"):
        assert len(DATA.sub("", path.read_text(encoding="utf-8")).encode()) < 300_000, path


def test_hostile_names_are_text_on_every_page(site: Path) -> None:
    found = 0
    for path in site.rglob("*.html"):
        raw = path.read_text(encoding="utf-8")
        assert "<img" not in raw and "<b>" not in raw and "\u202e" not in raw, path
        found += "<img src=x onerror=" in PageText(path).text
    assert found > 5


@pytest.mark.parametrize(
    ("metric", "value", "words"),
    [
        ("latency_ms", 1234.0, "1.23 s"), ("peak_memory_kib", 190_000.0, "186 MiB"),
        ("program_bytes", 136e6, "130 MiB"),
        ("energy_net_mj_per_step", 6400.0, "6.40 J"), ("power_mw", 950.0, "950 mW"), ("accuracy", 0.75, "0.750"),
    ],
)  # fmt: skip
def test_metrics_are_displayed_in_the_unit_of_their_name(metric: str, value: float, words: str) -> None:
    assert metric_value(metric, value).replace("\u00a0", " ") == words


def test_interval_and_change_are_displayed_like_their_value() -> None:
    assert metric_span("program_bytes", 104857600, 115343360, 110100480) == "100\u2013110\u00a0MiB"
    assert percent_change(0.931) == "\u22126.9\u00a0%"


def test_source_without_histories_still_gives_a_site(tmp_path: Path) -> None:
    assert "There are no runs yet." in PageText(build(FixtureSource([], {}, {}), tmp_path)).text
