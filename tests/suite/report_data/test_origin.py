"""What another lab measured, and what people said of a run, are told apart and told wherever they appear."""

from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert, update

from reports.files import device_place, night_place, run_place, series_place
from reports.model.histories import Compared, DeviceSummary, HistorySummary
from reports.model.source import RunSummary
from reports.site.build import build, build_comparison
from suite.report_data.source import StoreSource
from suite.store import schema
from suite.store.store import Store
from tests.support.reports.lab_fixtures import NIGHT_ID, LabSource, key
from tests.support.reports.page_text import PageText
from tests.support.reports.report_fixtures import HOSTILE, OLD_RUN_ID, RUN_ID
from tests.support.reports.synthetic_store import Shape, fill

LAB = "berlin"
FOREIGN = f"{LAB}:jetson"
BADGE = f"imported from {LAB}"


class Imports(LabSource):
    """The older run came from another lab, with the device `jetson` under its own name."""

    def __init__(self) -> None:
        super().__init__(nights=4)
        self.summaries = [
            replace(run, origin=LAB, status="failed", purpose="imported") if run.run_id == OLD_RUN_ID else run
            for run in self.summaries
        ]
        old = self.documents[OLD_RUN_ID]
        found = [record | {"device": FOREIGN, "origin": LAB} for record in old["measurements"]]
        devices = {FOREIGN: old["devices"]["local"] | {"origin": LAB}}
        self.documents[OLD_RUN_ID] = old | {"origin": LAB, "measurements": found, "devices": devices}

    def devices(self, run_id: str | None = None) -> list[DeviceSummary]:
        at = "2020-01-01T00:00:00+00:00"
        return [
            *super().devices(run_id),
            DeviceSummary(FOREIGN, "jetson", False, OLD_RUN_ID, at, {"failed": 2}, origin=LAB),
        ]

    def histories(self, run_id: str | None = None) -> list[HistorySummary]:
        found = super().histories(run_id)
        return [*found, *(replace(one, device=FOREIGN, origin=LAB) for one in found if one.device == "jetson")]

    def compared(self, before: str, after: str) -> Compared:
        found = super().compared(before, after)
        return replace(found, metrics=[replace(one, device=FOREIGN, origin=LAB) for one in found.metrics])


class _Badges(HTMLParser):
    """The badges, tags and remarks of a page, each as its whole text."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.found: dict[str, list[str]] = {"badge": [], "tag": [], "remarks": []}
        self._inside: list[str] = []
        self.feed(page.read_text(encoding="utf-8"))
        cells = [cell for rows in PageText(page).rows.values() for row in rows for cell in row]
        self.found["badge"] += [words for cell in cells for words in cell.get("badges", [])]
        self.found["tag"] += [words for cell in cells for words in cell.get("tags", [])]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        kind = dict(attrs).get("class") or ""
        if kind in self.found or self._inside:
            self._inside.append(kind)
            if kind in self.found:
                self.found[kind].append("")

    def handle_endtag(self, tag: str) -> None:
        if self._inside:
            self._inside.pop()

    def handle_data(self, data: str) -> None:
        kind = next((kind for kind in reversed(self._inside) if kind in self.found), "")
        if kind:
            self.found[kind][-1] += data


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("imports")
    build(Imports(), folder)
    return folder


@pytest.mark.parametrize(
    "place",
    ["index.html", run_place(OLD_RUN_ID), device_place(FOREIGN), series_place(FOREIGN, key("int8"))],
    ids=["index", "run", "device", "series"],
)
def test_what_another_lab_measured_has_its_badge(site: Path, place: str) -> None:
    assert BADGE in _Badges(site / place).found["badge"]


def test_pages_of_this_labs_own_have_no_such_badge(site: Path) -> None:
    for place in (run_place(RUN_ID), device_place("jetson"), series_place("jetson", key("int8"))):
        assert BADGE not in _Badges(site / place).found["badge"]


def test_comparison_with_an_imported_run_says_which_of_the_two_it_is(tmp_path: Path) -> None:
    page = build_comparison(Imports(), tmp_path, OLD_RUN_ID, RUN_ID)
    found = _Badges(page).found["badge"]
    assert found[0] == f"before: {BADGE}" and BADGE in found[1:]
    assert f",{LAB}," in (page.parent / "comparison.csv").read_text(encoding="utf-8")


def test_devices_and_runs_of_another_lab_are_not_this_labs_to_look_after(site: Path) -> None:
    text = (site / "index.html").read_text(encoding="utf-8")
    attention = text[text.index('id="attention"') : text.index('id="nights"')]
    assert FOREIGN not in attention and OLD_RUN_ID not in attention


def test_tags_and_remarks_of_a_run_are_on_its_page_the_oldest_first_and_hostile_ones_as_text(site: Path) -> None:
    found = _Badges(site / run_place(RUN_ID)).found
    assert found["tag"] == ["v1.2", "before-fan"]
    (remark,) = found["remarks"]
    assert remark.index("lena") < remark.index("a slower but exact kernel") < remark.index("ben")
    assert "local int8 latency_ms" in remark and "2026-03-02 08:00 UTC" in remark
    assert HOSTILE.replace("\u202e", "\\u202e") in remark


def test_remarks_of_a_night_are_on_the_page_of_its_verdicts_too(site: Path) -> None:
    assert "a slower but exact kernel" in _Badges(site / night_place(NIGHT_ID)).found["remarks"][0]


def test_run_without_remarks_has_no_empty_list(site: Path) -> None:
    assert _Badges(site / night_place(Imports().summaries[2].run_id)).found["remarks"] == []


@pytest.fixture
def store(tmp_path: Path) -> Store:
    fill(tmp_path / "store.sqlite", Shape(nights=2, devices=1, shapes=1, steps=2))
    return Store.open(tmp_path / "store.sqlite")


def _change(store: Store, *statements: Any) -> None:
    with store.database.writing() as connection:
        for statement in statements:
            connection.execute(statement)


def _runs(store: Store) -> list[RunSummary]:
    return StoreSource(store).runs()


def test_store_tells_annotations_of_a_run_and_what_was_accepted_from_it_on(store: Store) -> None:
    run_id = _runs(store)[0].run_id
    remark = {"run_id": run_id, "series_id": None, "at": "2026-02-01T00:00:00Z", "author": "ben", "text": "new fan"}
    level = {"at": "2026-02-02T00:00:00Z", "author": "lena", "why": "exact kernel"}
    _change(
        store,
        insert(schema.annotation).values(**remark),
        *(insert(schema.acceptance).values(series_id=number, measurement_id=5, **level) for number in range(1, 6)),
    )
    remarks = StoreSource(store).document(run_id)["remarks"]
    assert [(one["kind"], one["author"], one["text"]) for one in remarks] == [
        ("annotation", "ben", "new fan"),
        ("accepted", "lena", "exact kernel"),
    ]
    assert remarks[1]["about"].startswith("board-00 smollm2-135m/prge/fp32/") and remarks[1]["about"].endswith("2 more")
    assert StoreSource(store).document(_runs(store)[1].run_id)["remarks"] == []


def test_accepting_a_level_has_the_page_of_its_run_built_again(store: Store) -> None:
    before = {run.run_id: run.stamp for run in _runs(store)}
    level = {"at": "2026-02-02T00:00:00Z", "author": "lena", "why": "exact kernel"}
    _change(store, insert(schema.acceptance).values(series_id=1, measurement_id=5, **level))
    after = {run.run_id: run.stamp for run in _runs(store)}
    newest = _runs(store)[0].run_id
    assert {run_id for run_id in after if after[run_id] != before[run_id]} == {newest}


def test_store_tells_the_lab_of_an_imported_run_its_devices_and_its_measurements(store: Store) -> None:
    newest, oldest = (run.run_id for run in _runs(store))
    imported = {"purpose": "imported", "environment": f'{{"imported_from": "{LAB}"}}'}
    _change(
        store,
        update(schema.run).where(schema.run.c.id == newest).values(**imported),
        update(schema.device).values(name=FOREIGN),
    )
    source = StoreSource(store)
    assert {run.run_id: run.origin for run in source.runs()} == {newest: LAB, oldest: ""}
    document = source.document(newest)
    assert document["origin"] == LAB and document["devices"][FOREIGN]["origin"] == LAB
    assert {record["origin"] for record in document["measurements"]} == {LAB}
    assert {one.origin for one in source.devices()} == {one.origin for one in source.histories()} == {LAB}
    assert {one.origin for one in source.compared(oldest, newest).metrics} == {LAB}
    assert "origin" not in source.document(oldest)
