"""Emits a program without those of the graph's constants that are in data files: it contains their keys instead.

ExecuTorch can move constants out, but names them by their place in the module, so that each program would need its own
file, and first gathers the bytes of all of them in memory.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from unittest import mock

from executorch.exir import EdgeProgramManager, ExecutorchProgramManager
from executorch.exir.emit._emitter import _Emitter
from executorch.exir.program import _program
from executorch.exir.schema import Tensor as EmittedTensor
from executorch.exir.schema import TensorDataLocation
from torch import Tensor, nn
from torch.fx import Node

from workloads.lowering.stored_constants import StoredConstants


class ExternalConstants:
    """The constants of an exported module that are in data files, by their names in the module.

    A module whose state starts from such constants has them as `starts`, by the names of its buffers.
    """

    def __init__(self, module: nn.Module, stored: StoredConstants) -> None:
        named = (*module.named_parameters(remove_duplicate=False), *module.named_buffers(remove_duplicate=False))
        values: dict[str, Tensor] = dict(named) | getattr(module, "starts", {})
        self._keys = {name: key for name, value in values.items() if (key := stored.key_of(value)) is not None}

    def tag(self, edge: EdgeProgramManager) -> Callable[[Node], str | None]:
        """Returns a function that ExecuTorch calls for each placeholder: a tag if it leaves the program, else None."""
        signature = edge.exported_program().graph_signature
        names: Mapping[str, str] = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
        return lambda node: "data" if names.get(node.name) in self._keys else None

    def tag_starts(self, graph: Any, signature: Any) -> None:
        """Tags the mutable buffers of a graph that start from a constant of a data file."""
        if signature is None:
            return
        mutated, buffers = set(signature.buffers_to_mutate.values()), signature.inputs_to_buffers
        for node in graph.find_nodes(op="placeholder"):
            name = buffers.get(node.name)
            if name in mutated and name in self._keys:
                node.meta["constant_tag"] = "data"

    @contextlib.contextmanager
    def emitted_empty(self) -> Iterator[None]:
        """Within the block, keeps only the digests of bytes that leave an emitted program, and doesn't serialize it.

        ExecuTorch would do so at once, with the names that `rename` must replace.
        """
        save = _Emitter._save_new_const_tensor

        def saved(emitter: Any, spec: Any, data: bytes, sha256: str, *rest: Any) -> Any:
            info = spec.extra_tensor_info
            leaves = info is not None and info.location is TensorDataLocation.EXTERNAL
            return save(emitter, spec, sha256.encode() if leaves else data, sha256, *rest)

        with (
            mock.patch.object(_Emitter, "_save_new_const_tensor", saved),
            mock.patch.object(_program, "serialize_for_executorch", lambda *_: (None, {})),
        ):
            yield

    def rename(self, program: ExecutorchProgramManager) -> None:
        """Gives the constants of an emitted program their keys, and buffers that start from one the name NAME=KEY.

        Raises RuntimeError if a constant doesn't match its key, which means that a data file doesn't match its catalog.
        """
        emitted = program._emitter_output
        for places in emitted.external_constant_map.values():
            for name, place in places.items():
                sha256 = emitted.external_constant_buffer[place].decode()
                if not self._keys[name].startswith(sha256):
                    raise RuntimeError(f"{name} has the digest {sha256}, but its data file has {self._keys[name]}")
        emitted.external_constant_map.clear()
        for value in (one.val for plan in emitted.program.execution_plan for one in plan.values):
            info = value.extra_tensor_info if isinstance(value, EmittedTensor) else None
            if info is not None and info.location is TensorDataLocation.EXTERNAL:
                name = info.fully_qualified_name
                key = self._keys.get(name, name)
                info.fully_qualified_name = key if value.allocation_info is None else f"{name}={key}"
