"""The eager reference of each training method; P-RGE's own, from which all others derive, is in eager.py.

Training all weights, or their scales, follows MeZO's formula: perturb all, two forward passes, update. It shares only
the model's arithmetic and the definition of the noise with the programs: all perturbed weights are computed at once and
are in the model during a pass, and updates are rounded to one of two neighbours found by numpy.

Methods whose steps build on each other follow the formulas of schedules.py. They share P-RGE's losses and slopes with
the other references, but neither pending updates nor factors with the programs.

Training by backpropagation uses torch's autograd and optimizers, and shares only the arithmetic of the forward pass
with the program.
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
from workloads.models.weights import ModelWeights
from workloads.quantize.apply import LayeredModel, product_dtype
from workloads.quantize.frozen import Frozen, dequantize
from workloads.reference.eager import Batch, OnProgress, Reference
from workloads.scheduled.schedules import ANCHORS, BETA, GROUPS
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
        self._layers = list(self._layers)
        self._slots = {name: slot for slot, name in enumerate(config.tensor_shapes())}
        self._places = self._own_places()

    def _own_places(self) -> Stored:
        """Gives the model its own tensors, which nothing else reads, and returns them by name."""
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
        """Returns the slope that an update uses, from L+ - L-."""
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
        """Subtracts rate * noise from the weights, in place."""
        for name in self._places:
            slot = self._slots[name]
            values, noises = weights[name].numpy(), noise[name].numpy()
            for first in range(0, values.size, _VALUES_AT_ONCE):
                part = values[first : first + _VALUES_AT_ONCE]
                exact = part.astype(np.float64) - rate * noises[first : first + part.size].astype(np.float64)
                part[:] = _between(exact, part.dtype, uniform(seed, step, slot + ROUNDING_STREAM, first, part.size))


class ScalesReference(AllWeightsReference):
    """A reference whose steps train the scales of quantized weights, from QZO's formula.

    The largest magnitude of a row or block is perturbed; int8 stores a 127th of it.
    """

    @functools.cached_property
    def _coded(self) -> dict[str, tuple[Tensor, list[Tensor]]]:
        """Codes and scales of each matrix."""
        return dict(_matrices(LayeredModel(self.config, self._state, self.workload.quant)))

    @property
    def _parts(self) -> float:
        return {"int8": 127.0, "nf4": 1.0}[self.workload.quant]

    def _own_places(self) -> Stored:
        """Gives the model its own tensors instead of its matrices, and returns them by name."""
        head = self._model.ends.lm_head.get_parameter("weight")
        table = head if self.config.tie_embeddings else nn.Parameter(dequantize(*self._coded[TABLE]), False)
        rows, columns = table.shape
        self._model.embedding = nn.Embedding(rows, columns, _weight=table)
        places = {TABLE: table, HEAD: head}
        for index, layer in enumerate(self._layers):
            places |= {f"model.layers.{index}.{name}": value for name, value in layer.named_parameters()}
        return {name: places[name] for name in self._coded}

    def _stored(self) -> Stored:
        """Returns the stored scales."""
        return {name: scales[0].clone() for name, (_, scales) in self._coded.items()}

    def _taken(self, difference: float, eps: float) -> float:
        """Returns the slope that an update uses: at most 100 in magnitude, in terms of the stored scales."""
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
    """Rounds each number to one of the two neighbouring values of a type.

    It is the one of larger magnitude if the draw is below the fraction of the way there.
    """
    near = exact.astype(dtype)
    beyond = np.where(np.abs(near) > np.abs(exact), np.float64(0.0), np.copysign(np.inf, exact)).astype(dtype)
    other = np.nextafter(near, beyond)
    outer, inner = (np.where((np.abs(near) > np.abs(other)) == far, near, other) for far in (True, False))
    gap = outer.astype(np.float64) - inner.astype(np.float64)
    share = (exact - inner.astype(np.float64)) / gap
    return np.where(near == exact, near, np.where(draws < share, outer, inner))


class AdaZetaReference(Reference):
    """Makes an update when a group of steps is complete. `first_step` is the number of a training's first step."""

    first_step = 0

    def _steps(
        self, batches: Sequence[Batch], adapter: Tensor, seed: int, lr: float, eps: float, on_progress: OnProgress
    ) -> Iterator[NDArray[np.float32]]:
        """Makes one training step after the other; updates `adapter` in place before yielding a step's losses."""
        estimates: list[Tensor] = []
        place = 0
        while True:
            step = self.first_step + place
            losses, direction = self._step(adapter, batches[place % len(batches)], step, seed, eps, on_progress)
            estimates.append(direction / self.workload.q)
            epoch = step // GROUPS.period
            size = GROUPS.sizes[min(epoch, len(GROUPS.sizes) - 1)]
            at_end = (step + 1) % GROUPS.period == 0 or (step % GROUPS.period + 1) % size == 0
            if at_end:
                adapter -= lr * torch.stack(estimates).mean(dim=0)
                estimates.clear()
            yield losses
            place += 1


class MomentumReference(Reference):
    """Moves along a moving mean of all estimates."""

    def _steps(
        self, batches: Sequence[Batch], adapter: Tensor, seed: int, lr: float, eps: float, on_progress: OnProgress
    ) -> Iterator[NDArray[np.float32]]:
        """Makes one training step after the other; updates `adapter` in place before yielding a step's losses."""
        step, mean = 0, torch.zeros_like(adapter)
        while True:
            losses, direction = self._step(adapter, batches[step % len(batches)], step, seed, eps, on_progress)
            mean.mul_(BETA).add_(direction / self.workload.q, alpha=1 - BETA)
            adapter -= lr * mean
            yield losses
            step += 1


class SvrgReference(Reference):
    """Keeps an anchor, and its gradient from the first batches of a period."""

    def _steps(
        self, batches: Sequence[Batch], adapter: Tensor, seed: int, lr: float, eps: float, on_progress: OnProgress
    ) -> Iterator[NDArray[np.float32]]:
        """Makes one training step after the other; updates `adapter` in place before yielding a step's losses."""
        step = 0
        while True:
            batch = batches[step % len(batches)]
            if step % ANCHORS.period == 0:
                anchor, gathered = adapter.clone(), list[Tensor]()
            here, direction = super()._step(adapter, batch, step, seed, eps, on_progress)
            there, of_anchor = super()._step(anchor, batch, step, seed, eps, on_progress)
            if len(gathered) < ANCHORS.batches:
                gathered.append(direction / self.workload.q)
                if len(gathered) == ANCHORS.batches:
                    adapter -= lr * torch.stack(gathered).mean(dim=0)
            else:
                adapter -= lr * ((direction - of_anchor) / self.workload.q + torch.stack(gathered).mean(dim=0))
            yield np.concatenate([here, there], axis=1)
            step += 1

    def _step(
        self, adapter: Tensor, batch: Batch, step: int, seed: int, eps: float, on_progress: OnProgress
    ) -> tuple[NDArray[np.float32], Tensor]:
        """Returns the losses of a step that starts from `adapter` as its anchor too, and its direction."""
        losses, direction = super()._step(adapter, batch, step, seed, eps, on_progress)
        return np.concatenate([losses, losses], axis=1), direction


class BackpropReference(Reference):
    """A reference whose steps take the exact derivative; perturbations, seed and eps have no part in it."""

    def _steps(
        self, batches: Sequence[Batch], adapter: Tensor, seed: int, lr: float, eps: float, on_progress: OnProgress
    ) -> Iterator[NDArray[np.float32]]:
        """Makes one training step after the other; updates `adapter` in place before yielding a step's losses."""
        del seed, eps
        by_adam = self.workload.training_method.optimizer == "adam"
        optimizer = torch.optim.Adam([adapter], lr=lr) if by_adam else torch.optim.SGD([adapter], lr=lr)
        step = 0
        while True:
            loss, adapter.grad = self.loss_and_gradient(adapter, batches[step % len(batches)], on_progress)
            optimizer.step()
            yield np.array([loss], dtype=np.float32)
            step += 1

    def _step(
        self, adapter: Tensor, batch: Batch, step: int, seed: int, eps: float, on_progress: OnProgress
    ) -> tuple[NDArray[np.float32], Tensor]:
        """Returns the losses of a step without its update, and no direction."""
        del step, seed, eps
        losses = np.array([self.loss(adapter, batch)], dtype=np.float32)
        on_progress(1.0)
        return losses, torch.zeros_like(adapter)


_SCHEDULED: dict[str, type[Reference]] = {
    "workloads.scheduled.adazeta_step": AdaZetaReference,
    "workloads.scheduled.momentum_step": MomentumReference,
    "workloads.scheduled.svrg_step": SvrgReference,
}


def reference_of(
    workload: Workload, weights: ModelWeights, accumulation: Accumulation = Accumulation.FP32
) -> Reference:
    """Returns the reference of the workload's method. Raises UserError if this host can't model its arithmetic."""
    method = workload.training_method
    if method.trains_weights:
        kind: type[Reference] = ScalesReference if method.trains == "scales" else AllWeightsReference
    else:
        kind = BackpropReference if method.optimizer is not None else _SCHEDULED.get(method.step, Reference)
    return kind(workload, weights.config, weights.state, accumulation)
