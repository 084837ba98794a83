"""The pages in a real headless Chromium, opened from file://: quiet, offline, drawn, sortable, themed, printable."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import Select, WebDriverWait

from reports.files import run_place
from reports.site.build import build
from tests.support.reports.report_browser import BUSY_HOST_S, log, open_page, requests_of
from tests.support.reports.report_fixtures import OLD_RUN_ID, RUN_ID, FixtureSource, realistic

pytestmark = pytest.mark.browser

_ORDER = (
    "return Array.from(document.querySelectorAll(arguments[0] + ' tbody tr'), row => row.cells[arguments[1]].innerText)"
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    build(realistic(steps=8), folder)
    return folder


def _wait(driver: webdriver.Chrome, until: Callable[[webdriver.Chrome], Any]) -> None:
    WebDriverWait(driver, BUSY_HOST_S).until(until)


def _colour(driver: webdriver.Chrome, selector: str, name: str) -> str:
    script = "return getComputedStyle(document.querySelector(arguments[0]))[arguments[1]]"
    return str(driver.execute_script(script, selector, name))


def _heading(driver: webdriver.Chrome, table: str, words: str) -> WebElement:
    headings = driver.find_elements(By.CSS_SELECTOR, f"{table} thead th")
    return next(heading for heading in headings if heading.text.startswith(words))


def _column(driver: webdriver.Chrome, table: str, place: int) -> list[str]:
    texts: list[str] = driver.execute_script(_ORDER, table, place)
    return [text.split("\n")[0].removesuffix("#").strip() for text in texts]


@pytest.mark.parametrize("run", [RUN_ID, OLD_RUN_ID, ""])
def test_page_opens_without_a_word_in_the_console_and_without_network(
    site: Path, chromium: webdriver.Chrome, run: str
) -> None:
    page = (site / run_place(run)) if run else site / "index.html"
    open_page(chromium, page)
    assert log(chromium, "browser") == []
    requests = requests_of(chromium)
    assert any(address.endswith(".css") for address in requests)
    assert [address for address in requests if not address.startswith(("file:", "data:"))] == []


def test_empty_index_opens_quietly(chromium: webdriver.Chrome, tmp_path: Path) -> None:
    open_page(chromium, build(FixtureSource([], {}, {}), tmp_path))
    assert log(chromium, "browser") == []
    assert "There are no runs yet." in chromium.find_element(By.TAG_NAME, "main").text


def test_page_may_not_reach_out_even_if_a_script_tried(site: Path, chromium: webdriver.Chrome) -> None:
    open_page(chromium, site / "index.html")
    script = """
        const done = arguments[0];
        document.addEventListener("securitypolicyviolation", (event) => done(event.effectiveDirective), { once: true });
        fetch("http://127.0.0.1:9/").catch(() => {});
    """
    assert chromium.execute_async_script(script) == "connect-src"
    log(chromium, "browser")


def test_every_figure_is_drawn_with_its_points(site: Path, chromium: webdriver.Chrome) -> None:
    open_page(chromium, (site / run_place(RUN_ID)))
    chromium.find_element(By.CSS_SELECTOR, "#figures summary").click()
    Select(chromium.find_element(By.CSS_SELECTOR, "select[data-pick]")).select_by_visible_text("jetson")
    plots = chromium.find_elements(By.CSS_SELECTOR, ".plot")
    assert len(plots) == 5
    _wait(chromium, lambda driver: not driver.find_elements(By.CSS_SELECTOR, ".plot .later"))
    for plot in plots:
        assert plot.find_elements(By.CSS_SELECTOR, "svg.main-svg"), plot.get_attribute("data-figure")
        drawn = plot.find_elements(By.CSS_SELECTOR, ".scatterlayer .trace path")
        assert len(drawn) >= 3, plot.get_attribute("data-figure")


def test_one_device_is_drawn_until_another_is_picked_in_all_figures(site: Path, chromium: webdriver.Chrome) -> None:
    open_page(chromium, (site / run_place(RUN_ID)))
    chromium.find_element(By.CSS_SELECTOR, "#figures summary").click()
    names = """
        const traces = (id) => document.querySelector(id + ' .plot').data ?? [];
        const names = (id) => traces(id).flatMap((trace) => trace.meta?.[0] ?? []);
        return [...new Set([...names('#step-latency'), ...names('#loss')].map((name) => name.split(' · ')[0]))];
    """
    _wait(chromium, lambda driver: driver.execute_script(names) == ["local"])
    (picker,) = chromium.find_elements(By.CSS_SELECTOR, "select[data-pick='Device']")
    Select(picker).select_by_visible_text("jetson")
    assert chromium.execute_script(names) == ["jetson"]


def test_power_without_a_sensor_is_a_sentence_instead_of_a_figure(site: Path, chromium: webdriver.Chrome) -> None:
    open_page(chromium, (site / run_place(OLD_RUN_ID)))
    chromium.find_element(By.CSS_SELECTOR, "#figures summary").click()
    power = chromium.find_element(By.ID, "power")
    assert "RAPL is not readable" in power.text and "suite devices check" in power.text
    assert not power.find_elements(By.CSS_SELECTOR, ".plot")


@pytest.mark.parametrize("width", [700, 1000, 1400])
def test_buttons_of_a_figure_cover_no_entry_of_its_legend(site: Path, chromium: webdriver.Chrome, width: int) -> None:
    open_page(chromium, site / run_place(RUN_ID), width)
    covered = chromium.execute_script("""
        return Array.from(document.querySelectorAll('.js-plotly-plot')).flatMap((plot) => {
          const bar = plot.querySelector('.modebar').getBoundingClientRect();
          return Array.from(plot.querySelectorAll('.legend .traces')).filter((entry) => {
            const place = entry.getBoundingClientRect();
            return place.bottom > bar.top && place.top < bar.bottom && place.right > bar.left && place.left < bar.right;
          }).map((entry) => entry.textContent);
        });
    """)
    assert covered == []
    assert chromium.execute_script("return document.querySelectorAll('.js-plotly-plot .legend .traces').length") > 0


def test_figures_offer_no_way_to_send_data_away(site: Path, chromium: webdriver.Chrome) -> None:
    open_page(chromium, (site / run_place(RUN_ID)))
    names = [button.get_attribute("data-title") for button in chromium.find_elements(By.CSS_SELECTOR, ".modebar-btn")]
    assert names and not [name for name in names if "hare" in (name or "") or "loud" in (name or "")]
    assert not chromium.find_elements(By.CSS_SELECTOR, ".modebar-btn--logo, .plot svg a")


def test_hostile_names_are_displayed_as_text_in_tables_and_figures(site: Path, chromium: webdriver.Chrome) -> None:
    open_page(chromium, (site / run_place(RUN_ID)))
    assert chromium.title == f"Run {RUN_ID}"
    assert not chromium.find_elements(By.CSS_SELECTOR, "img[src='x']")
    heads = [head.text for head in chromium.find_elements(By.CSS_SELECTOR, "#results tbody th")]
    assert any(
        head.startswith('<img src=x onerror="document.title=1"></script><b>pi</b> & =1+1 \\u202e') for head in heads
    )
    labels = [label.text for label in chromium.find_elements(By.CSS_SELECTOR, "#latency-memory svg text")]
    assert any(label.startswith("<img src=x onerror=") for label in labels)
    options = chromium.find_elements(By.CSS_SELECTOR, "select[data-pick] option")
    assert any((option.get_attribute("textContent") or "").startswith("<img src=x onerror=") for option in options)
    script = "return document.querySelector('#latency-memory .plot').data.map(trace => trace.name)"
    assert any("&lt;img" in name for name in chromium.execute_script(script))


def test_clicking_a_heading_sorts_by_value_and_leaves_the_missing_last(site: Path, chromium: webdriver.Chrome) -> None:
    open_page(chromium, (site / run_place(RUN_ID)))
    heading = _heading(chromium, "#results", "Latency")
    place = int(chromium.execute_script("return arguments[0].cellIndex", heading))
    heading.find_element(By.TAG_NAME, "button").click()
    rising = _column(chromium, "#results", place)
    assert heading.get_attribute("aria-sort") == "ascending"
    assert rising[0].startswith("1.") and rising[-2].startswith("10.") and rising[-1].startswith("unavailable")
    heading.find_element(By.TAG_NAME, "button").click()
    falling = _column(chromium, "#results", place)
    assert heading.get_attribute("aria-sort") == "descending"
    assert falling[:-1] == rising[:-1][::-1] and falling[-1] == rising[-1]


def test_sorting_works_from_the_keyboard_and_marks_one_column(site: Path, chromium: webdriver.Chrome) -> None:
    open_page(chromium, site / "index.html")
    chromium.find_element(By.CSS_SELECTOR, "#runs summary").click()
    assert _column(chromium, "#runs", 0) == [RUN_ID, OLD_RUN_ID]
    button = _heading(chromium, "#runs", "Run").find_element(By.TAG_NAME, "button")
    button.send_keys(Keys.ENTER)
    assert _column(chromium, "#runs", 0) == [OLD_RUN_ID, RUN_ID]
    assert [th.text for th in chromium.find_elements(By.CSS_SELECTOR, "#runs th[aria-sort]")] == ["Run"]


def test_new_order_of_a_table_is_announced_to_screen_readers(site: Path, chromium: webdriver.Chrome) -> None:
    open_page(chromium, site / "index.html")
    chromium.find_element(By.CSS_SELECTOR, "#runs summary").click()
    live = chromium.find_element(By.CSS_SELECTOR, "[role=status][aria-live=polite]")
    assert live.get_attribute("textContent") == ""
    _heading(chromium, "#runs", "Measurements").find_element(By.TAG_NAME, "button").send_keys(Keys.ENTER)
    label = "Every run, with its devices and settings: sorted by Measurements, "
    assert live.get_attribute("textContent") == label + "ascending"
    _heading(chromium, "#runs", "Measurements").find_element(By.TAG_NAME, "button").send_keys(Keys.ENTER)
    assert live.get_attribute("textContent") == label + "descending"


def test_row_is_one_line_and_opens_by_keyboard_to_the_reasons_of_what_is_unavailable(
    site: Path, chromium: webdriver.Chrome
) -> None:
    open_page(chromium, (site / run_place(RUN_ID)))
    row = chromium.find_element(By.CSS_SELECTOR, "#results tbody tr[id]")
    assert "RAPL is not readable" not in row.text and row.size["height"] < 40
    opener = row.find_element(By.CSS_SELECTOR, "button.open")
    opener.send_keys(Keys.ENTER)
    assert "RAPL is not readable" in row.text and "n = 3 sessions" in row.text
    assert opener.get_attribute("aria-expanded") == "true"
    opener.send_keys(Keys.ENTER)
    assert "RAPL is not readable" not in row.text


def test_theme_follows_the_preference_and_the_toggle_is_remembered(site: Path, chromium: webdriver.Chrome) -> None:
    page = site / run_place(RUN_ID)
    open_page(chromium, page, theme="light")
    light = _colour(chromium, "body", "backgroundColor")
    open_page(chromium, page, theme="dark")
    dark = _colour(chromium, "body", "backgroundColor")
    button = chromium.find_element(By.CSS_SELECTOR, "button.theme")
    assert light != dark and button.get_attribute("aria-pressed") == "true"
    button.send_keys(Keys.ENTER)
    assert _colour(chromium, "body", "backgroundColor") == light
    chromium.refresh()
    assert _colour(chromium, "body", "backgroundColor") == light


def test_figures_take_the_colours_of_the_theme(site: Path, chromium: webdriver.Chrome) -> None:
    def colours() -> tuple[Any, Any]:
        plot = "const d = document.querySelector('#latency-memory .plot');"
        script = f"{plot} return [d.layout.font.color, d.data[0].marker.color]"
        font, line = chromium.execute_script(script)
        return font, line

    open_page(chromium, (site / run_place(RUN_ID)), theme="light")
    light = colours()
    chromium.find_element(By.CSS_SELECTOR, "button.theme").click()
    dark = colours()
    assert light[0] == "rgb(28, 35, 41)" and dark[0] == "rgb(229, 233, 237)"
    assert light[1] != dark[1] and all(colour.startswith("rgb(") for colour in (*light, *dark))


def test_print_is_light_with_everything_unfolded_and_the_screen_comes_back(
    site: Path, chromium: webdriver.Chrome
) -> None:
    open_page(chromium, (site / run_place(RUN_ID)), theme="dark")
    folded = len(chromium.find_elements(By.CSS_SELECTOR, "details:not([open])"))
    assert folded
    chromium.execute_script("window.dispatchEvent(new Event('beforeprint'))")
    font = "return document.querySelector('#latency-memory .plot').layout.font.color"
    assert not chromium.find_elements(By.CSS_SELECTOR, "details:not([open])")
    assert chromium.execute_script(font) == "rgb(28, 35, 41)"
    chromium.execute_script("window.dispatchEvent(new Event('afterprint'))")
    assert len(chromium.find_elements(By.CSS_SELECTOR, "details:not([open])")) == folded
    assert chromium.execute_script(font) == "rgb(229, 233, 237)"


def test_headings_repeat_on_every_sheet_of_a_long_table(site: Path, chromium: webdriver.Chrome) -> None:
    """Chromium repeats the words of a heading, but not a button in it."""
    open_page(chromium, (site / run_place(RUN_ID)))
    chromium.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    try:
        assert _colour(chromium, "#results thead th button", "display") == "contents"
        assert _colour(chromium, "#results thead", "display") == "table-header-group"
    finally:
        chromium.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})


@pytest.mark.parametrize("width", [360, 1400])
def test_page_never_scrolls_sideways_as_a_whole(site: Path, chromium: webdriver.Chrome, width: int) -> None:
    for page in (site / "index.html", (site / run_place(RUN_ID))):
        open_page(chromium, page, width=width)
        assert chromium.execute_script("return document.documentElement.scrollWidth") <= width


def test_every_control_and_table_is_reached_with_the_tab_key(site: Path, chromium: webdriver.Chrome) -> None:
    open_page(chromium, (site / run_place(RUN_ID)))
    reached = []
    for _ in range(80):
        webdriver.ActionChains(chromium).send_keys(Keys.TAB).perform()
        active = chromium.switch_to.active_element
        plain = active.get_attribute("class") or active.text or active.tag_name
        reached.append(active.tag_name if active.tag_name in ("input", "select") else plain)
    assert reached[0] == "skip" and "theme" in reached and "scroll" in reached and "Latency of a step" in reached
    assert "input" in reached and "select" in reached and "here" in reached
