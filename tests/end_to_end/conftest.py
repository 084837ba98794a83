"""One runner and one export of each setting of tiny for all tests; a home of its own for each of them."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from filelock import FileLock

import workloads
from devices.runner_builds.build import build_runner
from suite.planning.plan import Plan
from suite.preparing.preparation import load_inputs, prepare
from suite.training.plan import TrainingPlan
from suite.training.trainer import EVALUATED_ROWS
from tests.support.end_to_end.suite_runs import INVENTORY, OTHER_SEED, SETTINGS, Bench
from tests.support.end_to_end.warm_exporter import client_of, warm_exporter
from workloads.export.artifact import ArtifactCache


def _sources_sha256() -> str:
    """Over everything that an export depends on, so that no test sees a program of older sources."""
    digest = hashlib.sha256()
    for path in sorted(Path(workloads.__file__).parent.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def pytest_itemcollected(item: pytest.Item) -> None:
    """Called for the tests of this folder alone."""
    item.add_marker("end_to_end")


@pytest.fixture(scope="session")
def shared(request: pytest.FixtureRequest) -> Path:
    """A home with the runner and the programs, kept from one test run to the next; the first test fills it."""
    cache = request.config.cache
    assert cache is not None
    build_runner(cache.mkdir("runner"))
    home = cache.mkdir("end_to_end") / _sources_sha256()
    with FileLock(home.with_suffix(".lock")):
        if not (home / "complete").exists():
            other = Plan(devices=(), model="tiny", q=2, b=2, T=32, quants=("fp32", "nf4"), seed=OTHER_SEED)
            for plan in (replace(other, quants=SETTINGS, seed=7), other):
                prepare(plan, load_inputs(plan, print), ArtifactCache(home / "artifacts"), print)
            evaluation = TrainingPlan(replace(other, quants=("nf4",))).evaluation(EVALUATED_ROWS)
            inputs = load_inputs(evaluation, print)
            prepare(evaluation, inputs, ArtifactCache(home / "evaluation"), print, references=False)
            (home / "runner").symlink_to(cache.mkdir("runner"))
            (home / "complete").touch()
    return home


@pytest.fixture(scope="session")
def exporting_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, ...]]:
    """The command of an exporting process whose imports are done, once for all workers."""
    base = tmp_path_factory.getbasetemp()
    place = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "exporter"
    with warm_exporter(place):
        yield client_of(place)


@pytest.fixture
def empty_bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Bench:
    """An inventory, and a home with nothing in it."""
    (tmp_path / "inventory.yaml").write_text(INVENTORY)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SUITE_HOME", str(tmp_path / "home"))
    return Bench(tmp_path, capsys)


@pytest.fixture
def bench(
    empty_bench: Bench, shared: Path, exporting_process: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Bench]:
    """An inventory, and a home with the runner and the programs of tiny."""
    monkeypatch.setattr("suite.preparing.exporting.PROCESS", exporting_process)
    empty_bench.home.mkdir()
    shutil.copytree(shared / "artifacts", empty_bench.home / "artifacts")
    (empty_bench.home / "runner").symlink_to(shared / "runner", target_is_directory=True)
    yield empty_bench
    # A runner left by a failing test would disturb all others.
    pid = empty_bench.runner_pid()
    if pid is not None and Path(f"/proc/{pid}/exe").exists():
        os.kill(pid, 9)
