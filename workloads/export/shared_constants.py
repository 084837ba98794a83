"""Moves a workload's constants into data files that programs of every shape share.

A model's state dict, as stored by the setting, does not depend on queries, batch or length: it goes into one file per
model and setting. The frozen A also depend on rank, targets and seed, and go into a second file. Constants that follow
from the shape (rotary tables) stay in the program. If the files exist, only embedding, head, one layer with adapters
and one without are built, to be compared with the files; all other layers are copies of these with tensors from the
files.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from workloads.export.data_files import ADAPTERS, WEIGHTS, Catalog, DataCache, DataFile
from workloads.export.program import eager_parts
from workloads.export.staging import versions
from workloads.lowering.flat_tensor import FlatTensorWriter, StoredConstant, constant_sha256, dtype_name
from workloads.lowering.stored_constants import StoredConstants, with_tensors
from workloads.methods.parts import Parts
from workloads.models.config import PROJECTIONS
from workloads.models.weights import ModelWeights
from workloads.quantize.apply import MadeOnDemand
from workloads.quantize.int4_groups import read_constants, written_constants
from workloads.workload import EXPORTER_VERSION, AdapterSlot, Workload


@dataclass(frozen=True)
class SharedConstants:
    """Data files, and the parts of a model whose constants are in them."""

    files: tuple[DataFile, ...]
    stored: StoredConstants
    parts: Parts


def share_constants(workload: Workload, weights: ModelWeights, cache: DataCache) -> SharedConstants:
    """Returns the parts of `workload` around the constants of its data files, which are created if necessary.

    A program for the stock runtime, which supports one data file, keeps its A; one without adapters has none. Raises
    OSError, and RuntimeError if the files differ from what the exporter would write now.
    """
    parts = eager_parts(workload, weights.config, weights.state)
    sharing = _Sharing(workload, parts)
    stored, files = StoredConstants(), []
    made = [cache.make(WEIGHTS, sharing.weights_recipe(weights.sha256), sharing.write_weights)]
    if workload.noise != "stock" and parts.layout:
        made.append(cache.make(ADAPTERS, sharing.adapters_recipe(), sharing.write_adapters))
    for file, constants in made:
        stored.add_file(file.path, {name: StoredConstant.from_document(each) for name, each in constants.items()})
        files.append(file)
    sharing.compare(stored)
    return SharedConstants(tuple(files), stored, sharing.shared_parts(stored))


class _Template:
    """A layer that is copied for others, with other tensors: its constants by their names in the data files."""

    def __init__(self, layer: int, parts: Parts) -> None:
        self.layer, self.block = layer, parts.blocks[layer]
        of_layer = _stored_form(self.block)
        slots = {constant_sha256(parts.frozen_a(slot)): slot for slot in parts.layout if slot.layer == layer}
        # Identified by content, as settings choose the names of their buffers.
        digests = {name: constant_sha256(value) for name, value in of_layer.items()}
        self._frozen = {name: slots[digest].projection for name, digest in digests.items() if digest in slots}
        self._names = {name: _plain(name) for name in of_layer if name not in self._frozen}
        self.weights = {plain: of_layer[name] for name, plain in self._names.items()}

    def with_tensors_of(self, layer: int, parts: Parts, stored: StoredConstants) -> nn.Module:
        """Returns a copy with the tensors of another layer."""
        values = vars(parts.rotary[layer]) | {
            name: stored.tensor(_of_layer(layer, plain)) for name, plain in self._names.items()
        }
        for name, projection in self._frozen.items():
            slot = next(s for s in parts.layout if (s.layer, s.projection) == (layer, projection))
            there = stored.constant(_of_slot(slot)) is not None
            values[name] = stored.tensor(_of_slot(slot)) if there else parts.frozen_a(slot)
        return with_tensors(self.block, values | read_constants(self.block, values))


class _Sharing:
    """Names the constants of a workload: `embedding.N`, `head.N`, `layers.I.N`, `layers.I.PROJECTION.lora_a`."""

    def __init__(self, workload: Workload, parts: Parts) -> None:
        self._workload, self._parts = workload, parts
        self._ends = nn.ModuleDict({"embedding": parts.embedding, "head": parts.head})
        self._of_ends = _stored_form(self._ends)
        self._adapted = {slot.layer for slot in parts.layout}
        # The first layer with adapters, and the first one without.
        of_kind = {layer in self._adapted: layer for layer in reversed(range(len(parts.blocks)))}
        self._templates = {kind: _Template(layer, parts) for kind, layer in of_kind.items()}
        self._weights = next(iter(self._templates.values())).weights

    def weights_recipe(self, weights_sha256: str) -> dict[str, Any]:
        """Returns what determines the weights file."""
        return {
            **_made_by(),
            "weights": weights_sha256,
            "quant": self._workload.quant,
            "layers": len(self._parts.blocks),
            "ends": _described(self._of_ends),
            "layer": _described(self._weights),
        }

    def adapters_recipe(self) -> dict[str, Any]:
        """Returns what determines the file of all A, which are the same for all settings with this type of products."""
        workload, config = self._workload, self._parts.config
        return {
            **_made_by(),
            "shapes": [list(config.projection_shape(name)) for name in PROJECTIONS],
            "layers": config.layers,
            "lora": [
                workload.rank,
                workload.alpha,
                list(workload.targets),
                sorted(self._adapted),
                workload.adapter_seed if workload.lora_a is None else workload.lora_a,
            ],
            "dtype": str(self._parts.products),
        }

    def write_weights(self, path: Path) -> Catalog:
        """Writes the weights file, a layer at a time."""
        with FlatTensorWriter(path, len(self._of_ends) + len(self._parts.blocks) * len(self._weights)) as writer:
            constants = {name: asdict(writer.add(value)) for name, value in self._of_ends.items()}
            for index, block in enumerate(self._parts.blocks):
                values = {_plain(name): value for name, value in _stored_form(block).items()}
                constants |= {_of_layer(index, name): asdict(writer.add(values[name])) for name in self._weights}
        return constants

    def write_adapters(self, path: Path) -> Catalog:
        """Writes the file of all A."""
        with FlatTensorWriter(path, len(self._parts.layout)) as writer:
            return {_of_slot(slot): asdict(writer.add(self._parts.frozen_a(slot))) for slot in self._parts.layout}

    def compare(self, stored: StoredConstants) -> None:
        """Raises RuntimeError unless embedding, head and the built layers equal those in the files."""
        made = dict(self._of_ends)
        for template in self._templates.values():
            made |= {_of_layer(template.layer, name): value for name, value in template.weights.items()}
        for name, value in made.items():
            found = stored.constant(name)
            if found is None or found.sha256 != constant_sha256(value):
                raise RuntimeError(f"{name} differs from the weights file: EXPORTER_VERSION must be raised")

    def shared_parts(self, stored: StoredConstants) -> Parts:
        """Returns the parts with tensors of the data files."""

        def block(index: int) -> nn.Module:
            return self._templates[index in self._adapted].with_tensors_of(index, self._parts, stored)

        of_ends = {name: stored.tensor(name) for name in self._of_ends}
        ends = with_tensors(self._ends, of_ends | read_constants(self._ends, of_ends))
        return replace(
            self._parts,
            embedding=ends.get_submodule("embedding"),
            head=ends.get_submodule("head"),
            blocks=MadeOnDemand(len(self._parts.blocks), block),
        )


def _stored_form(module: nn.Module) -> dict[str, Tensor]:
    """Returns a part's constants in the form stored in programs."""
    return module.state_dict() | written_constants(module)


def _plain(name: str) -> str:
    """Returns the name of a layer's constant without adapters, which wrap some of its projections."""
    return name.replace("_proj.base.", "_proj.")


def _of_layer(index: int, name: str) -> str:
    return f"layers.{index}.{name}"


def _of_slot(slot: AdapterSlot) -> str:
    return f"layers.{slot.layer}.{slot.projection}.lora_a"


def _made_by() -> dict[str, Any]:
    return {"exporter": EXPORTER_VERSION, "versions": versions()}


def _described(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    return {name: [dtype_name(value), list(value.shape)] for name, value in tensors.items()}
