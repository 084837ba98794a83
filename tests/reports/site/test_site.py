"""Building the site: what is written, that it is whole, stable, light and without remote parts."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from reports.files import SiteNotWritable, UnknownRun, run_place
from reports.pages.overview import RUNS_ON_A_PAGE
from reports.site.build import build
from reports.tables.results import LONGEST_REASON
from tests.support.reports.page_text import DATA, PageText
from tests.support.reports.report_fixtures import HOSTILE, OLD_RUN_ID, RUN_ID, FixtureSource, only, realistic, summary

LIGHT_BYTES = 300_000


def _contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def _source_with(**changes: Any) -> FixtureSource:
    return only(realistic(steps=3), changes)


def test_page_of_the_only_run_asked_for_is_returned_otherwise_the_index(tmp_path: Path) -> None:
    source = realistic(steps=3)
    assert build(source, tmp_path, [RUN_ID]) == (tmp_path / run_place(RUN_ID))
    assert build(source, tmp_path) == tmp_path / "index.html"
    assert (tmp_path / run_place(OLD_RUN_ID)).is_file()


def test_building_again_gives_the_same_bytes_and_no_stray_file(tmp_path: Path) -> None:
    build(realistic(steps=3), tmp_path)
    before = _contents(tmp_path)
    build(realistic(steps=3), tmp_path)
    assert _contents(tmp_path) == before
    assert not [name for name in before if name.endswith(".tmp")]


def test_plotly_is_written_once_and_not_again(tmp_path: Path) -> None:
    build(realistic(steps=3), tmp_path)
    scripts = list((tmp_path / "assets").glob("plotly-*.min.js"))
    assert len(scripts) == 1
    written_ns = scripts[0].stat().st_mtime_ns
    build(realistic(steps=3), tmp_path)
    assert scripts[0].stat().st_mtime_ns == written_ns


def test_damaged_asset_is_written_anew(tmp_path: Path) -> None:
    build(realistic(steps=3), tmp_path)
    script = next((tmp_path / "assets").glob("figures-*.js"))
    whole = script.read_bytes()
    script.write_bytes(whole[:50])
    build(realistic(steps=3), tmp_path)
    assert script.read_bytes() == whole


def test_page_of_a_run_that_left_the_store_stays(tmp_path: Path) -> None:
    source = realistic(steps=3)
    build(source, tmp_path)
    before = (tmp_path / run_place(OLD_RUN_ID)).read_bytes()
    source.summaries = [run for run in source.summaries if run.run_id == RUN_ID]
    build(source, tmp_path)
    assert (tmp_path / run_place(OLD_RUN_ID)).read_bytes() == before


def test_unknown_run_is_named_with_the_nearest_and_nothing_is_written(tmp_path: Path) -> None:
    with pytest.raises(UnknownRun, match="did you mean 2026-03-0"):
        build(realistic(steps=3), tmp_path / "site", ["2026-03-02T021500Z-7c1"])
    assert not (tmp_path / "site").exists()


def test_place_that_cannot_be_written_is_a_sentence_with_the_path(tmp_path: Path) -> None:
    (tmp_path / "site").write_text("a file where the folder should be", encoding="utf-8")
    with pytest.raises(SiteNotWritable, match=r"could not be written .*suite report"):
        build(realistic(steps=3), tmp_path / "site")


def test_failure_half_way_leaves_the_old_page_whole(tmp_path: Path) -> None:
    source = realistic(steps=3)
    page = build(source, tmp_path, [RUN_ID])
    before = _contents(page.parent)

    class Breaking(FixtureSource):
        def trace(self, session_id: str) -> Any:
            if "jetson" in session_id:
                raise RuntimeError("the store went away")
            return super().trace(session_id)

    with pytest.raises(RuntimeError, match="went away"):
        build(Breaking(source.summaries, source.documents, source.traces), tmp_path, [RUN_ID])
    assert _contents(page.parent) == before


def test_index_lists_the_newest_run_first_and_links_only_built_pages(tmp_path: Path) -> None:
    build(realistic(steps=3), tmp_path, [RUN_ID])
    page = PageText(tmp_path / "index.html")
    listed = page.plain[page.plain.index("Every run") :]
    assert listed.index(RUN_ID) < listed.index(OLD_RUN_ID)
    links = [link for link in page.links if link.startswith("runs/")]
    assert links == [f"runs/{RUN_ID}/index.html"]
    assert "no page yet" in page.plain


def test_index_of_an_empty_store_says_what_to_do(tmp_path: Path) -> None:
    page = PageText(build(FixtureSource([], {}, {}), tmp_path))
    assert "no runs yet" in page.plain and "suite run --device local" in page.plain


def test_many_runs_are_split_over_light_pages_that_link_each_other(tmp_path: Path) -> None:
    runs = [
        summary(f"run-{index:04}", started_at=f"2026-01-01T{index // 60:02}:{index % 60:02}:00Z")
        for index in range(450)
    ]
    build(FixtureSource(runs, {}, {}), tmp_path, [])
    pages = [tmp_path / name for name in ("index.html", "index-2.html", "index-3.html")]
    assert [PageText(page).plain.count("no page yet") for page in pages] == [RUNS_ON_A_PAGE, RUNS_ON_A_PAGE, 50]
    assert all(page.stat().st_size < LIGHT_BYTES for page in pages)
    assert "run-0449" in PageText(pages[0]).plain
    assert [link["href"] for link in PageText(pages[1]).all("a") if link.get("rel")] == ["index.html", "index-3.html"]


def test_page_of_a_large_run_stays_light_and_has_every_row(tmp_path: Path) -> None:
    source = realistic(steps=2)
    document = source.document(RUN_ID)
    document["measurements"] = [
        record | {"device": f"pi-{number}", "measurement_id": f"{number}-{index}"}
        for number in range(60)
        for index, record in enumerate(document["measurements"][:4])
    ]
    document["devices"] = {f"pi-{number}": document["devices"]["local"] for number in range(60)}
    page = build(source, tmp_path, [RUN_ID])
    without_data = DATA.sub("", page.read_text(encoding="utf-8"))
    assert len(without_data.encode()) < LIGHT_BYTES
    rows = PageText(page).rows
    assert len(rows["results"]) == len(rows["details"]) == 240
    assert (page.parent / "measurements.csv").read_text(encoding="utf-8").count("\n") == 241


def test_long_reasons_of_many_failures_keep_the_page_light(tmp_path: Path) -> None:
    source = realistic(steps=2)
    document = source.document(RUN_ID)
    sessions = [
        {"session_id": f"s{n}", "ordinal": n, "attempt": 0, "status": "failed", "reason": "lost: " * 400}
        for n in range(3)
    ]
    document["measurements"] = [
        document["measurements"][7]
        | {"device": f"pi-{number}", "measurement_id": f"{number}", "reason": "lost: " * 400, "sessions": sessions}
        for number in range(200)
    ]
    document["devices"] = {}
    page = build(source, tmp_path, [RUN_ID])
    assert len(DATA.sub("", page.read_text(encoding="utf-8")).encode()) < LIGHT_BYTES
    reasons = {cell["small"][0] for row in PageText(page).rows["results"] for cell in row if "state" in cell}
    assert len(reasons) == 1 and len(reasons.pop()) == LONGEST_REASON


def test_nothing_remote_is_named_as_an_asset(tmp_path: Path) -> None:
    build(realistic(steps=3), tmp_path)
    for path in (tmp_path / "index.html", (tmp_path / run_place(RUN_ID))):
        page = PageText(path)
        for tag, key in (("script", "src"), ("link", "href"), ("a", "href"), ("img", "src")):
            for address in (attributes.get(key) for attributes in page.all(tag)):
                assert not re.match(r"([a-z]+:)?//|(?!data:,$)[a-z]+:", address or ""), address
                if address and not address.startswith(("#", "data:")):
                    assert (path.parent / address.partition("#")[0]).resolve().is_file(), address
        assert all(
            not script or "src" in script or script.get("type") == "application/json" for script in page.all("script")
        )


def test_hostile_text_is_text_on_both_pages(tmp_path: Path) -> None:
    build(realistic(steps=3), tmp_path)
    for path in (tmp_path / "index.html", (tmp_path / run_place(RUN_ID))):
        page = PageText(path)
        assert not page.all("img") and not page.all("b")
        assert "<img src=x onerror=" in page.plain
        assert "{{ 7*7 }}" in page.plain and "\\u202e" in page.plain
        assert "\u202e" not in path.read_text(encoding="utf-8")


def test_hostile_run_id_stays_in_the_folder_of_runs(tmp_path: Path) -> None:
    source = realistic(steps=3)
    source.documents["../../../evil"] = source.documents[RUN_ID]
    source.summaries = [replace(source.summaries[1], run_id="../../../evil")]
    page = build(source, tmp_path / "site", ["../../../evil"])
    assert page.parent.parent == tmp_path / "site" / "runs"
    assert [path.name for path in tmp_path.iterdir()] == ["site"]


def test_lone_surrogate_from_a_device_does_not_stop_the_build(tmp_path: Path) -> None:
    page = build(_source_with(reason="broken \udcff output", status="failed"), tmp_path, [RUN_ID])
    assert "broken \\udcff output" in page.read_text(encoding="utf-8")


def test_table_cell_has_unit_interval_and_count(tmp_path: Path) -> None:
    text = PageText(
        build(
            _source_with(latency_ms={"median": 1234.5, "ci95": [1200.0, 1270.0], "sessions": [1, 2, 3]}),
            tmp_path,
            [RUN_ID],
        )
    ).plain
    assert "1.23\u00a0s" in text and "95 %: 1.20\u20131.27\u00a0s" in text and "n = 3\u00a0sessions" in text
    assert "605\u00a0MiB" in text and "1.18\u00d7" in text and "513\u00a0MiB" in text


def test_unavailable_value_has_its_reason(tmp_path: Path) -> None:
    page = PageText(build(_source_with(), tmp_path, [RUN_ID]))
    (row,) = page.rows["results"]
    reasons = [cell["small"] for cell in row if cell.get("main") == "unavailable"]
    assert reasons and all("RAPL is not readable" in words for (words,) in reasons)


def test_gross_energy_without_idle_is_named_gross_and_says_why_net_is_missing(tmp_path: Path) -> None:
    spent = {"gross": 3000.0, "net": {"unavailable": "idle power was not steady"}, "method": "trapezoid", "short": True}
    text = PageText(build(_source_with(energy_mj_per_step=spent), tmp_path, [RUN_ID])).plain
    assert "3.00\u00a0J" in text and "gross only" in text and "short window" in text
    assert "idle power was not steady" in text


def test_summary_counts_outcomes_and_names_the_lowest_with_its_interval(tmp_path: Path) -> None:
    text = PageText(build(realistic(steps=3, hostile=False), tmp_path, [RUN_ID])).plain
    assert "8\u00a0measurements of fp32, fp16, int8 and nf4 on local and jetson: 7 ok and 1 unsupported." in text
    assert "lowest latency int8" in text and "that of fp32, 95 % interval" in text


def test_emulated_device_is_marked_and_never_called_the_lowest(tmp_path: Path) -> None:
    source = realistic(steps=3)
    document = source.document(RUN_ID)
    document["measurements"] = [record | {"emulated": True} for record in document["measurements"]]
    text = PageText(build(source, tmp_path, [RUN_ID])).plain
    assert "are emulated" in text and "lowest" not in text.split("Results")[1].split("Figures")[0]
    assert "lowest latency" not in text


def test_unstable_and_invalid_measurements_are_not_hidden(tmp_path: Path) -> None:
    page = build(_source_with(status="invalid", reason="losses differ from the reference by 4 %"), tmp_path, [RUN_ID])
    text = PageText(page).plain
    assert "1 invalid" not in text and ": invalid." in text
    assert "losses differ from the reference by 4 %" in text


def test_run_without_measurements_says_how_to_go_on(tmp_path: Path) -> None:
    source = realistic(steps=3)
    source.documents[RUN_ID] = {"run_id": RUN_ID, "measurements": []}
    text = PageText(build(source, tmp_path, [RUN_ID])).plain
    assert "Nothing was measured" in text and "suite run --resume" in text


def test_tables_have_captions_and_scopes(tmp_path: Path) -> None:
    build(realistic(steps=3), tmp_path)
    for path in (tmp_path / "index.html", (tmp_path / run_place(RUN_ID))):
        page = PageText(path)
        assert len(page.all("caption")) == len(page.all("table")) > 0
        assert all(heading.get("scope") in ("col", "row") for heading in page.all("th"))
        identifiers = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
        assert len(identifiers) == len(set(identifiers))


def test_several_workloads_are_distinguished_in_the_table(tmp_path: Path) -> None:
    source = realistic(steps=3, hostile=False)
    document = source.document(RUN_ID)
    document["measurements"][0]["workload"] = document["measurements"][0]["workload"] | {"q": 8}
    text = PageText(build(source, tmp_path, [RUN_ID])).plain
    assert "smollm2-135m, prge, q=8, b=4, T=64, rank=16, xnnpack" in text and "2 workloads" in text


def test_page_does_not_hold_the_raw_hostile_name(tmp_path: Path) -> None:
    page = build(realistic(steps=3), tmp_path, [RUN_ID])
    assert HOSTILE not in page.read_text(encoding="utf-8")
    assert page.read_text(encoding="utf-8").count("</script>") == len(PageText(page).all("script"))
