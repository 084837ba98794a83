"""Peers do the work of a step: their logits and losses are those of the suite's reference."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from foundation.errors import UserError
from suite.peers.comparison import logits_difference
from suite.peers.llama_cpp_work import write_model
from suite.peers.peer import PEERS, PeerJob, Performer
from suite.peers.rounds import reference_logits
from suite.peers.torch_work import make_forward, make_products, make_step, make_transformers
from tests.support.suite.peer_jobs import WORKLOAD, inputs, job_of
from tests.support.workloads.family_models import family_model, save_family
from workloads.methods.noise import normal
from workloads.models.gguf import canonical_name, rotary_halves
from workloads.models.zoo import load_model
from workloads.reference.eager import Batch, Reference

MADE: dict[str, Callable[[PeerJob], Performer]] = {
    "torch-fp32": make_step,
    "torch-bf16": make_step,
    "torch-forward-fp32": make_forward,
    "torch-forward-bf16": make_forward,
    "transformers-fp32": make_transformers,
    "transformers-bf16": make_transformers,
}
TINY = load_model("tiny")


def check_logits(name: str, folder: Path) -> None:
    job = job_of(name, folder)
    found, exact = MADE[name](job).logits(), reference_logits(TINY, inputs()[0], WORKLOAD.answers)
    assert found is not None
    assert found.shape == exact.shape == (WORKLOAD.b, WORKLOAD.answers, TINY.config.vocab_size)
    assert logits_difference(found, exact) <= (job.peer.logits_error or 0)


@pytest.mark.parametrize("name", MADE)
def test_logits_are_those_of_the_reference_within_the_type(name: str, tmp_path: Path) -> None:
    check_logits(name, tmp_path)


@pytest.mark.full
@pytest.mark.parametrize("name", ["torch-compile-fp32", "torch-compile-bf16"])
def test_logits_of_a_compiled_step_are_those_of_the_reference(name: str, tmp_path: Path) -> None:
    MADE[name] = make_step
    check_logits(name, tmp_path)


@pytest.mark.parametrize("family", ["llama3", "qwen2", "smollm3", "gemma3_text"])
def test_a_family_with_layers_of_another_form_has_the_logits_of_the_reference(family: str, tmp_path: Path) -> None:
    folder = save_family(family_model(family), tmp_path / "model")
    weights = load_model(family, folder)
    job = job_of("torch-forward-fp32", tmp_path, workload=replace(WORKLOAD, model=family), weights=str(folder))
    exact = reference_logits(weights, inputs()[0], WORKLOAD.answers)
    assert logits_difference(make_forward(job).logits(), exact) < 1e-4
    with pytest.raises(UserError, match=f"Llama's own form, and the layers of {family} differ"):
        make_transformers(replace(job, peer=PEERS["transformers-fp32"]))


def reference() -> tuple[Reference, Batch]:
    tokens, labels = inputs()
    return Reference(WORKLOAD, TINY.config, TINY.state), Batch(tokens, np.zeros(len(tokens), np.int64), labels)


def test_a_step_has_the_losses_and_the_update_of_the_reference(tmp_path: Path, monkeypatch) -> None:
    job = job_of("torch-fp32", tmp_path)
    step, (model, batch) = make_step(job), reference()
    noise = np.stack([normal(job.training.seed, 0, query, 0, len(step.adapter)) for query in range(WORKLOAD.q)])
    monkeypatch.setattr(torch, "randn", lambda *_, **__: torch.from_numpy(noise))
    losses = step.perform()
    expected = model.train([batch], 1, seed=job.training.seed, lr=job.training.lr, eps=job.training.eps)
    assert losses == pytest.approx(expected.losses.reshape(-1).tolist(), rel=1e-5)
    assert np.ptp(losses) > 1e-3
    np.testing.assert_allclose(step.adapter.numpy(), expected.adapter, atol=1e-3 * np.abs(expected.adapter).max())


@pytest.mark.parametrize("name", ["products-fp32", "products-bf16"])
def test_products_are_all_of_the_layers_for_all_rows(name: str, tmp_path: Path) -> None:
    products = make_products(job_of(name, tmp_path))
    with FlopCounterMode(display=False) as counter:
        products.perform()
    tokens = 2 * WORKLOAD.q * WORKLOAD.b * WORKLOAD.T
    assert counter.get_total_flops() == 2 * tokens * TINY.config.parameter_counts().decoder_linears
    assert products.logits() is None


def test_products_in_8_bits_are_exact_sums_of_8_bit_values(tmp_path: Path, monkeypatch) -> None:
    products = make_products(job_of("products-int8", tmp_path))
    product, seen = products._product, []
    monkeypatch.setattr(products, "_product", lambda x, weight: seen.append((x, weight, product(x, weight))))
    products.perform()
    assert len(seen) == 7 * TINY.config.layers
    for x, weight, result in seen:
        assert (x.dtype, weight.dtype, result.dtype) == (torch.int8, torch.int8, torch.int32)
        assert torch.equal(result, x.int() @ weight.int().t())


def dequantized(path: Path) -> dict[str, torch.Tensor]:
    """Returns the state of a file that `write_model` has made."""
    found = {}
    for one in gguf.GGUFReader(path).tensors:
        name, values = canonical_name(one.name), torch.from_numpy(gguf.dequantize(one.data, one.tensor_type).copy())
        heads = {"q_proj": TINY.config.heads, "k_proj": TINY.config.kv_heads}.get(name.split(".")[-2])
        found[name] = values if heads is None else rotary_halves(values, heads)
    return found


def test_a_file_for_llama_cpp_holds_the_weights_in_its_own_order(tmp_path: Path) -> None:
    write_model(TINY.config, TINY.state, "F16", tmp_path / "model.gguf")
    found = dequantized(tmp_path / "model.gguf")
    assert set(found) == set(TINY.state)
    for name, values in found.items():
        torch.testing.assert_close(values, TINY.state[name], atol=1e-3, rtol=1e-3)


def test_types_in_blocks_refuse_widths_that_are_no_multiple() -> None:
    with pytest.raises(UserError, match="32 values, but the widths 48 and 128"):
        write_model(replace(TINY.config, hidden_size=48), TINY.state, "Q8_0", Path("never"))


@pytest.mark.full
@pytest.mark.parametrize("name", ["llama-f16", "llama-q8_0", "llama-q4_0"])
def test_logits_of_llama_cpp_are_those_of_the_reference_with_the_weights_of_its_file(name: str, tmp_path: Path) -> None:
    pytest.importorskip("llama_cpp", reason="the extra `peers` is not installed")
    from suite.peers.llama_cpp_work import make_forward as make_llama

    job = job_of(name, tmp_path)
    write_model(TINY.config, TINY.state, job.peer.dtype, Path(str(job.model_file)))
    found, tokens = make_llama(job).logits(), inputs()[0]
    own = replace(TINY, state=dequantized(Path(str(job.model_file))))
    # Activations are rounded to 16 or 8 bits.
    assert logits_difference(found, reference_logits(own, tokens, WORKLOAD.answers)) < 0.02
    exact = reference_logits(TINY, tokens, WORKLOAD.answers)
    assert logits_difference(found, exact) <= (job.peer.logits_error or 0)
