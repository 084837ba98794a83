"""Pages that begin with findings: what stands on a card, what is folded, and that they are quiet and accessible."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from axe_core_python.selenium import Axe
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from reports.files import night_place
from reports.model.findings import Affected, Confirmation, Difference, Estimate, Finding, Member, Note
from reports.model.histories import HistoryPoint
from reports.site.build import build
from reports.tables.findings import finding_cards
from tests.support.reports.lab_fixtures import NIGHT_ID, LabSource, key
from tests.support.reports.report_browser import BUSY_HOST_S, log, open_page, requests_of
from tests.support.reports.report_fixtures import HOSTILE

DEVICES = ("local", "jetson", HOSTILE)


def finding(name: str = "F-000001", **changed: Any) -> Finding:
    members = [
        Member(device, key(setting), metric, Estimate(1.052 + place / 100 + number / 1000, 1.04, 1.08))
        for number, device in enumerate(DEVICES)
        for setting in ("int8", "fp16")
        for place, metric in enumerate(("latency_ms", "energy_net_mj_per_step"))
    ]
    facts: dict[str, Any] = {
        "category": "regressed", "state": "new", "metric": "latency_ms", "side": "worse", "level": "kind",
        "settings": ("int8",), "workloads": (), "where": (Affected("jetson", DEVICES, 3),), "members": tuple(members),
        "since_run": NIGHT_ID, "since_at": "2026-03-02T02:15:00+00:00", "confirmation": Confirmation(30, 1e-4, 1e-3),
        "differences": (Difference("torch", "2.12.0", HOSTILE, 3),), "commands": ("suite run --device jetson",),
        "notes": (Note("link", "", "ada", "https://bugs.example/17"), Note("note", "", "ada", HOSTILE)),
    }  # fmt: skip
    return Finding(id=name, **(facts | changed))


class FindingLab(LabSource):
    """A lab whose last night found something of each kind."""

    def findings(self, run_id: str) -> list[Finding]:
        if run_id != NIGHT_ID:
            return []
        lost: dict[str, Any] = {
            "members": (),
            "reason": f"not reached: {HOSTILE}",
            "where": (Affected("android", (HOSTILE,), 1),),
        }
        return [
            finding("F-000002", category="missing", level="device", **lost),
            finding(),
            finding("F-000003", category="improved", state="known", nights=3),
            finding("F-000004", state="fixed"),
        ]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("findings")
    build(FindingLab(nights=12), folder)
    return folder


def test_a_night_begins_with_its_findings_and_folds_the_rows(site: Path):
    page = (site / night_place(NIGHT_ID)).read_text()
    places = [page.index(text) for text in ('class="banner', 'id="F-000002"', 'id="F-000001"', 'id="verdicts"')]
    assert places == sorted(places)
    assert '<details class="folded"><summary>All ' in page[places[-1] :]
    assert page.index('<details class="folded settled">') < page.index('id="F-000004"') < places[-1]
    assert "3 open findings, 2 of them new; 1 fixed" in page.replace("\u00a0", " ")


def test_the_overview_begins_with_them_too_and_leads_to_their_evidence(site: Path):
    page = (site / "index.html").read_text()
    assert page.index('id="F-000001"') < page.index('id="nights"')
    assert f'href="{night_place(NIGHT_ID)}#F-000001"' in page and 'class="evidence"' not in page


def test_a_card_names_size_life_difference_and_remarks():
    (card,) = finding_cards([finding()], "Findings").cards
    assert card.title == "int8 on all 3 jetson boards"
    assert [size.replace("\u00a0", " ") for size in card.sizes] == [
        "Latency of a step +5.2 to +5.4 % over 6 series", "Energy per step, net +6.2 to +6.4 % over 6 series",
    ]  # fmt: skip
    assert (card.life, card.links) == ("new tonight", ["https://bugs.example/17"])
    assert card.differences == [f"torch 2.12.0 → {HOSTILE}"]
    assert card.commands[0] == "suite run --device jetson"


def test_a_link_that_is_no_address_of_the_web_is_text():
    (card,) = finding_cards([finding(notes=(Note("link", "", "ada", "javascript:alert(1)"),))], "Findings").cards
    assert card.links == [] and card.facts[-1] == "Link by ada: javascript:alert(1)"


def test_pairs_are_drawn_as_slopes_and_nights_as_a_strip():
    points = [
        HistoryPoint(f"2026-01-{day:02d}", "r", "m", 100.0 + day, "ok", verdict="regressed" if day > 8 else "")
        for day in range(1, 11)
    ]
    lab = FindingLab(nights=2)
    (card,) = finding_cards([finding()], "F", verdicts=lab.verdicts(NIGHT_ID), histories={"F-000001": points}).cards
    assert card.strip is not None and len(card.strip.marks) == 2
    assert card.slopes is not None and "pair" in card.slopes.words and len(card.slopes.lines) > 1
    (bare,) = finding_cards([finding()], "F").cards
    assert (bare.strip, bare.slopes) == (None, None)


@pytest.mark.browser
@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("place", [night_place(NIGHT_ID), "index.html"])
def test_pages_with_findings_are_quiet_and_accessible(
    site: Path, chromium: webdriver.Chrome, place: str, theme: str
) -> None:
    open_page(chromium, site / place, theme=theme)
    chromium.execute_script("document.querySelectorAll('details').forEach(it => { it.open = true; })")
    found = Axe().run(chromium)["violations"]
    grave = [(one["id"], one["nodes"][0]["html"][:200]) for one in found if one["impact"] in ("serious", "critical")]
    assert grave == []
    assert log(chromium, "browser") == [] and not chromium.find_elements(By.CSS_SELECTOR, "img[src='x']")
    assert [address for address in requests_of(chromium) if not address.startswith(("file:", "data:"))] == []


def test_the_first_screen_goes_from_findings_to_boards_kinds_and_trust_and_folds_the_rest(site: Path):
    page = (site / "index.html").read_text()
    order = ("findings", "boards", "costs", "trust", "attention", "nights", "devices", "workloads", "runs")
    places = [page.index(f'<section id="{name}"') for name in order]
    assert places == sorted(places)
    folded = [page.find('<details class="folded">', place, place + 250) > 0 for place in places]
    assert folded == [False] * 4 + [True] * 5


@pytest.mark.browser
def test_squares_of_nights_lead_to_them_and_only_those_that_stand_out_are_stops(
    site: Path, chromium: webdriver.Chrome
) -> None:
    open_page(chromium, site / "index.html")
    assert len(chromium.find_elements(By.CSS_SELECTOR, ".heat tbody tr")) == len(DEVICES)
    stops = chromium.find_elements(By.CSS_SELECTOR, ".heat td a:not([tabindex])")
    assert 0 < len(stops) < len(chromium.find_elements(By.CSS_SELECTOR, ".heat td a"))
    sizes = "return Array.from(document.querySelectorAll('.heat td a'), it => [it.offsetWidth, it.offsetHeight])"
    assert min(min(size) for size in chromium.execute_script(sizes)) >= 16
    stops[0].click()
    WebDriverWait(chromium, BUSY_HOST_S).until(lambda driver: "/nights/" in driver.current_url)


@pytest.mark.browser
def test_a_link_to_a_folded_part_of_the_overview_opens_it(site: Path, chromium: webdriver.Chrome) -> None:
    open_page(chromium, site / night_place(NIGHT_ID))
    chromium.find_element(By.CSS_SELECTOR, ".trail a[href$='#nights']").click()
    table = (By.ID, "t-nights")
    WebDriverWait(chromium, BUSY_HOST_S).until(
        lambda driver: [it.is_displayed() for it in driver.find_elements(*table)] == [True]
    )
    assert not chromium.find_element(By.ID, "t-devices").is_displayed()


@pytest.mark.browser
def test_on_a_phone_the_newest_night_and_the_name_of_a_board_are_in_sight(
    site: Path, chromium: webdriver.Chrome
) -> None:
    open_page(chromium, site / "index.html", width=360)
    for part in (".heat tbody th", ".heat tbody td:last-child", ".matrix tbody th", ".nights caption span"):
        box = chromium.find_element(By.CSS_SELECTOR, part).rect
        assert box["x"] >= 0 and box["x"] + box["width"] <= 360, part


@pytest.mark.browser
@pytest.mark.parametrize("place", [night_place(NIGHT_ID), "index.html"])
def test_findings_fit_on_a_phone(site: Path, chromium: webdriver.Chrome, place: str) -> None:
    open_page(chromium, site / place, width=360)
    chromium.execute_script("document.querySelectorAll('details').forEach(it => { it.open = true; })")
    assert chromium.execute_script("return document.documentElement.scrollWidth") <= 360
