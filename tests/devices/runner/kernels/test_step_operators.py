"""The operators around the decoder layers inside programs, against their eager forms."""

from __future__ import annotations

import pytest
import torch

from tests.support.runner import runner_programs as programs
from tests.support.runner.kernel_calls import PACK
from workloads.methods import operators  # registers decoder_layer  # noqa: F401
from workloads.methods.passes import scratch_values
from workloads.models.config import LlamaConfig
from workloads.quantize.frozen import FrozenLinear, dequantize

pytestmark = pytest.mark.slow

TOKENS = torch.tensor([[3, 0, 9], [9, 9, 1]])


def tables():
    """Returns every form of a table of 10 tokens, 66 values each, so that blocks of NF4 straddle its rows."""
    table = torch.randn(10, 66, generator=torch.Generator().manual_seed(5))
    packed = {form: pack(table) for form, pack in PACK.items()}
    return {"fp32": (table, []), **{form: (values, scales) for form, (values, *scales) in packed.items()}}


def given(name, value, tmp_path):
    """A job's entry for an input that has the same value in each step."""
    (tmp_path / f"{name}.bin").write_bytes(value.numpy().tobytes())
    dtype = str(value.dtype).removeprefix("torch.")
    place = {"file": f"{name}.bin", "offset": 0, "batches": 1}
    return {"name": name, "dtype": dtype, "shape": list(value.shape), **place}


def embedding_job(job, tmp_path, tokens, table, scales, alone):
    module = programs.Embedded(table, scales, alone)
    job["program"] = str(programs.export(module, (tokens,), tmp_path / "embedded.pte"))
    job["inputs"] = [given("tokens", tokens, tmp_path)]
    return job


@pytest.mark.parametrize("alone", [True, False])
@pytest.mark.parametrize("quant", ["fp32", *PACK])
def test_embedding_gives_the_rows_of_the_tokens_to_each_slice(run, job, tmp_path, quant, alone):
    table, scales = tables()[quant]
    unpacked = dequantize(table, scales)
    outcome = run(embedding_job(job, tmp_path, TOKENS, table, scales, alone))
    assert len(outcome.losses) == 7
    for losses in outcome.losses:
        assert torch.equal(torch.tensor(losses), unpacked[TOKENS.reshape(-1)].repeat(2, 1, 1).reshape(-1))


def test_a_token_outside_of_the_table_fails_the_step(run, job, tmp_path):
    table, scales = tables()["int8"]
    outcome = run(embedding_job(job, tmp_path, TOKENS + 1, table, scales, True))
    assert (outcome.footer["stage"], outcome.footer["error_code"]) == ("execute", "0x12")
    assert "token 10 is not among the table's 10 rows" in outcome.footer["reason"]


@pytest.mark.parametrize("eps", [0.1, 0.0])
def test_losses_and_gradients_follow_the_eager_operators(run, job, tmp_path, eps):
    generator = torch.Generator().manual_seed(2)
    x, weight = torch.randn(4, 3 * 5, 33, generator=generator), torch.rand(33, generator=generator) * 4.0
    first, labels = torch.tensor([0, 2, 4]), torch.tensor([[3, 32], [-1, 7], [-1, -1]])
    values = {"x": x, "first": first, "labels": labels, "weight": weight, "eps": torch.tensor(eps)}
    module = programs.Answers()
    job["program"] = str(programs.export(module, tuple(values.values()), tmp_path / "answers.pte"))
    job["inputs"] = [given(name, value, tmp_path) for name, value in values.items()]
    expected = module(*values.values())
    found = torch.tensor(run(job).losses[0])
    # The gradient divides the difference of two losses by 2 eps, which multiplies their rounding by five.
    assert torch.allclose(found, expected, rtol=1e-5, atol=2e-5)
    gradient = found[-2:]
    assert gradient.abs().min() > 0.1 if eps else not gradient.any()


def test_a_label_outside_of_the_vocabulary_fails_the_step(run, job, tmp_path):
    values = {"x": torch.zeros(4, 2, 5), "first": torch.tensor([0]), "labels": torch.tensor([[5]])}
    values |= {"weight": torch.ones(5), "eps": torch.tensor(0.1)}
    job["program"] = str(programs.export(programs.Answers(), tuple(values.values()), tmp_path / "answers.pte"))
    job["inputs"] = [given(name, value, tmp_path) for name, value in values.items()]
    outcome = run(job)
    assert (outcome.footer["stage"], outcome.footer["error_code"]) == ("execute", "0x12")
    assert "label 5 is not among 5 tokens" in outcome.footer["reason"]


class LayerWithScratch(torch.nn.Module):
    """A decoder layer of 64 features in its own blocks, with the given scratch memory."""

    def __init__(self, scratch, rank=2, form="nf4"):
        super().__init__()
        self.scratch, self.rank = scratch, rank
        shapes = [(64, 64), (32, 64), (32, 64), (64, 64), (128, 64), (128, 64), (64, 128)]
        generator = torch.Generator().manual_seed(4)
        stored = [PACK[form](torch.randn(*shape, generator=generator) / 8.0) for shape in shapes]
        self.weights = torch.nn.ModuleList(FrozenLinear(*each) for each in stored)
        operands = torch.bfloat16 if form == "bf16" else torch.float32
        self.register_buffer("norm", torch.ones(64))
        self.register_buffer("table", torch.linspace(-1.0, 1.0, 3 * 32).reshape(3, 1, 32))
        self.register_buffer("a", torch.randn(rank, 64, generator=generator).to(operands))

    def forward(self, x, bias, b):
        weights = [each.weight for each in self.weights]
        scales = [scale for each in self.weights for scale in each.scales]
        return torch.ops.prge.decoder_layer(
            x, bias, torch.zeros(self.scratch), [self.norm] * 2, [self.table] * 4, weights, scales, [self.a],
            [b.to(self.a.dtype)],
            [1], 2, 1, 1e-5,
        )  # fmt: skip


def layer_job(job, tmp_path, scratch, slices=2, form="nf4"):
    generator = torch.Generator().manual_seed(6)
    values = {
        "x": torch.randn(2, 6, 64, generator=generator),
        "bias": torch.zeros(4, 1, 1, 3, 3),
        "b": torch.randn(slices, 2, 32, generator=generator),
    }
    module = LayerWithScratch(scratch, form=form)
    job["program"] = str(programs.export(module, tuple(values.values()), tmp_path / "layer.pte"))
    job["inputs"] = [given(name, value, tmp_path) for name, value in values.items()]
    return module, values


def layer_scratch():
    config = LlamaConfig(8, 64, 128, 1, 2, 1, 32)
    return scratch_values(config, 12, 2)


@pytest.mark.parametrize("form", PACK)
def test_decoder_layer_follows_the_eager_operator(run, job, tmp_path, form):
    module, values = layer_job(job, tmp_path, layer_scratch(), form=form)
    expected = module(*values.values()).reshape(-1)
    # An operand of bfloat16 may be rounded the other way.
    atol = 2e-2 if form == "bf16" else 1e-4
    assert torch.allclose(torch.tensor(run(job).losses[0]), expected, atol=atol)


def test_too_little_scratch_memory_fails_the_step(run, job, tmp_path):
    layer_job(job, tmp_path, layer_scratch() - 1)
    outcome = run(job)
    assert (outcome.footer["stage"], outcome.footer["error_code"]) == ("execute", "0x12")
    assert f"scratch has {layer_scratch() - 1} values instead of {layer_scratch()}" in outcome.footer["reason"]


def test_an_adapter_of_another_number_of_slices_fails_the_step(run, job, tmp_path):
    layer_job(job, tmp_path, layer_scratch())
    other = torch.zeros(3, 2, 32)
    module = LayerWithScratch(layer_scratch())
    # The eager operator would refuse to be traced; only the result's shape is needed, which x determines.
    example = (torch.zeros(2, 6, 64), torch.zeros(4, 1, 1, 3, 3), other)
    job["program"] = str(programs.export(module, example, tmp_path / "other.pte"))
    job["inputs"][-1] = given("b", other, tmp_path)
    assert "an adapter of rank 2 does not fit" in run(job).footer["reason"]
