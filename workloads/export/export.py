"""Exports a workload: turns a training step into one ExecuTorch program file that needs little memory.

The update happens in place, and delegates are loaded once for all their calls.
"""

from __future__ import annotations

import contextlib
import gc
import time
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from executorch.exir import EdgeCompileConfig, ExecutorchBackendConfig, ExecutorchProgramManager, to_edge
from executorch.exir._serialize._cord import Cord
from executorch.exir._serialize._serialize import serialize_for_executorch
from executorch.exir.passes import MemoryPlanningPass
from executorch.exir.schema import DelegateCall
from executorch.exir.tensor import TensorSpec
from torch import Tensor, nn
from torch.export import export
from torch.fx import GraphModule, Node

from workloads.export.data_files import DataCache, DataFile
from workloads.export.program import delegated_parts, make_program, program_example
from workloads.export.shared_constants import share_constants
from workloads.lowering.external_constants import ExternalConstants
from workloads.lowering.quick_tracing import quick_tracing
from workloads.models.weights import ModelWeights
from workloads.quantize.int4_groups import written_constants
from workloads.workload import Workload, adapter_values

IN_PLACE = {
    "prge::update": 0,
    "prge::update_rademacher": 0,
    "prge::decoder_layer": 0,
    "prge::general_layer": 0,
    "prge::loss_gradient": 0,
    "prge::descend": 0,
    "prge::moving_mean": 0,
    "prge::adam": 0,
    "prge::perturbed_layer": 0,
    "prge::move_weight": 0,
    "prge::replaced": 0,
}
"""Operators whose result may overwrite one of their arguments, and which one; their kernels allow it
(docs/contracts.md).

They do so wherever nothing reads the old value later.
"""

_OBJECTS_BETWEEN_COLLECTIONS = 50_000


class InPlacePlanning:
    """ExecuTorch's memory planning, extended so that operators of IN_PLACE overwrite their argument.

    If that is a buffer, the write-back at the end of the program would copy it onto itself, and is left out. Buffers
    that start from a constant of a data file are tagged, as ExecuTorch itself tags only constants.
    """

    def __init__(self, external: ExternalConstants) -> None:
        self._external = external
        self._planning = MemoryPlanningPass(alloc_graph_input=False)  # inputs stay in the caller's memory

    def run(self, graph_module: GraphModule, graph_signature: Any = None) -> Any:
        """Plans the memory of an ExecuTorch graph; `graph_signature` names its mutable buffers."""
        graph: Any = graph_module.graph  # the type of a node's arguments is a union of all possible ones
        owners: dict[Any, Any] = {}
        for node in list(graph.nodes):
            if _place(node) is not None:
                _write_over(node, graph, graph_signature, owners)
        self._external.tag_starts(graph, graph_signature)
        output = graph.output_node()
        output.meta["spec"] = type(output.meta["spec"])(result.meta["spec"] for result in output.args[0])
        tabulated = None if graph_signature is None else _Tabulated(graph_signature)
        return self._planning.run(graph_module, tabulated)


class _Tabulated:
    """A signature that no longer changes, whose tables are made once, while planning requests them at each node.

    With as many nodes as constants, that was a fifth of an export.
    """

    def __init__(self, signature: Any) -> None:
        self._signature = signature

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._signature, name)
        setattr(self, name, value)
        return value


def _place(node: Any) -> int | None:
    """Returns which argument the result of an operator of IN_PLACE may overwrite."""
    return IN_PLACE.get(getattr(getattr(node.target, "_schema", None), "name", ""))


def _write_over(node: Any, graph: Any, graph_signature: Any, owners: dict[Any, Any]) -> None:
    """Places the result of `node` in the memory of its argument, unless that is a view or is read again (also as a
    view).

    A buffer may be updated by several operators, one after the other; `owners` has the buffer in whose memory a result
    already is.
    """
    place = _place(node)
    argument = node.args[place]
    owner = owners.get(argument, argument)
    copies = [user for user in node.users if _is_write_back(user, owner)]
    order = {each: position for position, each in enumerate(graph.nodes)}
    readers = [user for alias in _aliases(argument) for user in alias.users]
    same_size = node.meta["val"].shape == argument.meta["val"].shape  # the last layer's result has fewer rows
    read_again = any(order[user] > order[node] and not _is_write_back(user, argument) for user in readers)
    # A buffer without a write-back keeps its value; a view doesn't own its memory.
    free = _is_written_back(node, owner) if owner.op == "placeholder" else type(owner.meta.get("spec")) is TensorSpec
    if read_again or not free or not same_size:
        return
    owners[node] = owner
    node.meta["_share_alloc_with_arg_idx"] = place
    for copy in copies:
        for spec in graph_signature.output_specs:
            if spec.arg.name == copy.name:
                spec.arg.name = node.name
        copy.replace_all_uses_with(node)
        graph.erase_node(copy)


def _aliases(value: Any) -> list[Any]:
    """Returns a value and its views, which share its memory, and the views of these."""
    specs = {user: user.meta.get("spec") for user in value.users}
    views = [user for user, spec in specs.items() if isinstance(spec, TensorSpec) and type(spec) is not TensorSpec]
    return [value, *(alias for view in views for alias in _aliases(view))]


def _is_written_back(node: Any, buffer: Any) -> bool:
    """Returns whether `node`, or a result of operators of IN_PLACE on it, becomes the value of `buffer`."""
    while True:
        if any(_is_write_back(user, buffer) for user in node.users):
            return True
        following = [user for user in node.users if _place(user) is not None and user.args[_place(user)] is node]
        if len(following) != 1:
            return False
        (node,) = following


def _is_write_back(node: Node, buffer: Node) -> bool:
    return node.target is torch.ops.aten.copy_.default and node.args[0] is buffer


def serialize_sharing_delegates(program: ExecutorchProgramManager, config: ExecutorchBackendConfig) -> Cord:
    """Serializes `program` so that all calls of one delegate share one entry.

    A layer is called once for every chunk of a pass. The emitter makes an entry for each call and the runtime loads
    each entry, so the packed weights would be in memory once for every chunk.
    """
    for plan in program.executorch_program.execution_plan:
        entry_of_data: dict[tuple[str, int], int] = {}
        entry_of_call: list[int] = []
        kept: list[Any] = []
        for delegate in plan.delegates:
            data = (delegate.id, delegate.processed.index)
            if data not in entry_of_data:
                entry_of_data[data] = len(kept)
                kept.append(delegate)
            entry_of_call.append(entry_of_data[data])
        plan.delegates = kept
        for call in (instruction.instr_args for chain in plan.chains for instruction in chain.instructions):
            if isinstance(call, DelegateCall):
                call.delegate_index = entry_of_call[call.delegate_index]
    file, _ = serialize_for_executorch(program._emitter_output, config, program._data_serializer, program._named_data)
    return file


@dataclass(frozen=True)
class ProgramFacts:
    """Facts about a program, right after its export."""

    export_seconds: float
    partitions: int
    operators: Mapping[str, int]
    weight_bytes: int
    program_bytes: int
    adapter_values: int
    data: tuple[DataFile, ...] = ()


def export_program(workload: Workload, weights: ModelWeights, path: Path, data: DataCache) -> ProgramFacts:
    """Writes the program of `workload` to `path`, and those of its data files that `data` lacks.

    Raises OSError, and NotDelegatedError if a part of the model does not lower to one delegate.
    """
    begin = time.monotonic()
    with warnings.catch_warnings(), _rare_collections():
        # Deprecations inside torch and executorch, which users can't act on.
        warnings.simplefilter("ignore")
        shared = share_constants(workload, weights, data)
        parts = shared.parts
        layers = len(parts.blocks) * _weight_bytes(parts.blocks[0])  # all are alike
        weight_bytes = _weight_bytes(parts.embedding, parts.head) + layers
        module = make_program(workload, delegated_parts(workload, parts, shared.stored))
        inputs = program_example(workload, parts)
        program, backend = _emitted(module, inputs, ExternalConstants(module, shared.stored))
        with path.open("wb") as file:
            serialize_sharing_delegates(program, backend).write_to_file(file)
    operators = _operators(program)
    return ProgramFacts(
        export_seconds=time.monotonic() - begin,
        partitions=len(program.executorch_program.execution_plan[0].delegates),
        operators=dict(operators.most_common()),
        weight_bytes=weight_bytes,
        program_bytes=path.stat().st_size,
        adapter_values=adapter_values(parts.layout),
        data=shared.files,
    )


@contextlib.contextmanager
def _rare_collections() -> Iterator[None]:
    """Makes Python look for reference cycles rarely: most objects from tracing survive, and imports created a
    million."""
    usual = gc.get_threshold()
    gc.set_threshold(_OBJECTS_BETWEEN_COLLECTIONS, *usual[1:])
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
        gc.set_threshold(*usual)


def _emitted(
    module: nn.Module, inputs: tuple[Tensor, ...], external: ExternalConstants
) -> tuple[ExecutorchProgramManager, ExecutorchBackendConfig]:
    with quick_tracing():
        edge = to_edge(
            export(module, inputs, strict=False),
            # The program calls our own operators, which the check for core operators would reject.
            compile_config=EdgeCompileConfig(_check_ir_validity=False),
        )
        backend = ExecutorchBackendConfig(
            emit_mutable_buffer_names=True,  # the runner reads the adapter by name
            memory_planning_pass=InPlacePlanning(external),
            external_constants=external.tag(edge),
        )
        with external.emitted_empty():
            program = edge.to_executorch(backend)
    external.rename(program)
    return program, backend


def _operators(program: ExecutorchProgramManager) -> Counter[str]:
    """Counts the program's calls of each operator outside its delegates, without memory bookkeeping."""
    calls = (node.target for node in program.exported_program().graph.nodes if node.op == "call_function")
    names = Counter(str(getattr(target, "__name__", target)) for target in calls)
    for bookkeeping in ("alloc", "getitem", "view", "executorch_call_delegate"):
        names.pop(bookkeeping, None)
    return names


def _weight_bytes(*modules: nn.Module) -> int:
    """Returns the bytes of the weights as the setting stores them, counting a shared tensor once.

    Tables and constants that follow from the configuration are not weights: they are buffers outside the state dict.
    """
    sizes = {}
    for module in modules:
        written = written_constants(module)
        for name, tensor in module.state_dict().items():
            sizes[tensor.data_ptr()] = written.get(name, tensor).nbytes
    return sum(sizes.values())
