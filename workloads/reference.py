"""The eager reference: the same training written out as the formula says, one query and one sign at a time.

It shares the model's arithmetic with the program, and nothing else: no slices, no operators of our own, no pending
update. The weights are those of the setting, quantized and dequantized.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from workloads.adapter_layout import adapter_values, layout_of, lora_settings
from workloads.models.config import PROJECTIONS, LlamaConfig
from workloads.models.llama import Llama, Rotary, attention_bias
from workloads.prge.adapter import AdaptedLinear, adapt, frozen_a
from workloads.prge.noise import normal
from workloads.quantize.apply import quantize_model
from workloads.quantize.nf4 import Nf4Linear, dequantize
from workloads.workload import Workload


@dataclass(frozen=True)
class Batch:
    """tokens int64 [b, T], first int64 [b], labels int64 [b, K]."""

    tokens: NDArray[np.int64]
    first: NDArray[np.int64]
    labels: NDArray[np.int64]


@dataclass(frozen=True)
class Trajectory:
    """What a training run went through: losses float32 [steps, 2, q] and the adapter float32 [n] after all updates."""

    losses: NDArray[np.float32]
    adapter: NDArray[np.float32]


class Reference:
    """The model of a workload in float32 arithmetic, on weights rounded as the setting stores them."""

    def __init__(self, workload: Workload, config: LlamaConfig, state: Mapping[str, Tensor]) -> None:
        self.workload, self.config = workload, config
        self.model = Llama.load(config, state)
        self.embedding = quantize_model(self.model, workload.quant)
        _compute_in_float32(self.model)
        lora = lora_settings(workload)
        self.layout = layout_of(workload, config)
        # A is a weight too: a setting that stores it in half precision rounds it.
        stored = torch.float16 if workload.quant == "fp16" else torch.float32
        adapt(
            self.model.layers,
            self.layout,
            lambda slot: frozen_a(config, lora, slot, workload.adapter_seed).to(stored),
            torch.float32,
        )

    @torch.no_grad()
    def train(self, batches: Sequence[Batch], steps: int, *, seed: int, lr: float, eps: float) -> Trajectory:
        """Run `steps` steps from a zero adapter; step i takes batch i modulo their number."""
        adapter = torch.zeros(adapter_values(self.layout))
        losses = np.empty((steps, 2, self.workload.q), dtype=np.float32)
        for step in range(steps):
            batch = batches[step % len(batches)]
            direction = torch.zeros_like(adapter)
            for query in range(self.workload.q):
                z = torch.from_numpy(normal(seed, step, query, 0, adapter.numel()))
                plus, minus = (self.loss(adapter + sign * eps * z, batch) for sign in (1.0, -1.0))
                losses[step, :, query] = plus, minus
                direction += (plus - minus) / (2.0 * eps) * z
            adapter -= lr * direction / self.workload.q
        return Trajectory(losses, adapter.numpy())

    def loss(self, adapter: Tensor, batch: Batch) -> float:
        """Mean cross-entropy over the answer tokens of a batch."""
        tokens, first, labels = (torch.from_numpy(part) for part in (batch.tokens, batch.first, batch.labels))
        rows, length = tokens.shape
        x = self.embedding(tokens).to(torch.float32).reshape(1, rows * length, -1)
        rotary = Rotary.tables(self.config, length, torch.float32)
        bias = attention_bias(first, length)
        for index, layer in enumerate(self.model.layers):
            x = layer(x, rotary, bias, self._of_layer(adapter, index))
        answers = labels.shape[1]
        last = x.reshape(rows, length, -1)[:, -answers:]
        logits = self.model.lm_head(self.model.model.norm(last))
        return float(functional.cross_entropy(logits.reshape(rows * answers, -1), labels.reshape(-1), ignore_index=-1))

    def _of_layer(self, adapter: Tensor, layer: int) -> dict[str, Tensor]:
        return {
            slot.projection: adapter[slot.offset : slot.offset + slot.size].reshape(1, slot.rank, slot.features)
            for slot in self.layout
            if slot.layer == layer
        }


def _compute_in_float32(model: Llama) -> None:
    """Dequantize what a float32 product can hold; int8 activations stay quantized, they are part of the setting."""
    model.float()
    owners = [owner for layer in model.layers for owner in (layer.self_attn, layer.mlp)]
    for owner, name in [(owner, name) for owner in owners for name in PROJECTIONS] + [(model, "lm_head")]:
        base = getattr(owner, name, None)
        if isinstance(base, AdaptedLinear):
            base = base.base
        if isinstance(base, Nf4Linear):
            weight = dequantize(base.packed, base.absmax)
            linear = nn.Linear(weight.shape[1], weight.shape[0], bias=False)
            linear.weight = nn.Parameter(weight, requires_grad=False)
            setattr(owner, name, linear)
