"""The eager reference: the same training written out as the formula says, one query and one sign at a time.

It shares the model's arithmetic with the program, and nothing else: no slices, no operators of our own, no pending
update. The weights are those of the setting, quantized and dequantized. A large model goes through it layer by layer:
each layer is made once for a group of forward passes, and what memory holds is bounded (KEPT_BYTES, GROUP_BYTES).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from workloads.adapter_layout import AdapterSlot, adapter_values, layout_of, lora_settings
from workloads.layered_model import LayeredModel, MadeOnDemand
from workloads.models.config import PROJECTIONS, LlamaConfig
from workloads.models.llama import DecoderLayer, Rotary, attention_bias
from workloads.prge.adapter import adapt, frozen_a
from workloads.prge.noise import normal
from workloads.quantize.int8 import DequantizedInt8Linear, Int8Linear
from workloads.quantize.nf4 import Nf4Linear, dequantize
from workloads.reference_cost import GROUP_BYTES, KEPT_BYTES, queries_at_a_time
from workloads.workload import Workload

OnProgress = Callable[[float], None]
"""Gets the share of a step that is done, 0 to 1; what it raises ends the training."""


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


@dataclass(frozen=True)
class _Pass:
    """A forward pass whose adapter is moved by scale * noise; noise float32 [n]."""

    noise: Tensor
    scale: float


class Reference:
    """The model of a workload in float32 arithmetic, on weights rounded as the setting stores them."""

    def __init__(self, workload: Workload, config: LlamaConfig, state: Mapping[str, Tensor]) -> None:
        self.workload, self.config = workload, config
        self.layout = layout_of(workload, config)
        self._model = LayeredModel(config, state, workload.quant)
        in_float32(self._model.ends)
        self._layers = self._layers_to_go_through()

    @torch.no_grad()
    def train(self, batches: Sequence[Batch], steps: int, *, seed: int, lr: float, eps: float) -> Trajectory:
        """Run `steps` steps from a zero adapter; step i takes batch i modulo their number."""
        losses = np.empty((steps, 2, self.workload.q), dtype=np.float32)
        adapter = torch.zeros(adapter_values(self.layout))
        for step, found in enumerate(islice(self._steps(batches, adapter, seed, lr, eps, _nobody_watches), steps)):
            losses[step] = found
        return Trajectory(losses, adapter.numpy())

    @torch.no_grad()
    def losses(
        self, batches: Sequence[Batch], *, seed: int, lr: float, eps: float, on_progress: OnProgress
    ) -> Iterator[NDArray[np.float32]]:
        """Losses [2, q] of one step after the other, for as many as are asked for."""
        yield from self._steps(batches, torch.zeros(adapter_values(self.layout)), seed, lr, eps, on_progress)

    @torch.no_grad()
    def loss(self, adapter: Tensor, batch: Batch) -> float:
        """Mean cross-entropy over the answer tokens of a batch."""
        return self._losses_of(adapter, [_Pass(torch.zeros_like(adapter), 0.0)], batch, _nobody_watches)[0]

    def _steps(
        self, batches: Sequence[Batch], adapter: Tensor, seed: int, lr: float, eps: float, on_progress: OnProgress
    ) -> Iterator[NDArray[np.float32]]:
        """One training step after the other; `adapter` is updated in place before a step's losses are given."""
        step, q, width = 0, self.workload.q, queries_at_a_time(self.workload, self.config)
        while True:
            batch, direction = batches[step % len(batches)], torch.zeros_like(adapter)
            losses = np.empty((2, q), dtype=np.float32)
            for first in range(0, q, width):
                queries = range(first, min(first + width, q))
                noises = [torch.from_numpy(normal(seed, step, query, 0, adapter.numel())) for query in queries]
                passes = [_Pass(z, sign * eps) for z in noises for sign in (1.0, -1.0)]
                done = first / q

                def within_step(share: float, done: float = done, part: float = len(queries) / q) -> None:
                    on_progress(done + share * part)

                found = self._losses_of(adapter, passes, batch, within_step)
                for query, z, plus, minus in zip(queries, noises, found[::2], found[1::2], strict=True):
                    losses[:, query] = plus, minus
                    direction += (plus - minus) / (2.0 * eps) * z
            adapter -= lr * direction / q
            yield losses
            step += 1

    def _losses_of(
        self, adapter: Tensor, passes: Sequence[_Pass], batch: Batch, on_progress: OnProgress
    ) -> list[float]:
        """The loss of each pass: layer after layer, all passes through each."""
        tokens, first, labels = (torch.from_numpy(part) for part in (batch.tokens, batch.first, batch.labels))
        rows, length = tokens.shape
        embedded = self._model.embedding(tokens).to(torch.float32).reshape(1, rows * length, -1)
        rotary = Rotary.tables(self.config, length, torch.float32)
        bias = attention_bias(first, length)
        hidden = [embedded] * len(passes)
        for index, layer in enumerate(self._layers):
            slots = [slot for slot in self.layout if slot.layer == index]
            for number, this in enumerate(passes):
                adapters = {slot.projection: _moved(adapter, this, slot) for slot in slots}
                hidden[number] = self._through(layer, hidden[number], rotary, bias, adapters)
                on_progress((index + (number + 1) / len(passes)) / self.config.layers)
        return [self._loss_of(x.reshape(rows, length, -1), labels) for x in hidden]

    def _through(
        self, layer: DecoderLayer, x: Tensor, rotary: Rotary, bias: Tensor, adapters: Mapping[str, Tensor]
    ) -> Tensor:
        """x [1, rows * T, hidden] through a layer, as many rows at a time as GROUP_BYTES allow."""
        config, length = self.config, rotary.key_cos.shape[0]
        widest = max(config.intermediate_size, config.hidden_size, config.heads * length)
        together = max(1, GROUP_BYTES // (4 * length * widest))
        parts = [
            layer(x[:, row * length : (row + together) * length], rotary, bias[row : row + together], adapters)
            for row in range(0, bias.shape[0], together)
        ]
        return torch.cat(parts, dim=1)

    def _loss_of(self, x: Tensor, labels: Tensor) -> float:
        answers = labels.shape[1]
        logits = self._model.ends.lm_head(self._model.ends.model.norm(x[:, -answers:]))
        flat = logits.reshape(labels.numel(), -1)
        return float(functional.cross_entropy(flat, labels.reshape(-1), ignore_index=-1))

    def _layers_to_go_through(self) -> Sequence[DecoderLayer]:
        """The layers, ready to compute with: kept where they fit, else made from what the setting stores each time."""
        count, model = self.config.layers, self._model
        first = model.layer(0)
        ready = self._ready(copy.deepcopy(first), 0)
        if count * _bytes_of(ready) <= KEPT_BYTES:
            return [ready, *(self._ready(model.layer(index), index) for index in range(1, count))]
        if count * _bytes_of(first) <= KEPT_BYTES:
            stored = [first, *(model.layer(index) for index in range(1, count))]
            return MadeOnDemand(count, lambda index: self._ready(copy.deepcopy(stored[index]), index))
        return MadeOnDemand(count, lambda index: self._ready(model.layer(index), index))

    def _ready(self, layer: DecoderLayer, index: int) -> DecoderLayer:
        """A layer as the setting stores it, changed in place to one that computes in float32 and has its adapters."""
        in_float32(layer)
        lora = lora_settings(self.workload)
        # A is a weight too: a setting that stores it in half precision rounds it.
        stored = torch.float16 if self.workload.quant == "fp16" else torch.float32
        adapt(
            {index: layer},
            [slot for slot in self.layout if slot.layer == index],
            lambda slot: frozen_a(self.config, lora, slot, self.workload.adapter_seed).to(stored),
            torch.float32,
        )
        return layer


def in_float32(module: nn.Module) -> None:
    """Dequantize what a float32 product can hold; int8 activations stay quantized, they are part of the setting."""
    module.float()
    for owner in list(module.modules()):
        for name in (*PROJECTIONS, "lm_head"):
            base = owner._modules.get(name)
            if isinstance(base, Nf4Linear):
                weight = dequantize(base.packed, base.absmax)
                linear = nn.Linear(weight.shape[1], weight.shape[0], bias=False, device="meta")
                linear.weight = nn.Parameter(weight, requires_grad=False)
                setattr(owner, name, linear)
            elif isinstance(base, Int8Linear):
                setattr(owner, name, DequantizedInt8Linear(base))


def _moved(adapter: Tensor, this: _Pass, slot: AdapterSlot) -> Tensor:
    """The slot's B [1, rank, features] as a pass has it."""
    here = slice(slot.offset, slot.offset + slot.size)
    return (adapter[here] + this.scale * this.noise[here]).reshape(1, slot.rank, slot.features)


def _bytes_of(module: nn.Module) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in module.state_dict().values())


def _nobody_watches(share: float) -> None:
    del share
