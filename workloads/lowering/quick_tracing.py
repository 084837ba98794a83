"""Skips work that torch and executorch repeat while lowering, or that none of our models needs.

Each of their passes walks a graph operator by operator and traces it again, whether it found something to do or not, so
the time of an export is proportional to the number of passes. Nothing that is skipped affects the program. If a release
lacks a name that is replaced here, it simply does all of its work.
"""

from __future__ import annotations

import builtins
import contextlib
import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from unittest import mock

import torch
import torch._export.utils
import torch.fx.traceback
from executorch.backends.xnnpack import _passes
from executorch.backends.xnnpack.partition.graphs import bilinear_2d, sdpa
from executorch.exir.passes import replace_aten_with_edge_pass
from executorch.exir.passes.dim_order_ops_registry import DimOrderOpsMap, MemoryFormatOpsMap
from executorch.exir.passes.legalize_portable_dim_order_pass import LegalizePortableDimOrderPass
from torch.export import ExportedProgram
from torch.fx import GraphModule, Node
from torch.fx.passes.infra.pass_base import PassBase, PassResult

from workloads.lowering.written_back import written_back


def _calls(*operators: str) -> Callable[[Node], bool]:
    """Returns a function that checks whether a node calls one of `operators`, in any overload."""

    def calls(node: Node) -> bool:
        name = str(getattr(node.target, "__name__", node.target))
        return node.op == "call_function" and name.rpartition(".")[0].rpartition(".")[2] in operators

    return calls


def _is_view(node: Node) -> bool:
    return bool(getattr(node.target, "is_view", False))


def _is_symbol(node: Node) -> bool:
    return isinstance(node.meta.get("val"), torch.SymInt | torch.SymFloat | torch.SymBool)


def _is_constant(node: Node) -> bool:
    return node.op == "call_function" and all(each.op == "get_attr" for each in node.all_input_nodes)


def _makes_view(node: Node) -> bool:
    arguments = getattr(getattr(node.target, "_schema", None), "arguments", ())
    alias = arguments[0].alias_info if arguments else None
    return (alias is not None and not alias.is_write) or _calls("_unsafe_view")(node)


def _has_number_for_tensor(node: Node) -> bool:
    arguments = getattr(getattr(node.target, "_schema", None), "arguments", ())
    given = dict(zip((one.name for one in arguments), node.args, strict=False)) | dict(node.kwargs)
    return any(
        isinstance(one.type, torch.TensorType) and isinstance(given.get(one.name), float | int | bool)
        for one in arguments
    )


_BATCH_NORM = _calls("native_batch_norm", "_native_batch_norm_legit_no_training")

_WORK: Mapping[str, Callable[[Node], bool]] = {
    "NormalizeTransposePass": _calls("t"),
    "ReplaceBrokenOpsWithFunctionalOpsPass": _is_view,
    "SymToTensorPass": _is_symbol,
    "ConvertToUpsampleBilinear2d": lambda _: False,  # looks for a pattern that quick_tracing removes
    "ConvertToSDPAPass": lambda _: False,  # the same
    "ConvertToLinearPass": _calls("mm", "addmm"),  # linear products, where they were decomposed
    "PropagateCustomMetaPass": lambda node: "custom" in node.meta,
    "ConstPropPass": _is_constant,
    "FuseBatchNormPass": _BATCH_NORM,
    "DecomposeBatchNorm": _BATCH_NORM,
    "FuseActivationPass": _calls("relu", "hardtanh"),
    "DecomposeConcatenate": lambda node: _calls("cat")(node) and len(node.args[0]) > 5,  # type: ignore[arg-type]
    "RemoveGetItemPass": _calls("max", "max_pool2d_with_indices"),
    "InsertPadQDQPass": _calls("constant_pad_nd"),
    "Conv1dUnsqueezePass": _calls("convolution"),
    "PReLUReshapePass": _calls("_prelu_kernel"),
    "RemoveRedundantCopyPass": _calls("_to_copy"),
    "ReplaceViewOpsWithViewCopyOpsPass": _makes_view,
    "ScalarToTensorPass": _has_number_for_tensor,
    "RemoveMixedTypeOperators": _calls("add", "mul", "sub", "div", "minimum"),
    "MemoryFormatOpsPass": lambda node: node.target in DimOrderOpsMap,
    "DimOrderOpsRevertPass": lambda node: node.target in MemoryFormatOpsMap,
    "LegalizePortableDimOrderPass": lambda node: node.target in LegalizePortableDimOrderPass._target_ops,
}
"""The nodes that passes of ExecuTorch and XNNPACK look for, by pass."""


def _is_idle(one: PassBase, module: GraphModule) -> bool:
    """Returns whether a pass would leave the graph, as previous passes left it, unchanged.

    Passes also process branches and loops of a graph, so none counts as idle if there are any.
    """
    finds = _WORK.get(type(one).__name__)
    if finds is None or any(isinstance(each, GraphModule) for each in module.children()):
        return False
    return not any(finds(node) for node in module.graph.nodes)


def _transform_unless_idle(transform: Callable[..., ExportedProgram]) -> Callable[..., ExportedProgram]:
    """Wraps the function that runs XNNPACK's passes, around each of which the whole program is checked twice."""

    def transform_unless_idle(program: ExportedProgram, one: PassBase) -> ExportedProgram:
        return program if _is_idle(one, program.graph_module) else transform(program, one)

    return transform_unless_idle


def _run_unless_idle(run: Callable[[PassBase, GraphModule], PassResult | None]) -> Callable[..., PassResult | None]:
    """Wraps the function that runs any pass."""

    def run_unless_idle(one: PassBase, module: GraphModule) -> PassResult | None:
        return PassResult(module, modified=False) if _is_idle(one, module) else run(one, module)

    return run_unless_idle


def _renamed_in_place(trace: Callable[..., PassResult]) -> Callable[[PassBase, GraphModule], PassResult]:
    """Wraps the pass that gives operators ExecuTorch's names, for which it traces the graph again.

    It still traces if an input has the name of a Python builtin, such as `input`: tracing renames it, as must happen
    once.
    """

    def rename_in_place(one: PassBase, module: GraphModule) -> PassResult:
        if any(hasattr(builtins, node.name) for node in module.graph.find_nodes(op="placeholder")):
            return trace(one, module)
        for graph in (each.graph for each in module.modules() if isinstance(each, GraphModule)):
            for node in graph.nodes:
                if node.op == "call_function" and replace_aten_with_edge_pass.should_lower_to_edge(node.target):
                    node.target = replace_aten_with_edge_pass.aten_to_edge(node.target)
        module.recompile()
        return PassResult(module, modified=True)

    return rename_in_place


def _decomposed_unless_done(decompose: Callable[..., ExportedProgram]) -> Callable[..., ExportedProgram]:
    def decompose_unless_done(program: ExportedProgram, table: Mapping[Any, Any]) -> ExportedProgram:
        return written_back(program, table) or decompose(program, table)

    return decompose_unless_done


@contextlib.contextmanager
def quick_tracing() -> Iterator[None]:
    """Skips needless work within the block.

    Operators must be registered before: torch asks its dispatcher for all composite ones at each of a thousand
    decompositions, as one may have been added meanwhile. XNNPACK traces two patterns to look for in each part: image
    enlargement, and an attention with a matrix as its mask (ours has a mask for each text, and is delegated unchanged).
    A node created by a pass gets a copy of its predecessor's record of origin, including all earlier predecessors;
    nothing changes such a record, so it can be shared.
    """
    replacements: list[tuple[object, str, Callable[[Any], object]]] = [
        (torch._export.utils, "_materialize_cpp_cia_ops", functools.cache),
        (bilinear_2d, "get_graphs_dict", lambda _: dict),
        (sdpa, "get_graphs", lambda _: list),
        (_passes, "_transform", _transform_unless_idle),
        (PassBase, "__call__", _run_unless_idle),
        (replace_aten_with_edge_pass.OpReplacePass, "call", _renamed_in_place),
        (ExportedProgram, "run_decompositions", _decomposed_unless_done),
    ]
    record = getattr(torch.fx.traceback, "NodeSource", None)
    with contextlib.ExitStack() as stack:
        for owner, name, replaced in replacements:
            if hasattr(owner, name):
                stack.enter_context(mock.patch.object(owner, name, replaced(getattr(owner, name))))
        if record is not None:
            stack.enter_context(mock.patch.object(record, "__deepcopy__", lambda self, _: self, create=True))
        yield
