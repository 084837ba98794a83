"""One browser for all tests of a session that need one."""

from collections.abc import Iterator

import pytest
from report_browser import started
from selenium import webdriver


@pytest.fixture(scope="session")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    driver = started(tmp_path_factory.mktemp("profile"))
    yield driver
    driver.quit()
