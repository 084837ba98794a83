"""The network against transformers' on the same weights: logits, left padding, greedy continuation."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
import torch

from workloads.models.config import LlamaConfig
from workloads.models.llama import Llama
from workloads.models.weights import ModelWeights
from workloads.models.zoo import random_weights
from workloads.tasks.batches import batches
from workloads.tasks.task import built_in_task

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM

InTransformers = Callable[[ModelWeights], "LlamaForCausalLM"]
FLOAT32_NOISE = 1e-4
"""Logits have a deviation of about 1; float32 sums in another order differ by some 1e-6 a layer."""


def logits_of_both(
    weights: ModelWeights, theirs: LlamaForCausalLM, tokens: torch.Tensor, first: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns the logits [b, T, vocabulary] of our network and of transformers', which gets the padding as a mask."""
    real = torch.arange(tokens.shape[1])[None, :] >= first[:, None]
    with torch.no_grad():
        ours = Llama.load(weights.config, weights.state)(tokens, first)
        reference = theirs(input_ids=tokens, attention_mask=real.long()).logits
    return ours[real], reference[real]


@pytest.mark.parametrize("tied", [True, False])
def test_logits_equal_on_random_weights(config: LlamaConfig, tied: bool, in_transformers: InTransformers) -> None:
    weights = random_weights("x", dataclasses.replace(config, tie_embeddings=tied), seed=1)
    tokens = torch.randint(3, 512, (2, 48), generator=torch.Generator().manual_seed(0))
    ours, theirs = logits_of_both(weights, in_transformers(weights), tokens, torch.zeros(2, dtype=torch.int64))
    assert theirs.std() > 0.5
    assert (ours - theirs).abs().max() < FLOAT32_NOISE


def test_logits_equal_with_left_padding(original: ModelWeights, reference: LlamaForCausalLM) -> None:
    data = batches(built_in_task(), original.tokenizer, b=4, T=64, count=1, seed=0)
    tokens, first = torch.from_numpy(data.tokens[0]), torch.from_numpy(data.first[0])
    assert len(set(first.tolist())) > 1
    ours, theirs = logits_of_both(original, reference, tokens, first)
    assert (ours - theirs).abs().max() < FLOAT32_NOISE


def test_padding_does_not_change_the_logits_of_the_last_position(original: ModelWeights) -> None:
    model = Llama.load(original.config, original.state)
    ids = original.tokenizer.encode("A quiet wonder. It was")
    with torch.no_grad():
        plain = model(torch.tensor([ids]), torch.tensor([0]))[0, -1]
        padded = model(torch.tensor([[0] * 9 + ids]), torch.tensor([9]))[0, -1]
    assert (plain - padded).abs().max() < FLOAT32_NOISE


@pytest.mark.full
def test_real_weights_give_the_logits_of_transformers(smollm2: ModelWeights, in_transformers: InTransformers) -> None:
    data = batches(built_in_task(), smollm2.tokenizer, b=4, T=48, count=1, seed=0)
    tokens, first = torch.from_numpy(data.tokens[0]), torch.from_numpy(data.first[0])
    ours, theirs = logits_of_both(smollm2, in_transformers(smollm2), tokens, first)
    # Logits here reach 20, and 30 layers add up what one layer rounds.
    assert (ours - theirs).abs().max() < 2e-3
    assert torch.equal(ours.argmax(-1), theirs.argmax(-1))


@pytest.mark.full
def test_greedy_continuation_is_paris(smollm2: ModelWeights, in_transformers: InTransformers) -> None:
    prompt = smollm2.tokenizer.encode("The capital of France is")
    theirs: Any = in_transformers(smollm2)  # its type hints require another class for this method
    ones = torch.ones(1, len(prompt))
    generated = theirs.generate(torch.tensor([prompt]), attention_mask=ones, max_new_tokens=4, do_sample=False)[
        0
    ].tolist()
    ids = list(prompt)
    model = Llama.load(smollm2.config, smollm2.state)
    with torch.no_grad():
        while len(ids) < len(generated):
            ids.append(int(model(torch.tensor([ids]), torch.tensor([0]))[0, -1].argmax()))
    assert ids == generated
    assert smollm2.tokenizer.decode(ids[len(prompt) :]).startswith(" Paris.")
