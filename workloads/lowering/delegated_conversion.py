"""Lets XNNPACK convert between float32 and float16 (workloads.models.conversion).

XNNPACK has a node for conversions, which ExecuTorch's own partitioner uses for quantized types only.
"""

from __future__ import annotations

import torch.fx
from executorch.backends.xnnpack.operators.node_visitor import NodeVisitor, register_node_visitor
from executorch.backends.xnnpack.partition.config import ALL_PARTITIONER_CONFIGS
from executorch.backends.xnnpack.partition.config.generic_node_configs import GenericNodePartitionerConfig
from executorch.backends.xnnpack.partition.config.xnnpack_config import ConfigPrecisionType
from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
from executorch.backends.xnnpack.serialization.xnnpack_graph_schema import XNNConvert, XNNGraph, XNode
from executorch.backends.xnnpack.utils.utils import get_input_node

from workloads.models import conversion  # registers the operators  # noqa: F401


def partitioner() -> XnnpackPartitioner:
    """XNNPACK's partitioner, which here also puts conversions into delegates."""
    return XnnpackPartitioner(configs=[*ALL_PARTITIONER_CONFIGS, _ToHalfConfig, _ToSingleConfig])


class _ToHalfConfig(GenericNodePartitionerConfig):  # type: ignore[misc] # executorch has no types
    target_name = "to_half.default"

    def supported_precision_types(self) -> list[ConfigPrecisionType]:
        return [ConfigPrecisionType.FP32]


class _ToSingleConfig(_ToHalfConfig):
    target_name = "to_single.default"


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
