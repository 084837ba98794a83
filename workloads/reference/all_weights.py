"""The eager references of training all weights, or their scales, from MeZO's formula: perturb all, two forward passes,
update.

They share nothing with the programs but the model's arithmetic and the definition of the noise: all perturbed weights
are made at once and stand in the model during a pass, and updates are rounded between two neighbours that numpy names.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from workloads.all_weights.own_weights import HEAD, TABLE
from workloads.lowering.arithmetic_probe import Accumulation
from workloads.methods.noise import ROUNDING_STREAM, normal, uniform
from workloads.models.config import LlamaConfig
from workloads.quantize.apply import LayeredModel, product_dtype
from workloads.quantize.frozen import Frozen, dequantize
from workloads.reference.eager import Batch, OnProgress, Reference
from workloads.workload import Workload

Stored = dict[str, Tensor]
"""Weights by their canonical names, flat, as the setting stores them."""

_VALUES_AT_ONCE = 1 << 20

_NO_ADAPTER = torch.zeros(0)


class AllWeightsReference(Reference):
    """A reference whose steps train the weights; its products are float32 in every setting, as the program's are."""

    def __init__(
        self,
        workload: Workload,
        config: LlamaConfig,
        state: Mapping[str, Tensor],
        accumulation: Accumulation = Accumulation.FP32,
    ) -> None:
        super().__init__(workload, config, state, accumulation)
        self._state = state
        self._layers = list(self._layers)
        self._slots = {name: slot for slot, name in enumerate(config.tensor_shapes())}
        self._places = self._own_places()

    def _own_places(self) -> Stored:
        """Gives the model tensors of its own, which nobody else reads, and returns them by name."""
        places = dict(self._model.ends.named_parameters())
        for index, layer in enumerate(self._layers):
            for name, value in layer.named_parameters():
                places[f"model.layers.{index}.{name.replace('_proj_bias', '_proj.bias')}"] = value
        for value in places.values():
            value.data = value.data.clone()
        return {name: places[name] for name in self.config.tensor_shapes()}

    def _stored(self) -> Stored:
        """Returns the model's own weights."""
        matrices = product_dtype(self.workload.setting)
        return {
            name: self._state[name].to(torch.float32 if self._state[name].dim() == 1 else matrices, copy=True).flatten()
            for name in self._places
        }

    def _steps(
        self, batches: Sequence[Batch], adapter: Tensor, seed: int, lr: float, eps: float, on_progress: OnProgress
    ) -> Iterator[NDArray[np.float32]]:
        """Makes one training step after the other."""
        del adapter
        weights, step = self._stored(), 0
        while True:
            noise = self._noise(seed, step)
            losses = self._losses_around(weights, noise, batches[step % len(batches)], eps, on_progress)
            slope = self._taken(losses[0] - losses[1], eps) if eps > 0 else 0.0
            if lr * slope != 0.0:
                self._move(weights, noise, lr * slope, seed, step)
            self.trained = weights
            yield np.array(losses, dtype=np.float32).reshape(2, 1)
            step += 1

    def _taken(self, difference: float, eps: float) -> float:
        """Returns the slope that an update takes, from L+ - L-."""
        return difference / (2.0 * eps)

    def _step(
        self, adapter: Tensor, batch: Batch, step: int, seed: int, eps: float, on_progress: OnProgress
    ) -> tuple[NDArray[np.float32], Tensor]:
        """Returns the losses of a step of the untrained model, and no direction."""
        losses = self._losses_around(self._stored(), self._noise(seed, step), batch, eps, on_progress)
        return np.array(losses, dtype=np.float32).reshape(2, 1), torch.zeros_like(adapter)

    def _noise(self, seed: int, step: int) -> Stored:
        """Returns the noise of all that is trained, float32."""
        return {
            name: torch.from_numpy(normal(seed, step, self._slots[name], 0, value.numel()))
            for name, value in self._stored().items()
        }

    def _losses_around(
        self, weights: Stored, noise: Stored, batch: Batch, eps: float, on_progress: OnProgress
    ) -> list[float]:
        """Returns L(W + eps z) and L(W - eps z), and leaves the model at W."""
        losses = []
        for done, scale in ((0.0, eps), (0.5, -eps)):
            self._set(weights, noise, scale)
            losses.append(self.loss(_NO_ADAPTER, batch))
            on_progress(done + 0.5)
        self._set(weights, noise, 0.0)
        return losses

    def _set(self, weights: Stored, noise: Stored, scale: float) -> None:
        for name, place in self._places.items():
            place.data.copy_(torch.add(weights[name].float(), noise[name], alpha=scale).reshape(place.shape))

    def _move(self, weights: Stored, noise: Stored, rate: float, seed: int, step: int) -> None:
        """Takes rate * noise from the weights, in place."""
        for name in self._places:
            slot = self._slots[name]
            values, noises = weights[name].numpy(), noise[name].numpy()
            for first in range(0, values.size, _VALUES_AT_ONCE):
                part = values[first : first + _VALUES_AT_ONCE]
                exact = part.astype(np.float64) - rate * noises[first : first + part.size].astype(np.float64)
                part[:] = _between(exact, part.dtype, uniform(seed, step, slot + ROUNDING_STREAM, first, part.size))


class ScalesReference(AllWeightsReference):
    """A reference whose steps train the scales of quantized weights, from QZO's formula.

    What is perturbed is the largest magnitude of a row or block: int8 stores a 127th of it.
    """

    @functools.cached_property
    def _coded(self) -> dict[str, tuple[Tensor, list[Tensor]]]:
        """Codes and scales of each matrix."""
        return dict(_matrices(LayeredModel(self.config, self._state, self.workload.quant)))

    @property
    def _parts(self) -> float:
        return {"int8": 127.0, "nf4": 1.0}[self.workload.quant]

    def _own_places(self) -> Stored:
        """Gives the model tensors of its own in the place of its matrices, and returns them by name."""
        head = self._model.ends.lm_head.get_parameter("weight")
        table = head if self.config.tie_embeddings else nn.Parameter(dequantize(*self._coded[TABLE]), False)
        rows, columns = table.shape
        self._model.embedding = nn.Embedding(rows, columns, _weight=table)
        places = {TABLE: table, HEAD: head}
        for index, layer in enumerate(self._layers):
            places |= {f"model.layers.{index}.{name}": value for name, value in layer.named_parameters()}
        return {name: places[name] for name in self._coded}

    def _stored(self) -> Stored:
        """Returns the scales as they are stored."""
        return {name: scales[0].clone() for name, (_, scales) in self._coded.items()}

    def _taken(self, difference: float, eps: float) -> float:
        """Returns the slope that an update takes: at most 100 in magnitude, and for scales as they are stored."""
        return max(-100.0, min(100.0, super()._taken(difference, eps))) / self._parts

    def _set(self, weights: Stored, noise: Stored, scale: float) -> None:
        for name, (codes, _) in self._coded.items():
            moved = torch.add(weights[name], noise[name], alpha=scale / self._parts)
            self._places[name].data.copy_(dequantize(codes, [moved]))


def _matrices(model: LayeredModel) -> Iterator[tuple[str, tuple[Tensor, list[Tensor]]]]:
    """Yields each quantized matrix of a model by its canonical name: codes and scales."""
    parts = {TABLE: model.embedding}
    if not model.config.tie_embeddings:
        parts[HEAD] = model.ends.lm_head
    for name, module in parts.items():
        if isinstance(module, Frozen):
            yield name, (module.weight, module.scales)
    for index in range(model.config.layers):
        for name, module in model.layer(index).named_modules():
            if isinstance(module, Frozen):
                yield f"model.layers.{index}.{name}.weight", (module.weight, module.scales)


def _between(
    exact: NDArray[np.float64], dtype: np.dtype[np.floating], draws: NDArray[np.float32]
) -> NDArray[np.floating]:
    """Rounds to one of the two values of a type beside each number.

    It is that of larger magnitude where the draw is below the part of the way there.
    """
    near = exact.astype(dtype)
    beyond = np.where(np.abs(near) > np.abs(exact), np.float64(0.0), np.copysign(np.inf, exact)).astype(dtype)
    other = np.nextafter(near, beyond)
    outer, inner = (np.where((np.abs(near) > np.abs(other)) == far, near, other) for far in (True, False))
    gap = outer.astype(np.float64) - inner.astype(np.float64)
    share = (exact - inner.astype(np.float64)) / gap
    return np.where(near == exact, near, np.where(draws < share, outer, inner))
