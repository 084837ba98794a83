"""Lowers a model part by part: one part becomes one XNNPACK delegate, and similar parts share the work.

Passing a whole model to the partitioner takes minutes, as every pass walks and copies all layers, and lets the
partitioner decide where to cut the graph. Here a part is traced and lowered once; a similar part (the next decoder
layer) differs only in its constants, so that only their serialization is repeated. A small program around the parts
calls them.

Conversions between float32 and float16 (workloads.models.conversion) go into delegates too: XNNPACK has a node for
them, which ExecuTorch's own partitioner uses only for quantized types.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.fx
from executorch.backends.xnnpack.operators.node_visitor import NodeVisitor, register_node_visitor
from executorch.backends.xnnpack.partition.config import ALL_PARTITIONER_CONFIGS
from executorch.backends.xnnpack.partition.config.generic_node_configs import GenericNodePartitionerConfig
from executorch.backends.xnnpack.partition.config.xnnpack_config import ConfigPrecisionType
from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
from executorch.backends.xnnpack.serialization.xnnpack_graph_schema import (
    XNNConvert,
    XNNFullyConnected,
    XNNGraph,
    XNode,
)
from executorch.backends.xnnpack.utils.utils import get_input_node
from executorch.backends.xnnpack.utils.xnnpack_constants import XNN_FLAG_TRANSPOSE_WEIGHTS, XNN_INVALID_VALUE_ID
from executorch.backends.xnnpack.xnnpack_preprocess import XnnpackBackend
from executorch.exir import EdgeCompileConfig, to_edge
from executorch.exir._serialize._named_data_store import NamedDataStore
from executorch.exir.backend.backend_details import PreprocessResult
from executorch.exir.backend.partitioner import PartitionResult
from executorch.exir.lowered_backend_module import LoweredBackendModule
from torch import Tensor, nn
from torch.export import ExportedProgram, export
from torch.export.graph_signature import InputKind

from workloads.lowering.flat_tensor import constant_bytes
from workloads.lowering.quick_tracing import quick_tracing
from workloads.lowering.stored_constants import StoredConstants
from workloads.models import conversion  # registers the operators  # noqa: F401
from workloads.quantize.int4_groups import written_constants


class NotDelegatedError(RuntimeError):
    """A part did not become exactly one delegate."""


@dataclass(frozen=True)
class _Argument:
    """One argument of the delegate: an input of the part by position, or a constant of the part by name."""

    position: int | None
    constant: str | None


class DelegatedPart(nn.Module):
    """A lowered part, called like the part itself; the delegate's constant arguments are its buffers."""

    def __init__(
        self,
        lowered: LoweredBackendModule,
        arguments: Sequence[_Argument],
        results: Sequence[int],
        constants: Mapping[str, Tensor],
    ) -> None:
        super().__init__()
        self.lowered = lowered
        self._arguments = tuple(arguments)
        self._results = tuple(results)
        for argument in self._arguments:
            if argument.constant is not None:
                self.register_buffer(_buffer_name(argument.constant), constants[argument.constant].detach())

    def forward(self, *inputs: Tensor) -> Tensor | tuple[Tensor, ...]:
        found = self.lowered(*(self._value(argument, inputs) for argument in self._arguments))
        results = tuple(found[index] for index in self._results)
        return results[0] if len(results) == 1 else results

    def _value(self, argument: _Argument, inputs: Sequence[Tensor]) -> Tensor:
        if argument.position is not None:
            return inputs[argument.position]
        return self.get_buffer(_buffer_name(str(argument.constant)))


def _buffer_name(constant: str) -> str:
    return constant.replace(".", "__")


@quick_tracing()
def delegate(
    parts: Sequence[nn.Module],
    example: tuple[Tensor, ...],
    stored: StoredConstants | None = None,
    weights_vary: bool = False,
) -> list[DelegatedPart]:
    """Lowers `parts`, alike in all but their constants, to one XNNPACK delegate each.

    The parts are requested one after the other and not kept. Constants in `stored` are referred to by their digests;
    the program keeps the others. `weights_vary`: the weights of products are among the inputs. Raises
    NotDelegatedError, naming the operators, if any operators of the part stay outside the delegate.
    """
    first_part = parts[0]
    _own_storages(first_part)
    exported = export(first_part, example, strict=False)
    # to_edge_transform_and_lower would decompose three times, as it decomposes operators that a delegate doesn't
    # support; here such a part is refused anyway.
    partitioner = _Partitioner(weights_vary)
    kept, _ = partitioner.ops_to_not_decompose(exported)
    config = EdgeCompileConfig(preserve_ops=kept, _check_ir_validity=False, _skip_dim_order=True)
    edge = to_edge(exported, compile_config=config).to_backend(partitioner).exported_program()
    lowered, arguments, results = _only_delegate(edge)
    shapes = _shapes_only(edge)
    template = _Template(
        lowered, _constants(first_part, edge) | written_constants(first_part), stored or StoredConstants()
    )
    delegated = []
    for part in parts:
        _own_storages(part)
        constants = _constants(part, edge)
        processed = template.with_constants(constants, constants | written_constants(part))
        sibling = LoweredBackendModule(
            shapes, lowered.backend_id, processed.processed_bytes, lowered.compile_specs, processed.data_store_output
        )
        delegated.append(DelegatedPart(sibling, arguments, results, constants))
    return delegated


def _own_storages(part: nn.Module) -> None:
    """Copies constants that are views of larger storages, as XNNPACK's serializer writes whole storages."""
    for value in (*part.parameters(), *part.buffers()):
        if value.untyped_storage().nbytes() != value.numel() * value.element_size():
            value.data = value.detach().clone(memory_format=torch.contiguous_format)


def _only_delegate(edge: ExportedProgram) -> tuple[LoweredBackendModule, list[_Argument], list[int]]:
    """Returns the only delegate of `edge`, the sources of its arguments, and the order of its results."""
    calls = [node for node in edge.graph.nodes if node.op == "call_function"]
    names = [str(getattr(node.target, "__name__", node.target)) for node in calls]
    if names[0] != "executorch_call_delegate" or set(names[1:]) != {"getitem"}:
        raise NotDelegatedError(f"Expected one delegate, but the lowered part calls {', '.join(names)}.")
    inputs: dict[str, _Argument] = {}
    position = 0
    for spec in edge.graph_signature.input_specs:
        if spec.kind == InputKind.USER_INPUT:
            inputs[spec.arg.name] = _Argument(position, None)
            position += 1
        else:
            inputs[spec.arg.name] = _Argument(None, str(spec.target))
    call = calls[names.index("executorch_call_delegate")]
    lowered = getattr(edge.graph_module, call.args[0].target)
    results = [getitem.args[1] for getitem in edge.graph.output_node().args[0]]
    return lowered, [inputs[argument.name] for argument in call.args[1:]], results


def _shapes_only(edge: ExportedProgram) -> ExportedProgram:
    """Returns a program with the delegate's arguments and results but no work, for passes that only need shapes.

    They trace a delegate's original program repeatedly; with the real program, that took most of the export.
    """
    call = next(node for node in edge.graph.nodes if "executorch_call_delegate" in str(node.target))
    inputs = tuple(torch.empty(n.meta["val"].shape, dtype=n.meta["val"].dtype) for n in call.args[1:])
    results = [(tuple(result.shape), result.dtype) for result in call.meta["val"]]

    class Shapes(nn.Module):
        def forward(self, *arguments: Tensor) -> tuple[Tensor, ...]:
            del arguments
            return tuple(torch.full(size, 0.0, dtype=dtype) for size, dtype in results)

    shapes = export(Shapes(), inputs, strict=False)
    # Every trace of a call requests the module again, and making it costs more than the rest of a pass.
    traced = shapes.module()
    shapes.__dict__["module"] = lambda: traced
    return shapes


def _constants(part: nn.Module, edge: ExportedProgram) -> dict[str, Tensor]:
    """Returns the parameters and buffers of `part` by name, with the constants created by tracing."""
    lifted = {name: value for name, value in edge.constants.items() if isinstance(value, Tensor)}
    return lifted | dict(part.named_parameters()) | dict(part.named_buffers())


_DIGEST = re.compile(rb"[0-9a-f]{64}")


class _Template:
    """A serialized delegate whose constants can be exchanged.

    XNNPACK's serializer names each constant by the sha256 of its bytes and stores the bytes separately, so that other
    constants are just other names of the same length. If that is not the case, the part is serialized again.
    """

    def __init__(self, lowered: LoweredBackendModule, constants: Mapping[str, Tensor], stored: StoredConstants) -> None:
        self._lowered, self._stored = lowered, stored
        self._names: dict[str, list[str]] = {}
        for name, value in constants.items():
            self._names.setdefault(stored.sha256_of(value), []).append(name)
        store = lowered.named_data_store_output
        self._entries = {} if store is None else store.pte_data
        self._rekeyable = all(key[-64:] in self._names for key in self._entries)

    def with_constants(self, constants: Mapping[str, Tensor], written: Mapping[str, Tensor]) -> PreprocessResult:
        """Returns the delegate around `constants`, which have the names and shapes of the template's.

        `written`: the same in the form that the serializer writes.
        """
        renamed: dict[bytes, bytes] = {}
        store = NamedDataStore()
        for key, entry in self._entries.items():
            names = self._names.get(key[-64:], [])
            digests = {self._stored.sha256_of(written[name]) for name in names}
            if not self._rekeyable or len(digests) != 1:
                return self._serialized_anew(constants)
            (digest,) = digests
            renamed[key[-64:].encode()] = digest.encode()
            if not self._stored.hold(key[:-64] + digest):  # scales of 8 and 4 bits have a prefix, and stay here
                store.add_named_data(key[:-64] + digest, bytes(constant_bytes(written[names[0]])), entry.alignment)
        processed = _DIGEST.sub(lambda found: renamed.get(found[0], found[0]), self._lowered.processed_bytes)
        return PreprocessResult(processed, debug_handle_map={}, data_store_output=store.get_named_data_store_output())

    def _serialized_anew(self, constants: Mapping[str, Tensor]) -> PreprocessResult:
        traced = self._lowered.original_module
        program = ExportedProgram(
            root=traced.graph_module,
            graph=traced.graph,
            graph_signature=traced.graph_signature,
            state_dict={name: constants.get(name, value) for name, value in traced.state_dict.items()},
            range_constraints=traced.range_constraints,
            module_call_graph=traced.module_call_graph,
            example_inputs=traced.example_inputs,
            constants={name: constants.get(name, value) for name, value in traced.constants.items()},
            verifiers=[traced.verifier],
        )
        result: PreprocessResult = XnnpackBackend.preprocess(program, self._lowered.compile_specs)
        found = result.data_store_output
        if found is not None:  # the runtime refuses a key that is in both program and data file
            kept = {key: entry for key, entry in found.pte_data.items() if not self._stored.hold(key)}
            result.data_store_output = dataclasses.replace(found, pte_data=kept)
        return result


class _Partitioner(XnnpackPartitioner):  # type: ignore[misc] # executorch has no types
    """XNNPACK's partitioner, extended to put our own operators into delegates too."""

    def __init__(self, weights_vary: bool) -> None:
        super().__init__(
            configs=[*ALL_PARTITIONER_CONFIGS, _ToHalfConfig, _ToSingleConfig, _UntransposedConfig],
            force_non_static_weights_for_f32_linear=weights_vary,
        )

    def partition(self, exported_program: ExportedProgram) -> PartitionResult:
        """Tags what goes into delegates, without the base class's warning against `to_backend`.

        The warning is for programs whose operators were already decomposed; `delegate` keeps those that XNNPACK
        supports.
        """
        return super(XnnpackPartitioner, self).partition(exported_program)


class _ToHalfConfig(GenericNodePartitionerConfig):  # type: ignore[misc] # executorch has no types
    target_name = "to_half.default"

    def supported_precision_types(self) -> list[ConfigPrecisionType]:
        return [ConfigPrecisionType.FP32]


class _ToSingleConfig(_ToHalfConfig):
    target_name = "to_single.default"


class _UntransposedConfig(_ToHalfConfig):
    target_name = "times_untransposed.default"


class _Conversion(NodeVisitor):  # type: ignore[misc] # executorch has no types
    def define_node(
        self, node: torch.fx.Node, xnn_graph: XNNGraph, vals_to_ids: dict[torch.fx.Node, int], debug_handle: int
    ) -> None:
        """Appends the node; the types are those of its input and output."""
        self.define_nodes_tensor_inputs_outputs(node, xnn_graph, vals_to_ids)
        convert = XNNConvert(input_id=vals_to_ids[get_input_node(node, 0)], output_id=vals_to_ids[node], flags=0)
        xnn_graph.xnodes.append(XNode(xnode_union=convert, debug_handle=debug_handle))


@register_node_visitor
class _ToHalf(_Conversion):
    target = "prge.to_half.default"


@register_node_visitor
class _ToSingle(_Conversion):
    target = "prge.to_single.default"


@register_node_visitor
class _Untransposed(NodeVisitor):  # type: ignore[misc] # executorch has no types
    target = "prge.times_untransposed.default"

    def define_node(
        self, node: torch.fx.Node, xnn_graph: XNNGraph, vals_to_ids: dict[torch.fx.Node, int], debug_handle: int
    ) -> None:
        """Appends the node: a product whose weight, an input of the delegate, is not transposed."""
        self.define_nodes_tensor_inputs_outputs(node, xnn_graph, vals_to_ids)
        product = XNNFullyConnected(
            input1_id=vals_to_ids[get_input_node(node, 0)],
            filter_id=vals_to_ids[get_input_node(node, 1)],
            bias_id=XNN_INVALID_VALUE_ID,
            output_id=vals_to_ids[node],
            flags=XNN_FLAG_TRANSPOSE_WEIGHTS,
        )
        xnn_graph.xnodes.append(XNode(xnode_union=product, debug_handle=debug_handle))
