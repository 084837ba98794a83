"""One runner and one export of each program for all tests of a session, whichever process runs them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from devices.runner_build import build_runner
from workloads.artifact import Artifact, ArtifactCache
from workloads.models.weights import ModelWeights
from workloads.models.zoo import load_model
from workloads.workload import Workload

ArtifactOf = Callable[[Workload], Artifact]


@pytest.fixture(scope="session")
def runner(request: pytest.FixtureRequest) -> Path:
    """The runner of the current sources; builds are kept from one test run to the next."""
    cache = request.config.cache
    assert cache is not None
    return build_runner(cache.mkdir("runner")).folder / "runner"


@pytest.fixture(scope="session")
def tiny() -> ModelWeights:
    """Two layers of random weights."""
    return load_model("tiny")


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory, tiny: ModelWeights) -> ArtifactOf:
    """The artifact of a workload on `tiny`, exported once; the processes of a parallel test run share them."""
    base = tmp_path_factory.getbasetemp()
    cache = ArtifactCache((base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "programs")
    return lambda workload: cache.export(workload, tiny)
