"""Long tables and phones in a real Chromium: windows, order and filter over all rows, links to rows, cards, paper."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select, WebDriverWait

from reports.model.histories import SeriesVerdict
from reports.site.build import build_comparison, build_night
from tests.support.reports.lab_fixtures import NIGHT_ID, LabSource
from tests.support.reports.report_browser import BUSY_HOST_S, open_page
from tests.support.reports.report_fixtures import OLD_RUN_ID, RUN_ID

_DEVICES = "return Array.from(document.querySelectorAll('#t-verdicts tr[id] th'), (cell) => cell.innerText.trim())"
_SCROLLED = "const it = document.querySelector('#verdicts .scroll'); it.scrollTop = it.scrollHeight * arguments[0]"


class LargeNight(LabSource):
    """648 verdicts of 72 devices."""

    def verdicts(self, run_id: str) -> list[SeriesVerdict]:
        found = super().verdicts(run_id)
        return [
            replace(one, device=f"board-{number:02}-{one.device[:6]}", measurement_id=f"{number}-{one.measurement_id}")
            for number in range(24)
            for one in found
        ]


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_night(LargeNight(nights=2), tmp_path_factory.mktemp("large"), NIGHT_ID)


def _wait(driver: webdriver.Chrome, until: Callable[[webdriver.Chrome], Any]) -> None:
    WebDriverWait(driver, BUSY_HOST_S).until(until)


def _devices(driver: webdriver.Chrome) -> list[str]:
    found: list[str] = driver.execute_script(_DEVICES)
    return [name.removesuffix("#").strip() for name in found]


def test_a_long_table_draws_what_is_seen_and_comes_to_every_row(night: Path, chromium: webdriver.Chrome) -> None:
    open_page(chromium, night)
    assert chromium.execute_script("return document.documentElement.scrollHeight") < 6000
    assert chromium.find_element(By.CSS_SELECTOR, "#verdicts output").text == "648 rows"
    seen: dict[str, None] = {}
    for part in range(41):
        chromium.execute_script(_SCROLLED, part / 40)
        _wait(chromium, lambda driver: driver.execute_script("return new Promise(requestAnimationFrame)") is not None)
        ids = "return Array.from(document.querySelectorAll('#t-verdicts tbody tr[id]'), (row) => row.id)"
        drawn = chromium.execute_script(ids)
        assert 0 < len(drawn) < 150
        seen |= dict.fromkeys(drawn)
    assert len(seen) == 648


def test_order_and_filter_hold_for_rows_that_are_not_drawn(night: Path, chromium: webdriver.Chrome) -> None:
    open_page(chromium, night)
    heading = next(
        one for one in chromium.find_elements(By.CSS_SELECTOR, "#t-verdicts thead button") if one.text == "Device"
    )
    heading.click()
    heading.click()
    assert _devices(chromium)[0].startswith("board-23-")
    chromium.find_element(By.CSS_SELECTOR, "#verdicts form.filter input").send_keys("board-17 regressed")
    assert _devices(chromium) == ["board-17-local"]
    assert chromium.find_element(By.CSS_SELECTOR, "#verdicts output").text == "1 of 648 rows"


def test_a_link_to_a_row_far_down_draws_and_shows_it(night: Path, chromium: webdriver.Chrome) -> None:
    open_page(chromium, night)
    last = chromium.execute_script(
        "return JSON.parse(document.getElementById('t-verdicts-data').textContent).at(-1)[0]"
    )
    assert not chromium.find_elements(By.ID, last)
    chromium.execute_script("location.hash = arguments[0]", f"#{last}")
    _wait(chromium, lambda driver: [row.is_displayed() for row in driver.find_elements(By.ID, last)] == [True])
    inside = """
        const [row, region] = [document.getElementById(arguments[0]), document.querySelector('#verdicts .scroll')];
        const [a, b] = [row.getBoundingClientRect(), region.getBoundingClientRect()];
        return a.top >= b.top && a.bottom <= b.bottom && a.bottom <= innerHeight;
    """
    _wait(chromium, lambda driver: driver.execute_script(inside, last))


def test_an_open_row_far_down_stays_open_and_the_rows_below_it_are_still_reached(
    night: Path, chromium: webdriver.Chrome
) -> None:
    open_page(chromium, night)
    row = chromium.find_element(By.CSS_SELECTOR, "#t-verdicts tbody tr[id]")
    row.find_element(By.CSS_SELECTOR, "button.open").send_keys(Keys.ENTER)
    assert "suite compare 3f2a fp32 --device jetson" in row.text
    name = row.get_attribute("id")
    chromium.execute_script(_SCROLLED, 1)
    _wait(chromium, lambda driver: not driver.find_elements(By.ID, name))
    assert _devices(chromium)[-1].startswith("board-23-")
    chromium.execute_script(_SCROLLED, 0)
    _wait(chromium, lambda driver: driver.find_elements(By.CSS_SELECTOR, f"tr.opened[id='{name}']"))


def test_paper_has_every_row(night: Path, chromium: webdriver.Chrome) -> None:
    open_page(chromium, night)
    count = "return document.querySelectorAll('#t-verdicts tbody tr[id]').length"
    assert chromium.execute_script(count) < 648
    chromium.execute_script("window.dispatchEvent(new Event('beforeprint'))")
    assert chromium.execute_script(count) == 648
    chromium.execute_script("window.dispatchEvent(new Event('afterprint'))")
    assert chromium.execute_script(count) < 648


def test_rows_are_cards_on_a_phone_that_name_their_columns_and_can_be_ordered(
    night: Path, chromium: webdriver.Chrome
) -> None:
    open_page(chromium, night, width=390)
    region = "const it = document.querySelector('#verdicts .scroll'); return it.scrollWidth - it.clientWidth"
    assert chromium.execute_script(region) == 0
    card = chromium.find_element(By.CSS_SELECTOR, "#t-verdicts tbody tr[id]")
    tops = {cell.location["y"] for cell in card.find_elements(By.CSS_SELECTOR, "th, td")}
    assert len(tops) == len(card.find_elements(By.CSS_SELECTOR, "th, td")) > 5
    label = "return getComputedStyle(document.querySelector('#t-verdicts tbody td:nth-child(3)'), '::before').content"
    assert chromium.execute_script(label) == '"Metric"'
    order = chromium.find_element(By.CSS_SELECTOR, "#verdicts label.order select")
    Select(order).select_by_visible_text("Device ↓")
    assert _devices(chromium)[0].startswith("board-23-")


def test_runs_to_compare_are_picked_and_a_page_that_is_not_built_names_its_command(
    chromium: webdriver.Chrome, tmp_path: Path
) -> None:
    source = LabSource(nights=2)
    open_page(chromium, build_comparison(source, tmp_path, OLD_RUN_ID, RUN_ID))
    after = chromium.find_element(By.CSS_SELECTOR, "form.picker input[name=after]")
    after.clear()
    after.send_keys(OLD_RUN_ID, Keys.ENTER)
    answer = chromium.find_element(By.CSS_SELECTOR, "form.picker output")
    assert answer.text == f"Not built yet: suite compare {OLD_RUN_ID} {OLD_RUN_ID}"
    after.clear()
    after.send_keys("no such run", Keys.ENTER)
    assert "There is no run “no such run”" in answer.text
    open_page(chromium, build_comparison(source, tmp_path, RUN_ID, OLD_RUN_ID))
    inputs = chromium.find_elements(By.CSS_SELECTOR, "form.picker input")
    for field, run in zip(inputs, (OLD_RUN_ID, RUN_ID), strict=True):
        field.clear()
        field.send_keys(run)
    inputs[1].send_keys(Keys.ENTER)
    _wait(chromium, lambda driver: driver.title == f"{OLD_RUN_ID} against {RUN_ID}")
