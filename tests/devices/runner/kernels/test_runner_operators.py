"""Our own operators inside programs, beside delegated products."""

from __future__ import annotations

import pytest
import torch
from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner

from tests.support.runner import runner_programs as programs
from tests.support.runner.kernel_calls import PACK
from workloads.methods import operators as ops
from workloads.quantize.frozen import FrozenLinear, dequantize

pytestmark = pytest.mark.slow


def perturbed_job(job, tmp_path, module, seed=7):
    example = (torch.zeros(2, dtype=torch.int64), torch.tensor(0.0), torch.zeros(3), torch.tensor(0.0))
    job["program"] = str(programs.export(module, example, tmp_path / "perturbed.pte"))
    job["inputs"] = [
        {"name": "key", "dtype": "int64", "shape": [2], "step_key": {"seed": seed}},
        {"name": "eps", "dtype": "float32", "shape": [], "value": [0.01]},
        {"name": "gradient", "dtype": "float32", "shape": [3], "value": [1.0, -2.0, 0.5]},
        {"name": "lr", "dtype": "float32", "shape": [], "value": [0.1]},
    ]
    return job


@pytest.mark.parametrize("signs", [0, 1, -1])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
def test_perturb_and_update_follow_the_eager_reference(run, job, tmp_path, signs, dtype):
    module = programs.Perturbed(500, 33, 4, [20, 7], 3, signs, dtype)
    outcome = run(perturbed_job(job, tmp_path, module))
    eps, gradient, lr = torch.tensor(0.01), torch.tensor([1.0, -2.0, 0.5]), torch.tensor(0.1)
    adapter = torch.zeros(500)
    for step, losses in enumerate(outcome.losses):
        key = torch.tensor([7, step])
        adapter = ops.update(adapter, gradient, key, lr)
        slots = ops.perturb(adapter, key, eps, adapter, 33, 4, [20, 7], 0, 3, signs, dtype)
        expected = torch.cat([slot.reshape(-1).float() for slot in slots])
        assert expected.numel() == 4 * 27 * 3 * (2 if signs == 0 else 1)
        # Fewer bits: noise that differs in its last ones may round to the neighbour, eps of the value away.
        rtol = 0.0 if dtype == torch.float32 else torch.finfo(dtype).eps
        assert torch.allclose(torch.tensor(losses), expected, atol=3e-6, rtol=rtol)
    assert len(outcome.losses) == 7


def test_the_bits_do_not_depend_on_the_number_of_threads(run, job, tmp_path):
    perturbed_job(job, tmp_path, programs.Perturbed(40_000, 33, 8, [4000, 900], 3, 0))
    assert run(job | {"threads": 1}).losses == run(job | {"threads": 2}).losses


def test_a_slice_outside_of_the_adapter_fails_the_step(run, job, tmp_path):
    outcome = run(perturbed_job(job, tmp_path, programs.Perturbed(160, 33, 4, [20, 12], 3, 0)))
    assert (outcome.returncode, outcome.footer["stage"], outcome.footer["error_code"]) == (1, "execute", "0x12")
    assert "4 x 12 values at offset 113 do not lie within the adapter of 160 values" in outcome.footer["reason"]


def product_job(job, tmp_path, stored):
    module = FrozenLinear(*stored)
    job["program"] = str(programs.export(module, (torch.zeros(2, 3, 128),), tmp_path / "product.pte"))
    (tmp_path / "x.bin").write_bytes(torch.linspace(-1, 1, 768).numpy().tobytes())
    job["inputs"] = [
        {"name": "x", "dtype": "float32", "shape": [2, 3, 128], "file": "x.bin", "offset": 0, "batches": 1}
    ]
    return job


@pytest.mark.parametrize("form", PACK)
def test_linear_frozen_multiplies_the_weight_in_each_form(run, job, tmp_path, form):
    weight, *scales = PACK[form](torch.randn(10, 128, generator=torch.Generator().manual_seed(3)))
    found = torch.tensor(run(product_job(job, tmp_path, (weight, *scales))).losses[0]).reshape(2, 3, 10)
    expected = torch.linspace(-1, 1, 768).reshape(2, 3, 128) @ dequantize(weight, scales).T
    assert torch.allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("form", ["int8", "nf4", "nf4-double"])
def test_a_weight_with_too_few_scales_fails_the_step(run, job, tmp_path, form):
    *others, last = PACK[form](torch.ones(10, 128))
    shorter = last[:-1].clone() if last.numel() > 1 else torch.ones(2)
    outcome = run(product_job(job, tmp_path, (*others, shorter)))
    assert (outcome.footer["stage"], outcome.footer["error_code"]) == ("execute", "0x12")
    assert (
        f"a weight of 10 rows has no known form, or its {len(others)} scales don't fit it" in outcome.footer["reason"]
    )


def test_a_delegated_program_runs_with_several_threads(run, job, tmp_path):
    linear = torch.nn.Linear(16, 4)
    job["program"] = str(programs.export(linear, (torch.zeros(1, 16),), tmp_path / "linear.pte", XnnpackPartitioner()))
    job["inputs"] = [{"name": "x", "dtype": "float32", "shape": [1, 16], "value": [0.5] * 16}]
    expected = linear(torch.full((1, 16), 0.5))[0]
    found = run(job | {"threads": 2}).losses[0]
    assert torch.allclose(torch.tensor(found), expected, atol=1e-5)
