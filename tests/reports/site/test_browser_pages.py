"""Every kind of page in a real Chromium: quiet, offline, accessible; filters and links that last; one file; served."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from axe_core_python.selenium import Axe
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select, WebDriverWait

from reports.files import TRAININGS, device_place, night_place, run_place, series_place, training_place
from reports.site.build import build, build_comparison
from reports.site.serving import SiteServer
from reports.site.writing import write_single_file
from tests.support.reports.lab_fixtures import NIGHT_ID, LabSource, key, night_id
from tests.support.reports.report_browser import BUSY_HOST_S, emulate, log, open_page, requests_of
from tests.support.reports.report_fixtures import HOSTILE, OLD_RUN_ID, RUN_ID
from tests.support.reports.training_fixtures import GROUP_ID, ODD_ID, TrainingSource

pytestmark = pytest.mark.browser

KINDS = (
    *("index", "night", "run", "comparison", "series", "device", "workload", "hostile series", "hostile device"),
    *("training", "training gone wrong", "trainings"),
)
_TABLE_TEXT = "return Array.from(document.querySelectorAll(arguments[0] + ' tbody tr:not([hidden])'), r => r.innerText)"
_POINT = """
    const place = document.getElementById(arguments[0]).querySelector('.plot');
    place.emit('plotly_click', { points: [{ customdata: place.data[0].customdata[arguments[1]] }] });
"""


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Kind to page of one site; "site" is its folder."""
    folder, source = tmp_path_factory.mktemp("lab"), LabSource()
    build(source, folder)
    trained = tmp_path_factory.mktemp("trained")
    build(TrainingSource(), trained)
    return {
        "site": folder,
        "index": folder / "index.html",
        "night": folder / night_place(NIGHT_ID),
        "run": folder / run_place(RUN_ID),
        "comparison": build_comparison(source, folder, OLD_RUN_ID, RUN_ID),
        "series": folder / series_place("jetson", key("fp16")),
        "device": folder / device_place("jetson"),
        "workload": next(folder.glob("workloads/*/index.html")),
        "hostile series": folder / series_place(HOSTILE, key("int8")),
        "hostile device": folder / device_place(HOSTILE),
        "training": trained / training_place(GROUP_ID),
        "training gone wrong": trained / training_place(ODD_ID),
        "trainings": trained / TRAININGS,
    }


@pytest.fixture
def served(pages: dict[str, Path]) -> Iterator[SiteServer]:
    with SiteServer(pages["site"]) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def _rows(driver: webdriver.Chrome, table: str) -> list[str]:
    found: list[str] = driver.execute_script(_TABLE_TEXT, table)
    return found


def _wait(driver: webdriver.Chrome, until: Callable[[webdriver.Chrome], Any]) -> None:
    WebDriverWait(driver, BUSY_HOST_S).until(until)


@pytest.mark.parametrize("kind", KINDS)
def test_page_of_each_kind_is_quiet_and_offline(pages: dict[str, Path], chromium: webdriver.Chrome, kind: str) -> None:
    open_page(chromium, pages[kind])
    assert log(chromium, "browser") == []
    assert [address for address in requests_of(chromium) if not address.startswith(("file:", "data:"))] == []
    assert chromium.find_elements(By.CSS_SELECTOR, "table[data-rows] tbody tr")
    assert not chromium.find_elements(By.CSS_SELECTOR, "img[src='x']")


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("kind", KINDS)
def test_axe_finds_no_serious_fault(pages: dict[str, Path], chromium: webdriver.Chrome, kind: str, theme: str) -> None:
    open_page(chromium, pages[kind], theme=theme)
    found = Axe().run(chromium)["violations"]
    grave = [(one["id"], one["nodes"][0]["html"][:200]) for one in found if one["impact"] in ("serious", "critical")]
    assert grave == []


@pytest.mark.parametrize("width", [360, 1400])
@pytest.mark.parametrize("kind", KINDS)
def test_no_kind_of_page_scrolls_sideways_as_a_whole(
    pages: dict[str, Path], chromium: webdriver.Chrome, kind: str, width: int
) -> None:
    open_page(chromium, pages[kind], width=width)
    assert chromium.execute_script("return document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("kind", ["night", "series", "device", "workload", "training"])
def test_tables_fit_on_a_laptop_without_being_scrolled(
    pages: dict[str, Path], chromium: webdriver.Chrome, kind: str
) -> None:
    open_page(chromium, pages[kind], width=1280)
    wider = "return Array.from(document.querySelectorAll('.scroll'), it => it.scrollWidth - it.clientWidth)"
    assert set(chromium.execute_script(wider)) == {0}


def test_curves_of_a_training_switch_from_seconds_to_steps_and_joules(
    pages: dict[str, Path], chromium: webdriver.Chrome
) -> None:
    open_page(chromium, pages["training"])
    last = "const it = document.querySelector('#accuracy .plot'); return [it.data.at(-1).x.at(-1), %s]"
    title = last % "it.layout.xaxis2.title.text"
    seconds, words = chromium.execute_script(title)
    assert words == "min of steps on the device"
    for place, expected in ((1, [500, "steps"]), (0, [seconds, words])):
        buttons = chromium.find_elements(By.CSS_SELECTOR, "#accuracy .updatemenu-button")
        assert [button.text for button in buttons] == ["seconds", "steps", "joules"]
        buttons[place].click()
        _wait_for(chromium, title, expected)


def _wait_for(chromium: webdriver.Chrome, script: str, expected: object) -> None:
    _wait(chromium, lambda driver: driver.execute_script(script) == expected)


def test_segments_are_folded_until_asked_for(pages: dict[str, Path], chromium: webdriver.Chrome) -> None:
    open_page(chromium, pages["training"])
    table = chromium.find_element(By.ID, "t-segments")
    assert not table.is_displayed()
    chromium.find_element(By.CSS_SELECTOR, "#segments summary").click()
    assert table.is_displayed()


def test_words_and_choices_filter_the_rows_and_the_count_is_displayed(
    pages: dict[str, Path], chromium: webdriver.Chrome
) -> None:
    open_page(chromium, pages["night"])
    bar = chromium.find_element(By.CSS_SELECTOR, "#verdicts form.filter")
    Select(bar.find_elements(By.TAG_NAME, "select")[0]).select_by_visible_text("jetson")
    assert len(_rows(chromium, "#t-verdicts")) == 9
    bar.find_element(By.TAG_NAME, "input").send_keys("peak FP16")
    (only,) = _rows(chromium, "#t-verdicts")
    assert "jetson" in only and "fp16" in only and "Peak memory" in only
    assert bar.find_element(By.TAG_NAME, "output").text == "1 of 27 rows"
    bar.find_element(By.CSS_SELECTOR, "button[type=reset]").send_keys(Keys.ENTER)
    _wait(chromium, lambda driver: len(_rows(driver, "#t-verdicts")) == 27)


def test_filter_that_fits_nothing_says_how_to_go_on(pages: dict[str, Path], chromium: webdriver.Chrome) -> None:
    open_page(chromium, pages["night"])
    chromium.find_element(By.CSS_SELECTOR, "#verdicts form.filter input").send_keys("no such row")
    assert "No row matches the filter" in chromium.find_element(By.ID, "verdicts").text


def test_address_keeps_filter_and_order_for_whoever_opens_it(
    pages: dict[str, Path], chromium: webdriver.Chrome
) -> None:
    open_page(chromium, pages["night"])
    Select(chromium.find_element(By.CSS_SELECTOR, "#verdicts form.filter select")).select_by_visible_text("local")
    heading = next(
        one for one in chromium.find_elements(By.CSS_SELECTOR, "#t-verdicts thead button") if one.text == "Metric"
    )
    heading.click()
    rows, address = _rows(chromium, "#t-verdicts"), chromium.current_url
    assert "#view?" in address and len(rows) == 9
    chromium.get("about:blank")
    chromium.get(address)
    assert _rows(chromium, "#t-verdicts") == rows
    chosen = chromium.find_element(By.CSS_SELECTOR, "#t-verdicts th[aria-sort]")
    assert chosen.text.startswith("Metric") and chosen.get_attribute("aria-sort") == "ascending"


def test_each_row_has_a_permanent_link_that_shows_it_even_when_filtered_away(
    pages: dict[str, Path], chromium: webdriver.Chrome
) -> None:
    open_page(chromium, pages["night"])
    rows = chromium.find_elements(By.CSS_SELECTOR, "#t-verdicts tbody tr")
    links = chromium.find_elements(By.CSS_SELECTOR, "#t-verdicts tbody a.here")
    assert len(rows) == len(links) > 10
    name = rows[5].get_attribute("id")
    chromium.find_element(By.CSS_SELECTOR, "#verdicts form.filter input").send_keys("regressed")
    assert not chromium.find_elements(By.ID, name)
    chromium.execute_script("location.hash = arguments[0]", f"#{name}")
    _wait(chromium, lambda driver: [row.is_displayed() for row in driver.find_elements(By.ID, name)] == [True])
    assert chromium.find_element(By.CSS_SELECTOR, "tr.sought").get_attribute("id") == name


def test_point_of_a_series_leads_to_its_run(pages: dict[str, Path], chromium: webdriver.Chrome) -> None:
    open_page(chromium, pages["series"])
    chromium.execute_script(_POINT, "latency_ms", 3)
    _wait(chromium, lambda driver: night_id(3) in driver.current_url)
    assert chromium.title == f"Run {night_id(3)}"


def test_point_that_names_another_place_leads_nowhere(pages: dict[str, Path], chromium: webdriver.Chrome) -> None:
    open_page(chromium, pages["series"])
    before = chromium.current_url
    for evil in ("https://example.invalid/index.html", "javascript:document.title=1", "runs/../../etc/index.html"):
        script = (
            "document.querySelector('#latency_ms .plot').emit('plotly_click', {points: [{customdata: arguments[0]}]})"
        )
        chromium.execute_script(script, evil)
    assert chromium.current_url == before and chromium.title == "jetson, fp16"


def test_trend_shows_intervals_segments_change_points_and_remarks(
    pages: dict[str, Path], chromium: webdriver.Chrome
) -> None:
    open_page(chromium, pages["series"])
    figure = chromium.find_element(By.ID, "latency_ms")
    assert figure.find_elements(By.CSS_SELECTOR, ".errorbar path")
    assert len(figure.find_elements(By.CSS_SELECTOR, ".shapelayer path")) >= 5
    labels = [label.text for label in figure.find_elements(By.CSS_SELECTOR, "svg .annotation text")]
    assert "device changed" in labels and any("▼ worse" in label for label in labels)
    assert "lena, annotation: the new kernel was rolled out" in figure.text


def test_printed_page_is_light_and_without_controls(pages: dict[str, Path], chromium: webdriver.Chrome) -> None:
    open_page(chromium, pages["night"], theme="dark")
    chromium.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    try:
        assert not chromium.find_element(By.CSS_SELECTOR, "#verdicts form.filter").is_displayed()
        assert not chromium.find_element(By.CSS_SELECTOR, "header.site").is_displayed()
        colour = chromium.execute_script("return getComputedStyle(document.querySelector('#verdicts td')).color")
        assert colour == "rgb(28, 35, 41)"
    finally:
        chromium.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
        emulate(chromium)


@pytest.mark.parametrize("kind", ["night", "run", "series"])
def test_single_file_is_whole_by_itself(
    pages: dict[str, Path], chromium: webdriver.Chrome, tmp_path: Path, kind: str
) -> None:
    target = write_single_file(pages[kind], tmp_path / "sent.html")
    open_page(chromium, target)
    assert log(chromium, "browser") == []
    assert [address for address in requests_of(chromium) if not address.startswith("data:")] == [target.as_uri()]
    for plot in chromium.find_elements(By.CSS_SELECTOR, ".plot"):
        assert plot.find_elements(By.CSS_SELECTOR, "svg.main-svg")
    assert chromium.find_elements(By.CSS_SELECTOR, "form.filter, thead th button")
    addresses = [link.get_attribute("href") or "" for link in chromium.find_elements(By.CSS_SELECTOR, "main a")]
    own = target.as_uri()
    assert [address for address in addresses if not address.startswith((f"{own}#", "data:"))] == []


@pytest.mark.parametrize("kind", ["index", "night", "series"])
def test_served_page_works_under_the_strict_headers(
    pages: dict[str, Path], chromium: webdriver.Chrome, served: SiteServer, kind: str
) -> None:
    for sort in ("browser", "performance"):
        log(chromium, sort)
    chromium.get(served.url + pages[kind].relative_to(pages["site"]).as_posix())
    _wait(chromium, lambda driver: not driver.find_elements(By.CSS_SELECTOR, ".plot .waiting"))
    assert log(chromium, "browser") == []
    assert [one for one in requests_of(chromium) if not one.startswith((served.url, "data:"))] == []
    assert chromium.find_elements(By.CSS_SELECTOR, "thead th button")
