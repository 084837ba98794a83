"""When a page is built again: its digest, and what a page must not claim."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from reports.files import run_place
from reports.model.histories import Compared
from reports.site import writing
from reports.site.build import build, build_comparison
from reports.site.writing import digest, is_fresh, sign
from tests.support.reports.lab_fixtures import LabSource
from tests.support.reports.report_fixtures import OLD_RUN_ID, RUN_ID


def test_a_digest_is_of_all_stamps_in_their_order_and_of_this_package(monkeypatch: pytest.MonkeyPatch) -> None:
    known = {digest("a", "b"), digest("b", "a"), digest("a"), digest("ab")}
    assert len(known) == 4 and digest("a", "b") in known
    monkeypatch.setattr(writing, "code_stamp", lambda: "another version of the suite")
    assert not known & {digest("a", "b"), digest("a")}


def test_what_is_not_known_is_never_fresh(tmp_path: Path) -> None:
    page = tmp_path / "index.html"
    page.write_text(sign("page", digest("a", "")))
    assert digest("a", "") == "" and page.read_text() == "page"
    assert not is_fresh(page, "") and not is_fresh(page, digest("a"))
    page.write_text(sign("page", digest("a")))
    assert is_fresh(page, digest("a")) and not is_fresh(page, digest("b"))
    assert not is_fresh(tmp_path / "none.html", digest("a"))


class Marked(LabSource):
    """Two nights whose stamps a test changes; counts the comparisons that were asked for."""

    def __init__(self) -> None:
        super().__init__(nights=2)
        self.marks = {OLD_RUN_ID: "1", RUN_ID: "1"}
        self.reads = 0

    def runs(self) -> list[Any]:
        return [replace(run, stamp=f"{run.run_id}{self.marks.get(run.run_id, '1')}") for run in super().runs()]

    def compared(self, before: str, after: str) -> Compared:
        self.reads += 1
        return super().compared(before, after)


@pytest.mark.parametrize("changed", [OLD_RUN_ID, RUN_ID])
def test_a_comparison_is_made_again_when_either_of_its_runs_has_changed(tmp_path: Path, changed: str) -> None:
    source = Marked()
    build(source, tmp_path)
    build_comparison(source, tmp_path, OLD_RUN_ID, RUN_ID)
    build_comparison(source, tmp_path, OLD_RUN_ID, RUN_ID)
    assert source.reads == 1
    source.marks[changed] = "2"
    build_comparison(source, tmp_path, OLD_RUN_ID, RUN_ID)
    assert source.reads == 2


def test_a_page_that_could_not_link_all_it_names_is_made_again_when_it_can(tmp_path: Path) -> None:
    source = Marked()
    page = build_comparison(source, tmp_path, OLD_RUN_ID, RUN_ID)
    link = f'href="../../{run_place(RUN_ID)}"'
    assert link not in page.read_text(encoding="utf-8")
    build(source, tmp_path)
    build_comparison(source, tmp_path, OLD_RUN_ID, RUN_ID)
    assert source.reads == 2 and link in page.read_text(encoding="utf-8")


def test_a_page_whose_text_changed_is_written_and_one_whose_text_did_not_is_left(tmp_path: Path) -> None:
    source = Marked()
    index = build(source, tmp_path)
    before = (index.read_bytes(), index.stat().st_mtime_ns)
    build(source, tmp_path)
    assert (index.read_bytes(), index.stat().st_mtime_ns) == before
    source.summaries[0] = replace(source.summaries[0], status="interrupted")
    build(source, tmp_path)
    assert index.read_bytes() != before[0]
