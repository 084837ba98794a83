"""One browser for all tests of a session that need one."""

from collections.abc import Iterator

import pytest
from selenium import webdriver

from tests.support.reports.report_browser import started


@pytest.fixture(scope="session")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    driver = started(tmp_path_factory.mktemp("profile"))
    yield driver
    driver.quit()
