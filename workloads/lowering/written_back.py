"""Turns writes to buffers at the end of an otherwise functional program into results, as ExecuTorch requires.

torch traces a program again for that, and decomposes its operators. A training step around its parts, the largest graph
of an export, has nothing to decompose.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch.export import ExportedProgram
from torch.export.graph_signature import (
    ExportGraphSignature,
    InputKind,
    InputSpec,
    OutputKind,
    OutputSpec,
    TensorArgument,
)
from torch.fx import Node
from torch.fx.traceback import NodeSource, NodeSourceAction

_KNOWN = (InputKind.PARAMETER, InputKind.BUFFER, InputKind.USER_INPUT)
_WRITE = torch.ops.aten.copy_.default


def written_back(program: ExportedProgram, decompositions: Mapping[Any, Any]) -> ExportedProgram | None:
    """Returns `program` with its writes to buffers as results, in the buffers' order; the graph is reused.

    None if more would have to be done, in which case nothing was changed.
    """
    if any(spec.kind not in _KNOWN for spec in program.graph_signature.input_specs):
        return None
    buffers = _buffers(program)
    writes = {node.args[0]: node for node in program.graph.nodes if node.target is _WRITE}
    if not all(_needs_nothing(node, decompositions) or node in writes.values() for node in program.graph.nodes):
        return None
    order = {node: place for place, node in enumerate(program.graph.nodes)}
    for buffer, write in writes.items():
        read_later = any(order[user] > order[write] for alias in _aliases(buffer) for user in alias.users)
        if buffer not in buffers or write.users or read_later or not _is_alike(buffer, write.args[1]):
            return None
    return _with_results(program, {buffers[buffer]: write for buffer, write in writes.items()})


def _buffers(program: ExportedProgram) -> dict[Node, str]:
    """Returns the names of buffers by their placeholders."""
    names = program.graph_signature.inputs_to_buffers
    return {node: names[node.name] for node in program.graph.find_nodes(op="placeholder") if node.name in names}


def _aliases(value: Node) -> list[Node]:
    """Returns a value and everything that shares its memory: its views and theirs, some of which are items of
    several."""
    return [value, *(alias for user in value.users if _is_view(user, value) for alias in _aliases(user))]


def _is_view(node: Node, value: Node) -> bool:
    schema = getattr(node.target, "_schema", None)
    if schema is None:
        return node.op == "call_function"  # taking an item
    given = zip(schema.arguments, node.args, strict=False)
    return any(argument.alias_info is not None and each is value for argument, each in given)


def _needs_nothing(node: Node, decompositions: Mapping[Any, Any]) -> bool:
    """Returns whether a node is in its final form: functional, and neither composite nor to be decomposed."""
    target = node.target
    if not isinstance(target, torch._ops.OpOverload):
        return node.op != "call_module" and not isinstance(target, torch._ops.OpOverloadPacket)
    return not (target._schema.is_mutable or target in decompositions or target._can_decompose())


def _is_alike(buffer: Node, value: Any) -> bool:
    """Returns whether a value can replace its buffer unchanged; a copy would convert and expand it."""
    old, new = buffer.meta["val"], value.meta["val"]
    return bool(old.dtype == new.dtype and old.shape == new.shape and new.is_contiguous())


def _with_results(program: ExportedProgram, writes: Mapping[str, Node]) -> ExportedProgram:
    graph, inputs = program.graph, _order_inputs(program)
    names = [str(spec.target) for spec in inputs if spec.target in writes]
    values: list[Any] = [writes[name].args[1] for name in names]
    output = graph.output_node()
    output.args = ((*values, *output.args[0]),)
    for write in writes.values():
        graph.erase_node(write)
    graph.eliminate_dead_code()
    for (
        node
    ) in graph.nodes:  # ExecuTorch numbers nodes by their origin, which torch records when it traces a node again
        node.meta.setdefault("from_node", [NodeSource(node, written_back.__name__, NodeSourceAction.CREATE)])
    program.graph_module.recompile()
    written = [
        OutputSpec(OutputKind.BUFFER_MUTATION, TensorArgument(value.name), name)
        for name, value in zip(names, values, strict=True)
    ]
    return ExportedProgram(
        root=program.graph_module,
        graph=graph,
        graph_signature=ExportGraphSignature(inputs, [*written, *program.graph_signature.output_specs]),
        state_dict=program.state_dict,
        range_constraints=program.range_constraints,
        module_call_graph=program.module_call_graph,
        example_inputs=program.example_inputs,
        constants=program.constants,
    )


def _order_inputs(program: ExportedProgram) -> list[InputSpec]:
    """Moves the inputs' nodes into the order of the module's state, which affects the program; returns the inputs."""
    module = program.module(check_guards=False)
    named = (*module.named_parameters(remove_duplicate=False), *module.named_buffers(remove_duplicate=False))
    places = {name: place for place, (name, _) in enumerate(named)}
    nodes = program.graph.find_nodes(op="placeholder")
    pairs = zip(program.graph_signature.input_specs, nodes, strict=True)
    ordered = sorted(pairs, key=lambda pair: places.get(pair[0].target, len(places)))
    after = program.graph._root
    for _, node in ordered:
        after.append(node)
        after = node
    return [spec for spec, _ in ordered]
