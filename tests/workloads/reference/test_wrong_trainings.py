"""Programs that train wrongly are found by their losses in every setting, and right ones are not refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.workloads.training_runs import ArtifactOf
from tests.support.workloads.wrong_trainings import follow_trainings, require_right_one_alone
from workloads.lowering.arithmetic_probe import Accumulation
from workloads.models.weights import ModelWeights
from workloads.models.zoo import load_model
from workloads.quantize.settings import QUANTIZATION_SETTINGS
from workloads.workload import Workload

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("quant", QUANTIZATION_SETTINGS)
def test_wrong_trainings_of_a_small_model_are_found(
    quant: str,
    tiny: ModelWeights,
    exported: ArtifactOf,
    runner: Path,
    accumulation: Accumulation,
    tmp_path: Path,
) -> None:
    require_right_one_alone(
        follow_trainings(Workload("tiny", quant, rank=4), tiny, exported, runner, accumulation, tmp_path)
    )


@pytest.mark.full
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("quant", QUANTIZATION_SETTINGS)
def test_wrong_trainings_of_the_real_model_are_found(
    quant: str, runner: Path, accumulation: Accumulation, tmp_path: Path
) -> None:
    from workloads.export.artifact import ArtifactCache

    weights, cache = load_model("smollm2-135m"), ArtifactCache(tmp_path / "artifacts")
    require_right_one_alone(
        follow_trainings(
            Workload("smollm2-135m", quant),
            weights,
            lambda each: cache.export(each, weights),
            runner,
            accumulation,
            tmp_path,
        )
    )
