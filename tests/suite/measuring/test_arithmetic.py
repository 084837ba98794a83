"""The probe of this host's float16 arithmetic, which says what a local device will sum in."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from devices.runner_builds.build import build_runner
from suite.measuring.arithmetic import accumulation_here
from tests.support.workloads.own_arithmetic import probe
from workloads.lowering.arithmetic_probe import PROBE

pytestmark = pytest.mark.slow


def test_it_finds_here_what_it_finds_on_a_device(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    assert request.config.cache is not None
    runner = build_runner(request.config.cache.mkdir("runner"))
    found = probe(runner.folder / "runner", tmp_path)
    assert found is not None
    assert accumulation_here(runner, tmp_path / PROBE) == found


def test_a_runner_that_does_not_start_finds_nothing(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    assert request.config.cache is not None
    runner = build_runner(request.config.cache.mkdir("runner"))
    (tmp_path / PROBE).write_bytes(b"no program")
    assert accumulation_here(runner, tmp_path / PROBE) is None
    assert accumulation_here(replace(runner, launch=("/nonexistent/runner",)), tmp_path / PROBE) is None
