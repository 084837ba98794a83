"""Finds the purpose of an XNNPACK delegate's nodes by following its values.

A node's kind says little: a layer multiplies in its norms, its rotary positions and its gate. Where a value comes from
and how it is used distinguishes these, however the layer was traced.
"""

from __future__ import annotations

from collections.abc import Sequence

from workloads.profile.operator import SOFTMAX_FLOPS, Constants, Group, Operator
from workloads.profile.program_file import Node, TensorFact

_PRODUCTS = ("FullyConnected", "BatchMatrixMultiply")
_MOVES = ("StaticReshape", "StaticTranspose", "StaticSlice", "Copy", "Concatenate2", "Concatenate3", "Concatenate4")
_ELEMENTWISE = ("Add", "Multiply", "Sigmoid", "Subtract", "Divide", "Square", "ReciprocalSquareRoot", "Tanh", "Clamp")


def delegate_operators(nodes: Sequence[Node], constants: Constants) -> list[Operator]:
    """Returns an operator for each node, in their order."""
    return _Graph(nodes, constants).operators()


class _Graph:
    def __init__(self, nodes: Sequence[Node], constants: Constants) -> None:
        self._nodes, self._constants = nodes, constants
        self._maker = {node.output.place: index for index, node in enumerate(nodes)}
        self._users: dict[int, list[int]] = {}
        for index, node in enumerate(nodes):
            for value in dict.fromkeys(one.place for one in node.inputs):
                self._users.setdefault(value, []).append(index)
        self._found: dict[int, tuple[Group, str]] = {}
        layers = {place[0] for node in nodes for one in node.inputs if (place := constants.projection(one.key))}
        self._layer = layers.pop() if len(layers) == 1 else None

    def operators(self) -> list[Operator]:
        for step in (self._products, self._norms, self._attention, self._rotary, self._low_rank, self._gate):
            step()
        return [self._operator(index, node) for index, node in enumerate(self._nodes)]

    def _operator(self, index: int, node: Node) -> Operator:
        group, part = self._found.get(index) or self._other(node)
        size = sum(one.bytes for one in node.inputs) + node.output.bytes
        return Operator(_NAMES.get(node.kind, node.kind), group, part, self._layer, _flops(node), size)

    def _other(self, node: Node) -> tuple[Group, str]:
        """Returns the purpose of a node that belongs to nothing in particular."""
        if node.kind == "Convert":
            return Group.ROUND, node.output.dtype
        if self._layer is None:
            return Group.HEAD, ""
        if node.kind in _MOVES:
            return Group.ATTENTION, "arranging heads"
        if node.kind == "Add":
            vector = any(len(one.shape) == 1 for one in node.inputs)
            return (Group.REST, "bias") if vector else (Group.RESIDUAL, "")
        return Group.REST, ""

    def _mark(self, index: int, group: Group, part: str = "") -> None:
        self._found.setdefault(index, (group, part))

    def _products(self) -> None:
        for index, node in enumerate(self._nodes):
            if node.kind != "FullyConnected":
                continue
            weight = node.inputs[1]
            place = self._constants.projection(weight.key)
            if place is not None:
                self._mark(index, Group.LOW_RANK if self._constants.is_low_rank(weight.key) else Group.FROZEN, place[1])
            elif self._constants.is_table(weight.key):
                self._mark(index, Group.HEAD, "lm_head")
            elif any(self._is_batched_with_input(user) for user in self._users.get(node.output.place, [])):
                self._mark(index, Group.LOW_RANK)  # an A without a name, in a program that contains its own A

    def _is_batched_with_input(self, index: int) -> bool:
        node = self._nodes[index]
        return node.kind == "BatchMatrixMultiply" and node.inputs[1].external

    def _norms(self) -> None:
        """Marks each norm: around the product with a row of 1 / n, which is its mean."""
        for index, node in enumerate(self._nodes):
            if node.kind != "FullyConnected" or index in self._found or node.output.shape[-1] != 1:
                continue
            self._mark(index, Group.NORM)
            square = self._maker.get(node.inputs[0].place)
            if square is not None:
                self._mark(square, Group.NORM)
            # + epsilon, rsqrt, times x, and times the norm's own weight.
            value = node.output
            for _ in range(4):
                user = self._only_user(value)
                if user is None or self._nodes[user].kind not in _ELEMENTWISE:
                    break
                self._mark(user, Group.NORM)
                value = self._nodes[user].output

    def _attention(self) -> None:
        for index, node in enumerate(self._nodes):
            if node.kind != "Softmax":
                continue
            self._mark(index, Group.ATTENTION, "softmax")
            for before in self._before(node.inputs[0], ("Add", "StaticReshape", "Convert")):
                if self._nodes[before].kind == "Add":
                    self._mark(before, Group.ATTENTION, "mask")
                elif self._nodes[before].kind == "BatchMatrixMultiply":
                    self._mark(before, Group.ATTENTION, "scores")
            for after in self._after(node.output, ("StaticReshape", "Convert")):
                if self._nodes[after].kind == "BatchMatrixMultiply":
                    self._mark(after, Group.ATTENTION, "mix")

    def _rotary(self) -> None:
        """Marks products with the tables [T, 1, head_dim], their sum, and the halves that were swapped."""
        for index, node in enumerate(self._nodes):
            tables = [one for one in node.inputs if len(one.shape) == 3 and one.shape[1] == 1 and one.external]
            if node.kind != "Multiply" or not tables:
                continue
            self._mark(index, Group.ROTARY)
            user = self._only_user(node.output)
            if user is not None:
                self._mark(user, Group.ROTARY)
            for before in self._before(node.inputs[0], ("Concatenate2", "StaticSlice")):
                if self._nodes[before].kind in ("Concatenate2", "StaticSlice"):
                    self._mark(before, Group.ROTARY)

    def _low_rank(self) -> None:
        """Marks the second product of an adapter, anything in between, and the sum with the frozen product."""
        for index in [index for index, (group, _) in self._found.items() if group is Group.LOW_RANK]:
            part = self._found[index][1]
            for after in self._after(self._nodes[index].output, ("Convert", "BatchMatrixMultiply")):
                if self._nodes[after].kind in ("BatchMatrixMultiply", "Add"):
                    self._mark(after, Group.LOW_RANK, part)

    def _gate(self) -> None:
        """Marks the nodes between the products with gate and up and the product with down."""
        for index, (group, part) in list(self._found.items()):
            if group is Group.FROZEN and part == "down_proj":
                for before in self._before(self._nodes[index].inputs[0], (*_ELEMENTWISE, "Convert")):
                    if self._nodes[before].kind in _ELEMENTWISE:
                        self._mark(before, Group.GATE)

    def _only_user(self, value: TensorFact) -> int | None:
        users = self._users.get(value.place, [])
        return users[0] if len(users) == 1 else None

    def _before(self, value: TensorFact, through: Sequence[str]) -> list[int]:
        """Returns the nodes that a value comes from, up to the first on each path that is not of a kind in `through`,
        or is already marked.
        """
        index = self._maker.get(value.place)
        if index is None:
            return []
        found = [index]
        if self._nodes[index].kind in through and index not in self._found:
            found += [one for each in self._nodes[index].inputs for one in self._before(each, through)]
        return found

    def _after(self, value: TensorFact, through: Sequence[str]) -> list[int]:
        """Returns the nodes that use a value, directly or through nodes of a kind in `through`."""
        found = []
        for index in self._users.get(value.place, []):
            found.append(index)
            if self._nodes[index].kind in through:
                found += self._after(self._nodes[index].output, through)
        return found


_NAMES = {
    "FullyConnected": "product", "BatchMatrixMultiply": "batched product", "Multiply": "multiply", "Add": "add",
    "Convert": "convert", "Softmax": "softmax", "Sigmoid": "sigmoid", "ReciprocalSquareRoot": "reciprocal square root",
    "StaticReshape": "reshape", "StaticTranspose": "transpose", "StaticSlice": "slice", "Concatenate2": "concatenate",
}  # fmt: skip


def _flops(node: Node) -> float:
    """Returns the operations of a node (`operator.py` defines what counts)."""
    if node.kind in _PRODUCTS:
        return 2.0 * node.output.count * node.inputs[0].shape[-1]
    if node.kind == "Softmax":
        return float(SOFTMAX_FLOPS * node.output.count)
    return float(node.output.count) if node.kind in (*_ELEMENTWISE, "Convert") else 0.0
