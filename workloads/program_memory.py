"""What keeps a program small in memory: the update in place, and delegates that are loaded once for all their calls."""

from __future__ import annotations

from typing import Any

import torch
from executorch.exir import ExecutorchBackendConfig, ExecutorchProgramManager
from executorch.exir._serialize._cord import Cord
from executorch.exir._serialize._serialize import serialize_for_executorch
from executorch.exir.passes import MemoryPlanningPass
from executorch.exir.schema import DelegateCall
from executorch.exir.tensor import TensorSpec
from torch.fx import GraphModule, Node

IN_PLACE = {"prge::update": 0, "prge::decoder_layer_nf4": 0}
"""Operators whose result may lie where one of their arguments lies, and which: their kernels allow it
(docs/contracts.md). It does wherever nothing reads the old value later."""


class InPlacePlanning:
    """ExecuTorch's memory planning that lets an operator of IN_PLACE write over its argument.

    Where that is a buffer, the write-back at the end of the program copies the buffer onto itself, and is left out.
    """

    def __init__(self) -> None:
        self._planning = MemoryPlanningPass(alloc_graph_input=False)  # inputs lie where the caller has them

    def run(self, graph_module: GraphModule, graph_signature: Any = None) -> Any:
        """Plan the memory of an ExecuTorch graph; `graph_signature` names its mutable buffers."""
        graph: Any = graph_module.graph  # the arguments of a node are a union of all that can be one
        for node in list(graph.nodes):
            name = getattr(getattr(node.target, "_schema", None), "name", None)
            if name in IN_PLACE:
                _write_over(node, node.args[IN_PLACE[name]], graph, graph_signature)
        output = graph.output_node()
        output.meta["spec"] = type(output.meta["spec"])(result.meta["spec"] for result in output.args[0])
        return self._planning.run(graph_module, graph_signature)


def _write_over(node: Any, argument: Any, graph: Any, graph_signature: Any) -> None:
    """Let the result of `node` lie where `argument` lies, unless that is a view or read again."""
    copies = [user for user in node.users if _is_write_back(user, argument)]
    order = {each: place for place, each in enumerate(graph.nodes)}
    read_again = any(order[user] > order[node] and user not in copies for user in argument.users)
    # A buffer without a write-back keeps its value; a view would take the memory of what it is a view of.
    free = copies if argument.op == "placeholder" else type(argument.meta.get("spec")) is TensorSpec
    if read_again or not free:
        return
    node.meta["_share_alloc_with_arg_idx"] = list(node.args).index(argument)
    for copy in copies:
        for spec in graph_signature.output_specs:
            if spec.arg.name == copy.name:
                spec.arg.name = node.name
        copy.replace_all_uses_with(node)
        graph.erase_node(copy)


def _is_write_back(node: Node, buffer: Node) -> bool:
    return node.target is torch.ops.aten.copy_.default and node.args[0] is buffer


def serialize_sharing_delegates(program: ExecutorchProgramManager, config: ExecutorchBackendConfig) -> Cord:
    """The file of `program` in which all calls of one delegate share one entry.

    A layer is called once for every chunk of a pass. The emitter makes an entry of each call, and a runtime loads each
    entry: it would hold the packed weights once for every chunk.
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
