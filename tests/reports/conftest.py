"""One browser for all tests of a session that need one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from selenium import webdriver


@pytest.fixture(scope="session")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    from tests.support.reports.report_browser import started

    driver = started(tmp_path_factory.mktemp("profile"))
    yield driver
    driver.quit()
