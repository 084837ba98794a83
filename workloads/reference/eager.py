"""The eager reference: a literal implementation of the training, one query and one sign at a time.

It shares nothing with the program but the model's arithmetic: no slices, no operators of our own, no pending update.
The weights are those of the setting, quantized and dequantized; products of float16 are summed as on the device. A
large model is computed layer by layer: each layer is made once for a group of forward passes, within bounded memory
(KEPT_BYTES, GROUP_BYTES).
"""

from __future__ import annotations

import contextlib
import copy
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from workloads.estimates.estimate import GROUP_BYTES, KEPT_BYTES, NOISE_ROWS, queries_at_a_time
from workloads.lowering.arithmetic_probe import Accumulation
from workloads.method import Sides
from workloads.methods.adapter import adapt, frozen_a
from workloads.methods.noise import DISTRIBUTIONS
from workloads.models.config import PROJECTIONS, LlamaConfig
from workloads.models.llama import DecoderLayer, Rotary, attention_bias, operand, widened
from workloads.quantize.apply import LayeredModel, MadeOnDemand, product_dtype
from workloads.quantize.frozen import FrozenLinear, dequantize
from workloads.quantize.int8 import DequantizedDynamicLinear, DynamicLinear
from workloads.reference.products import HalfProducts, float32_product
from workloads.workload import AdapterSlot, Workload, adapter_values, layers_below_adapters, layout_of

OnProgress = Callable[[float], None]
"""Gets the finished share of a step, 0 to 1; an exception ends the training."""


@dataclass(frozen=True)
class Batch:
    """tokens int64 [b, T], first int64 [b], labels int64 [b, K]."""

    tokens: NDArray[np.int64]
    first: NDArray[np.int64]
    labels: NDArray[np.int64]


@dataclass(frozen=True)
class Trajectory:
    """Results of a training run: losses float32 [steps, 2, q], or as the method has them, and the adapter float32 [n]
    after all updates.
    """

    losses: NDArray[np.float32]
    adapter: NDArray[np.float32]


@dataclass(frozen=True)
class _Jitter:
    generator: torch.Generator
    size: float


@dataclass(frozen=True)
class _Pass:
    """A forward pass with the adapter moved by scale * noise; noise float32 [n].

    With `jitter`, the input of each layer has a relative error: normal numbers of `generator` times `size`.
    """

    noise: Tensor
    scale: float
    jitter: _Jitter | None = None


class Reference:
    """A workload's model in the arithmetic of its setting, with weights rounded as the setting stores them.

    `accumulation` matters only to fp16. Raises UserError if this host can't model it. With `exact`, only the weights
    are the setting's: all arithmetic is float32 and nothing else is rounded, so that the loss has a derivative. So it
    is where the program's kernels take float16 weights into float32 products.
    """

    def __init__(
        self,
        workload: Workload,
        config: LlamaConfig,
        state: Mapping[str, Tensor],
        accumulation: Accumulation = Accumulation.FP32,
        exact: bool = False,
    ) -> None:
        config.require_length(workload.T, workload.model)
        exact = exact or workload.products != workload.setting.products
        self.workload, self.config, self._exact = workload, config, exact
        self._method = workload.training_method
        self.layout = layout_of(workload, config)
        self._products = torch.float32 if exact else product_dtype(workload.setting)
        self._arithmetic = HalfProducts(accumulation) if self._products == torch.float16 else contextlib.nullcontext()
        self._state, self._model = state, LayeredModel(config, state, workload.quant)
        if not self._head_is_delegated():
            in_float32(self._model.ends, exact)
        self._layers = self._layers_to_go_through()

    @torch.no_grad()
    def train(self, batches: Sequence[Batch], steps: int, *, seed: int, lr: float, eps: float) -> Trajectory:
        """Runs `steps` steps from a zero adapter; step i takes batch i modulo their number."""
        losses = np.empty((steps, *self._method.loss_shape(self.workload.q)), dtype=np.float32)
        adapter = torch.zeros(adapter_values(self.layout))
        for step, found in enumerate(islice(self._steps(batches, adapter, seed, lr, eps, _nobody_watches), steps)):
            losses[step] = found
        return Trajectory(losses, adapter.numpy())

    @torch.no_grad()
    def losses(
        self, batches: Sequence[Batch], adapter: Tensor, *, seed: int, lr: float, eps: float, on_progress: OnProgress
    ) -> Iterator[NDArray[np.float32]]:
        """Yields the losses of one step after the other, [2, q] or as the method has them; trains `adapter`."""
        yield from self._steps(batches, adapter, seed, lr, eps, on_progress)

    @torch.no_grad()
    def loss(self, adapter: Tensor, batch: Batch) -> float:
        """Returns the mean cross-entropy over the answer tokens of a batch."""
        return self._losses_of(adapter, [_Pass(torch.zeros_like(adapter), 0.0)], batch, _nobody_watches)[0]

    @torch.no_grad()
    def untrained_losses(
        self, batch: Batch, step: int, *, seed: int, eps: float, on_progress: OnProgress
    ) -> NDArray[np.float32]:
        """Returns the losses that step `step` would have without any earlier update."""
        return self._step(torch.zeros(adapter_values(self.layout)), batch, step, seed, eps, on_progress)[0]

    def gradient(self, batch: Batch, adapter: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
        """Returns the derivative of the loss by each value of `adapter`, or of a zero one -> float32 [n].

        By backpropagation, for an exact reference.
        """
        values = torch.zeros(adapter_values(self.layout)) if adapter is None else torch.from_numpy(adapter)
        found = self.loss_and_gradient(values, batch, _nobody_watches)[1]
        gradient: NDArray[np.float32] = found.numpy()
        return gradient

    def loss_and_gradient(self, values: Tensor, batch: Batch, on_progress: OnProgress) -> tuple[float, Tensor]:
        """Returns the loss of an adapter, and its derivative float32 [n].

        Each layer is computed again on the way back, so that memory holds the layers' inputs and the activations of
        one of them.
        """
        adapter = values.detach().requires_grad_()
        this = _Pass(torch.zeros_like(values), 0.0)
        x, rotaries, bias = self._start(batch)
        labels = torch.from_numpy(batch.labels)
        with torch.enable_grad():
            for index in range(self.config.layers):

                def layer(x: Tensor, index: int = index) -> Tensor:
                    on_progress(index / self.config.layers)  # falls again on the way back
                    adapters = self._adapters(adapter, this, index)
                    return self._through(self._layers[index], x, rotaries[index], bias, adapters)

                x = checkpoint(layer, x, use_reentrant=False)
            loss = self._row_loss_of(x.reshape(*batch.tokens.shape, -1), labels).sum() / (labels >= 0).sum()
            (found,) = torch.autograd.grad(loss, adapter)
        return float(loss.detach()), found

    @torch.no_grad()
    def loss_noise(self, batch: Batch, *, seed: int, eps: float, on_progress: OnProgress) -> float:
        """Returns the standard deviation between the losses of two correct implementations of this arithmetic.

        They differ by the setting's jitter at the input of a layer. Two orders of a float32 sum of some thousand
        products differ by 3e-7 to 1e-6 (measured). Where activations are rounded to a grid, a difference matters when a
        value is rounded the other way: rare in few layers, common in many. From the sizes in the table of settings on,
        the noise hardly grows (int8-dynamic, two layers, 1e-7 to 1e-4: .0014, .0024, .0069, .0091).

        The passes of the first query are repeated with jitter until there are NOISE_ROWS rows. The errors of rows are
        independent, so that the error of a loss is sqrt(b) * rms / labels.
        """
        adapter, b = torch.zeros(adapter_values(self.layout)), self.workload.b
        found: list[Tensor] = []
        originals = self._passes(adapter, seed, 0, range(1), eps) or [_Pass(torch.zeros_like(adapter), 0.0)]
        for number, this in enumerate(originals):

            def within(share: float, done: int = number) -> None:
                on_progress((done + share) / len(originals))

            size, count = self.workload.setting.jitter, -(-NOISE_ROWS // (len(originals) * b))
            jitters = [_Jitter(torch.Generator().manual_seed(index), size) for index in range(count)]
            passes = [this, *(replace(this, jitter=jitter) for jitter in jitters)]
            exact, *others = self._row_losses(adapter, passes, batch, within)
            found += [other - exact for other in others]
        rms = float(torch.cat(found).double().square().mean().sqrt())
        return rms * math.sqrt(b) / int((batch.labels >= 0).sum())

    def _passes(self, adapter: Tensor, seed: int, step: int, queries: Iterable[int], eps: float) -> list[_Pass]:
        """Returns the passes of each query: + and -, or + alone."""
        noise = DISTRIBUTIONS[self._method.noise or "normal"]
        noises = (torch.from_numpy(noise(seed, step, query, 0, adapter.numel())) for query in queries)
        return [_Pass(z, sign * eps) for z in noises for sign in self._method.sides.signs]

    def _steps(
        self, batches: Sequence[Batch], adapter: Tensor, seed: int, lr: float, eps: float, on_progress: OnProgress
    ) -> Iterator[NDArray[np.float32]]:
        """Makes one training step after the other; updates `adapter` in place before yielding a step's losses."""
        step = 0
        while True:
            losses, direction = self._step(adapter, batches[step % len(batches)], step, seed, eps, on_progress)
            adapter -= lr * direction / self.workload.q
            yield losses
            step += 1

    def _step(
        self, adapter: Tensor, batch: Batch, step: int, seed: int, eps: float, on_progress: OnProgress
    ) -> tuple[NDArray[np.float32], Tensor]:
        """Returns the losses and the sum of the queries' noises [n], each times its projected gradient."""
        q, width, sides = self.workload.q, queries_at_a_time(self.workload, self.config), self._method.sides
        direction = torch.zeros_like(adapter)
        base, signs, found = self._unperturbed_losses(adapter, batch), len(sides.signs), list[float]()
        for first in range(0, q, width):
            queries = range(first, min(first + width, q))
            passes = self._passes(adapter, seed, step, queries, eps)
            done = first / q

            def within_step(share: float, done: float = done, part: float = len(queries) / q) -> None:
                on_progress(done + share * part)

            found += self._losses_of(adapter, passes, batch, within_step)
            for query, this in zip(queries, passes[::signs], strict=True):
                (slope,) = sides.slopes([*base, *found[signs * query : signs * (query + 1)]], eps)
                direction += slope * this.noise
        losses = [*base, *(loss for sign in range(signs) for loss in found[sign::signs])]
        direction *= self._method.step_scale(losses)
        return np.array(losses, dtype=np.float32).reshape(sides.loss_shape(q)), direction

    def _unperturbed_losses(self, adapter: Tensor, batch: Batch) -> list[float]:
        """Returns the loss of the adapter itself, if the method has it."""
        return [] if self._method.sides is Sides.TWO else [self.loss(adapter, batch)]

    def _losses_of(
        self, adapter: Tensor, passes: Sequence[_Pass], batch: Batch, on_progress: OnProgress
    ) -> list[float]:
        """Returns the loss of each pass: the mean over all answer tokens of the batch."""
        labels = int((batch.labels >= 0).sum())
        return [float(rows.sum()) / labels for rows in self._row_losses(adapter, passes, batch, on_progress)]

    def _row_losses(
        self, adapter: Tensor, passes: Sequence[_Pass], batch: Batch, on_progress: OnProgress
    ) -> list[Tensor]:
        """Returns the losses [b] of each pass, summed over a row's answer tokens."""
        with self._arithmetic:
            return self._row_losses_within(adapter, passes, batch, on_progress)

    def _row_losses_within(
        self, adapter: Tensor, passes: Sequence[_Pass], batch: Batch, on_progress: OnProgress
    ) -> list[Tensor]:
        """Computes layer after layer, all passes through each."""
        embedded, rotaries, bias = self._start(batch)
        hidden, below = [embedded] * len(passes), layers_below_adapters(self.layout)
        for index, layer in enumerate(self._layers):
            for number, this in enumerate(passes):
                if index < below and number and this.jitter is None:  # nothing that differs has come yet
                    hidden[number] = hidden[0]
                    continue
                adapters = self._adapters(adapter, this, index)
                x = _jittered(hidden[number], this)
                hidden[number] = self._through(layer, x, rotaries[index], bias, adapters)
                on_progress((index + (number + 1) / len(passes)) / self.config.layers)
        labels = torch.from_numpy(batch.labels)
        return [
            self._row_loss_of(_jittered(x, this).reshape(*batch.tokens.shape, -1), labels)
            for x, this in zip(hidden, passes, strict=True)
        ]

    def _start(self, batch: Batch) -> tuple[Tensor, Sequence[Rotary], Tensor]:
        """Returns the input of the first layer [1, b * T, hidden], each layer's rotary tables, and attention bias."""
        tokens, first = torch.from_numpy(batch.tokens), torch.from_numpy(batch.first)
        embedded = self._model.embedding(tokens).to(torch.float32).reshape(1, tokens.numel(), -1)
        return embedded, Rotary.of_layers(self.config, tokens.shape[1]), attention_bias(first, tokens.shape[1])

    def _adapters(self, adapter: Tensor, this: _Pass, index: int) -> dict[str, Tensor]:
        """Returns each B of a layer as perturbed in a pass, by projection."""
        slots = [slot for slot in self.layout if slot.layer == index]
        return {slot.projection: operand(_moved(adapter, this, slot), self._products) for slot in slots}

    def _through(
        self, layer: DecoderLayer, x: Tensor, rotary: Rotary, bias: Tensor, adapters: Mapping[str, Tensor]
    ) -> Tensor:
        """Computes a layer for x [1, rows * T, hidden], as many rows at a time as GROUP_BYTES allow."""
        config, length = self.config, rotary.key_cos.shape[0]
        widest = max(config.intermediate_size, config.hidden_size, config.heads * length)
        together = max(1, GROUP_BYTES // (4 * length * widest))
        parts = [
            layer(x[:, row * length : (row + together) * length], rotary, bias[row : row + together], adapters)
            for row in range(0, bias.shape[0], together)
        ]
        return torch.cat(parts, dim=1)

    def _row_loss_of(self, x: Tensor, labels: Tensor) -> Tensor:
        normal = self._model.ends.model.norm(x[:, -labels.shape[1] :])
        operands = self._products if self._head_is_delegated() else torch.float32
        logits = widened(self._model.ends.lm_head(operand(normal, operands))).reshape(labels.numel(), -1)
        losses = functional.cross_entropy(logits, labels.reshape(-1), ignore_index=-1, reduction="none")
        return losses.reshape(labels.shape).sum(dim=1)

    def _head_is_delegated(self) -> bool:
        """Returns whether the head's products are float16, as the layers' are; the runner sums them in float32."""
        return self._products == torch.float16 and self.workload.noise == "stock"

    def _layers_to_go_through(self) -> Sequence[DecoderLayer]:
        """Returns the layers, ready to compute with: kept if they fit, else made from the stored form each time."""
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
        """Turns a layer as the setting stores it, in place, into one that computes eagerly with its adapters."""
        if self._products != torch.float16:
            in_float32(layer, self._exact)
        layer.self_attn.products = layer.mlp.products = self._products
        adapt(
            {index: layer},
            [slot for slot in self.layout if slot.layer == index],
            lambda slot: frozen_a(self.workload, self.config, slot, self._state),
            self._products,
        )
        return layer


def in_float32(module: nn.Module, exact: bool = False) -> None:
    """Dequantizes weights for float32 products; activations of 8 bits stay quantized, as they are the setting's, unless
    `exact`.
    """
    module.float()
    for owner in list(module.modules()):
        for name in (*PROJECTIONS, "lm_head"):
            base = owner._modules.get(name)
            if isinstance(base, FrozenLinear):
                setattr(owner, name, _plain_linear(dequantize(base.weight, base.scales)))
            elif isinstance(base, DynamicLinear):
                product = _plain_linear(base.dequantized())
                setattr(owner, name, product if exact else DequantizedDynamicLinear(product))
            elif isinstance(base, nn.Linear):
                setattr(owner, name, _plain_linear(base.weight.detach()))


class _PlainLinear(nn.Linear):
    """A product with float32 weights."""

    def forward(self, x: Tensor) -> Tensor:
        return float32_product(x, self.weight)


def _plain_linear(weight: Tensor) -> _PlainLinear:
    linear = _PlainLinear(weight.shape[1], weight.shape[0], bias=False, device="meta")
    linear.weight = nn.Parameter(weight, requires_grad=False)
    return linear


def _moved(adapter: Tensor, this: _Pass, slot: AdapterSlot) -> Tensor:
    """Returns the slot's B [1, rank, features] as perturbed in a pass."""
    here = slice(slot.offset, slot.offset + slot.size)
    return (adapter[here] + this.scale * this.noise[here]).reshape(1, slot.rank, slot.features)


def _jittered(x: Tensor, this: _Pass) -> Tensor:
    if this.jitter is None:
        return x
    return x * (1.0 + this.jitter.size * torch.randn(x.shape, generator=this.jitter.generator))


def _bytes_of(module: nn.Module) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in module.state_dict().values())


def _nobody_watches(share: float) -> None:
    del share
