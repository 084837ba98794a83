"""Fixtures that start twins, for tests in any folder; marks of tests; and the rule that a skip is a failure in CI."""

from __future__ import annotations

import os
from collections.abc import Generator

import pytest

from devices.deployment.built_runner import BuiltRunner
from devices.runner_builds.bundle import build_bundle
from tests.support.twins.twin_emulator import aarch64_bundle
from tests.support.twins.twin_needs import NO_SKIPS, skips_fail

# What a test needs is known from its fixtures. The marks that don't follow from these stand in the tests' own files.
_MARKS = {"aarch64_runner": "twins", "host_bundle": "twins", "adbd": "twins", "chromium": "browser", "exported": "slow"}


def pytest_itemcollected(item: pytest.Item) -> None:
    """Marks a test by the fixtures that it asks for, itself or by way of others."""
    for name in getattr(item, "fixturenames", ()):
        if name in _MARKS:
            item.add_marker(_MARKS[name])


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A test that skips fails where `EDGE_SUITE_NO_SKIPS=1`: nothing is left untested unnoticed."""
    report = yield
    if report.skipped and not hasattr(report, "wasxfail") and skips_fail():
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid}: {reason} ({NO_SKIPS}=1: a skip is a failure)"
    return report


@pytest.fixture(scope="session")
def aarch64_runner(request: pytest.FixtureRequest) -> BuiltRunner:
    """The bundle of the current sources for aarch64; builds are kept from one test run to the next."""
    cache = request.config.cache
    assert cache is not None
    return aarch64_bundle(cache.mkdir("runner"))


@pytest.fixture(scope="session")
def host_bundle(request: pytest.FixtureRequest) -> BuiltRunner:
    """The bundle for devices with this host's processor, which is made of the native build."""
    cache = request.config.cache
    assert cache is not None
    return build_bundle(os.uname().machine, cache.mkdir("runner"), print)
