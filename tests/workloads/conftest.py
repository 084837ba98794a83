"""One runner and one export of each program for all tests of a session, whichever process runs them."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import workloads.export.export
from devices.runner_builds.build import build_runner
from tests.support.workloads.counted_export import CountedExport
from tests.support.workloads.own_arithmetic import probe
from tests.support.workloads.training_runs import ArtifactOf
from workloads.export.artifact import ArtifactCache
from workloads.lowering.arithmetic_probe import Accumulation
from workloads.models.weights import ModelWeights, document_sha256
from workloads.models.zoo import load_model


@pytest.fixture(scope="session")
def runner(request: pytest.FixtureRequest) -> Path:
    """The runner of the current sources; builds are kept from one test run to the next."""
    cache = request.config.cache
    assert cache is not None
    return build_runner(cache.mkdir("runner")).folder / "runner"


@pytest.fixture(scope="session")
def accumulation(runner: Path, tmp_path_factory: pytest.TempPathFactory) -> Accumulation:
    """How this processor sums products of float16: references of programs that run here do as it does."""
    found = probe(runner, tmp_path_factory.mktemp("arithmetic"))
    assert found is not None
    print(f"this processor: {found}")
    return found


@pytest.fixture(scope="session")
def tiny() -> ModelWeights:
    """Two layers of random weights, with norms that differ from each other and from one, as trained ones do.

    Norms of one would also make int8 ill-conditioned: a row of an int8 table stays a row of multiples of one number,
    many of which lie exactly between two codes when the row is quantized again.
    """
    weights = load_model("tiny")
    generator = torch.Generator().manual_seed(1)
    state = {
        name: 1.0 + 0.2 * torch.randn(value.shape, generator=generator) if value.dim() == 1 else value
        for name, value in weights.state.items()
    }
    return replace(weights, state=state, sha256=document_sha256({"of": weights.sha256, "norms": "seed 1"}))


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory, tiny: ModelWeights) -> ArtifactOf:
    """The artifact of a workload on `tiny`, exported once; the processes of a parallel test run share them."""
    base = tmp_path_factory.getbasetemp()
    cache = ArtifactCache((base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "programs")
    return lambda workload: cache.export(workload, tiny)


@pytest.fixture
def export(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CountedExport:
    counted = CountedExport(tmp_path / "calls")
    monkeypatch.setattr(workloads.export.export, "export_program", counted)
    return counted


@pytest.fixture
def cache(tmp_path: Path) -> ArtifactCache:
    return ArtifactCache(tmp_path / "artifacts")
