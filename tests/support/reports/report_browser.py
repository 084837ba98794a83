"""A real headless Chromium for tests: starts it, opens pages in it, and reads what it logged and requested."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

_FLAGS = (
    "--headless",
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--window-size=1400,900",
)  # fmt: skip

BUSY_HOST_S = 300
"""Seconds that a page may take while all tests run."""


def program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.fail(
            f"{name} is not installed: `make setup` installs it (Debian: apt-get install chromium chromium-driver)."
        )
    return found


def started(profile: Path) -> webdriver.Chrome:
    """A browser with its profile in a folder of its own."""
    options = Options()
    options.binary_location = program("chromium")
    for flag in (*_FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(program("chromedriver")))
    driver.set_script_timeout(BUSY_HOST_S)
    driver.set_page_load_timeout(BUSY_HOST_S)
    driver.get("about:blank")
    return driver


def emulate(driver: webdriver.Chrome, width: int = 1400, theme: str = "light") -> None:
    screen = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
    feature = {"name": "prefers-color-scheme", "value": theme}
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})


def open_page(driver: webdriver.Chrome, page: Path, width: int = 1400, theme: str = "light") -> None:
    """Opens a page afresh and waits until its figures are drawn."""
    emulate(driver, width, theme)
    if driver.current_url.startswith("file:"):
        driver.execute_script("localStorage.clear()")
    for kind in ("browser", "performance"):
        log(driver, kind)
    driver.get(page.as_uri())
    WebDriverWait(driver, BUSY_HOST_S).until(lambda d: not d.find_elements(By.CSS_SELECTOR, ".plot .waiting"))


def log(driver: webdriver.Chrome, kind: str) -> list[dict[str, Any]]:
    """Returns what was logged since the last call."""
    entries: list[dict[str, Any]] = driver.get_log(kind)
    return entries


def requests_of(driver: webdriver.Chrome) -> list[str]:
    messages = [json.loads(entry["message"])["message"] for entry in log(driver, "performance")]
    return [
        found["params"]["request"]["url"]
        for found in messages
        if found["method"] == "Network.requestWillBeSent"
        and not found["params"].get("documentURL", "").startswith("chrome")
    ]
