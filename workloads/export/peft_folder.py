"""Adapters in PEFT's format: a folder with adapter_config.json and adapter_model.safetensors.

PEFT computes x W^T + (alpha / rank) (x A^T) B^T with A [rank, in] and B [out, rank] (peft.LoraConfig). Here B is [rank,
out], and A has alpha / rank folded in, rounded to the type of the setting's products.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError
from safetensors.numpy import save
from safetensors.torch import load_file

from foundation.atomic import write_atomic
from foundation.errors import UserError
from foundation.foreign_files import open_regular, parse_json, read_regular
from foundation.text import printable
from workloads.methods.adapter import frozen_a, name_of_a
from workloads.models.config import PROJECTIONS, LlamaConfig
from workloads.workload import AdapterSlot, Workload, adapter_values, layout_of

Float32Array = NDArray[np.float32]

CONFIG, TENSORS = "adapter_config.json", "adapter_model.safetensors"
_LARGEST_CONFIG_BYTES = 1 << 20
_LARGEST_TENSORS_BYTES = 4 << 30
_CLOSE = 1e-3
"""The most relative difference between equal A of which one was rounded to 16 bits."""


def write_peft_folder(
    workload: Workload,
    config: LlamaConfig,
    adapter: Float32Array,
    base: str,
    folder: Path,
    given: Mapping[str, torch.Tensor] = MappingProxyType({}),
) -> None:
    """Writes the adapter float32 [n] of a workload, for the model that `base` names; creates the folder.

    `given` has each A by name if they are not drawn. Raises OSError.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tensors: dict[str, NDArray[Any]] = {}
    for slot in layout_of(workload, config):
        values = adapter[slot.offset : slot.offset + slot.size].reshape(slot.rank, slot.features)
        tensors[f"{_name(slot)}.lora_A.weight"] = _unfolded_a(workload, config, slot, given)
        tensors[f"{_name(slot)}.lora_B.weight"] = np.ascontiguousarray(values.T)
    write_atomic(folder / TENSORS, save(tensors, metadata={"format": "pt"}))
    document: dict[str, Any] = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base,
        "r": workload.rank,
        "lora_alpha": workload.alpha,
        "lora_dropout": 0.0,
        "bias": "none",
        "fan_in_fan_out": False,
        "inference_mode": True,
        "target_modules": list(workload.targets),
    }
    if workload.layers is not None:
        document |= {"layers_to_transform": _adapted(workload, config), "layers_pattern": "layers"}
    write_atomic(folder / CONFIG, (json.dumps(document, indent=2) + "\n").encode())


class _Config(BaseModel):
    """The part of adapter_config.json that decides whether an adapter fits."""

    model_config = ConfigDict(extra="ignore")

    peft_type: str
    r: int
    lora_alpha: float
    target_modules: list[str]
    layers_to_transform: list[int] | int | None = None
    use_rslora: bool = False
    use_dora: bool = False
    bias: str = "none"


@dataclass(frozen=True)
class PeftAdapter:
    """The content of a PEFT folder for a workload: each A [rank, in] by name, and the adapter float32 [n] of all B.

    `not_drawn`: names an A that differs from the one that the workload would draw; empty if none does.
    """

    given: Mapping[str, torch.Tensor]
    adapter: Float32Array
    not_drawn: str

    @property
    def digest(self) -> str:
        """Identifies all A."""
        digest = hashlib.sha256()
        for name, a in sorted(self.given.items()):
            digest.update(name.encode() + a.numpy().tobytes())
        return digest.hexdigest()[:16]


def read_peft_folder(workload: Workload, config: LlamaConfig, folder: Path) -> Float32Array:
    """Returns the adapter float32 [n] of a PEFT folder, for a training of `workload` to start from.

    Raises UserError as `read_peft_adapter` does, and if its frozen A differs from the workload's.
    """
    found = read_peft_adapter(workload, config, folder)
    other = found.not_drawn
    if workload.lora_a is not None:
        other = "" if found.digest == workload.lora_a else "some projection"
    if other:
        raise UserError(
            f"{folder} has an A of {other} that differs from the one that LoRA-FA uses here and never trains: start "
            "from an adapter that was trained with the same A."
        )
    return found.adapter


def read_peft_adapter(workload: Workload, config: LlamaConfig, folder: Path) -> PeftAdapter:
    """Returns the content of a PEFT folder for adapters such as the workload's.

    Raises UserError, naming what is wrong, for a folder that can't be read, or whose adapter differs from the
    workload's in rank, scale, projections or shapes.
    """
    _require_fit(_read_config(folder), workload, config, folder)
    try:
        with open_regular(folder / TENSORS, what="an adapter's tensors", limit_bytes=_LARGEST_TENSORS_BYTES):
            # With torch, which has types that NumPy lacks: PEFT may save adapters in bfloat16.
            tensors = {name: tensor.float().numpy() for name, tensor in load_file(folder / TENSORS).items()}
    except (OSError, SafetensorError, ValueError, LookupError, TypeError, RuntimeError) as error:
        raise UserError(f"{folder / TENSORS} can't be read ({error}): give a folder that PEFT has saved.") from error
    layout = layout_of(workload, config)
    adapter = np.zeros(adapter_values(layout), np.float32)
    expected = {name for slot in layout for name in _names(slot)}
    if unknown := sorted(set(tensors) - expected):
        raise UserError(
            f"{folder} has {len(unknown)} tensors that {workload.model} with these targets does not have, such as "
            f"{printable(unknown[0], 80)}: choose the model and --targets that it was trained with."
        )
    given, not_drawn = dict[str, torch.Tensor](), ""
    for slot in layout:
        lora_a, lora_b = (
            _tensor(tensors, name, shape, folder)
            for name, shape in zip(_names(slot), _shapes(config, slot), strict=True)
        )
        if not not_drawn and not _is_drawn(lora_a, workload, config, slot):
            not_drawn = _name(slot)
        given[name_of_a(slot)] = torch.from_numpy(lora_a)
        adapter[slot.offset : slot.offset + slot.size] = lora_b.T.reshape(-1)
    return PeftAdapter(given, adapter, not_drawn)


def digest_of_a(workload: Workload, config: LlamaConfig, folder: Path) -> str:
    """Returns the digest of a PEFT folder's A; reads the folder again only if it changes. Raises UserError likewise."""
    path = folder / TENSORS
    return _digest_of_a(workload, config, folder, path.stat().st_mtime_ns if path.exists() else 0)


@lru_cache(maxsize=16)
def _digest_of_a(workload: Workload, config: LlamaConfig, folder: Path, _changed_ns: int) -> str:
    return read_peft_adapter(workload, config, folder).digest


def _is_drawn(lora_a: Float32Array, workload: Workload, config: LlamaConfig, slot: AdapterSlot) -> bool:
    drawn = _unfolded_a(replace(workload, lora_a=None), config, slot, {})
    return float(np.abs(lora_a - drawn).max()) <= _CLOSE * float(np.abs(drawn).max())


def _name(slot: AdapterSlot) -> str:
    part = "self_attn" if slot.projection in PROJECTIONS[:4] else "mlp"
    return f"base_model.model.model.layers.{slot.layer}.{part}.{slot.projection}"


def _names(slot: AdapterSlot) -> tuple[str, str]:
    return f"{_name(slot)}.lora_A.weight", f"{_name(slot)}.lora_B.weight"


def _shapes(config: LlamaConfig, slot: AdapterSlot) -> Iterator[tuple[int, int]]:
    out_features, in_features = config.projection_shape(slot.projection)
    yield slot.rank, in_features
    yield out_features, slot.rank


def _unfolded_a(
    workload: Workload, config: LlamaConfig, slot: AdapterSlot, given: Mapping[str, torch.Tensor]
) -> Float32Array:
    """Returns A [rank, in] in PEFT's form, without the scale."""
    folded = frozen_a(workload, config, slot, given)
    rounded = folded.to(getattr(torch, workload.products)).to(torch.float32) / (workload.alpha / workload.rank)
    values: Float32Array = rounded.numpy()
    return values


def _read_config(folder: Path) -> _Config:
    path = folder / CONFIG
    try:
        data = read_regular(path, what="an adapter's configuration", limit_bytes=_LARGEST_CONFIG_BYTES)
        return _Config.model_validate(parse_json(data))
    except OSError as error:
        raise UserError(
            f"{path} can't be read ({error.strerror}): give a folder with {CONFIG} and {TENSORS}, as PEFT saves them."
        ) from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise UserError(f"{path}: {where}: {first['msg']}: give a LoRA adapter that PEFT has saved.") from error
    except ValueError as error:
        raise UserError(
            f"{path} can't be read as JSON ({printable(str(error), 200)}): give a LoRA adapter that PEFT has saved."
        ) from error


def _adapted(workload: Workload, config: LlamaConfig) -> list[int]:
    """Returns the layers that have adapters."""
    return sorted({slot.layer for slot in layout_of(workload, config)})


def _require_fit(found: _Config, workload: Workload, config: LlamaConfig, folder: Path) -> None:
    if found.peft_type != "LORA" or found.use_rslora or found.use_dora or found.bias != "none":
        raise UserError(
            f"{folder} is not a plain LoRA adapter ({found.peft_type}): give one without rsLoRA, DoRA and biases."
        )
    same = (("rank", found.r, workload.rank), ("alpha", found.lora_alpha, workload.alpha))
    for name, has, wanted in same:
        if not math.isclose(has, wanted):
            raise UserError(f"{folder} has {name} {has:g}, but {wanted:g} is to be trained: use --{name} {has:g}.")
    if set(found.target_modules) != set(workload.targets):
        targets = ",".join(found.target_modules)
        raise UserError(
            f"{folder} adapts {targets}, but {','.join(workload.targets)} are to be trained: use --targets {targets}."
        )
    listed = found.layers_to_transform
    adapted = list(range(config.layers)) if listed is None else [listed] if isinstance(listed, int) else sorted(listed)
    if adapted != (own := _adapted(workload, config)):
        fits = adapted == list(range(adapted[0], adapted[-1] + 1)) if adapted else False
        raise UserError(
            f"{folder} adapts {len(adapted)} layers, but {len(own)} are to be trained, {own[0]} to {own[-1]}: "
            + (f"use --layers {adapted[0]}-{adapted[-1]}." if fits else "give an adapter of layers in a row.")
        )


def _tensor(tensors: Mapping[str, NDArray[Any]], name: str, shape: tuple[int, int], folder: Path) -> Float32Array:
    found = tensors.get(name)
    if found is None or found.shape != shape:
        has = "is missing" if found is None else f"is {list(found.shape)}"
        raise UserError(f"{folder}: {name} {has}, but it must be {list(shape)}: choose the model that it belongs to.")
    values: Float32Array = found.astype(np.float32)
    if not np.isfinite(values).all():
        raise UserError(
            f"{folder}: {name} has values that are not finite: give an adapter from a training that succeeded."
        )
    return values
