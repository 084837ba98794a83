"""Joins the times of a profiled session with the operators of its program.

The runner times each instruction by its number. An instruction that calls a delegate comes with the times of XNNPACK's
own operators, in whole microseconds, rounded down. One that calls a kernel of ours may come with the times of its
parts, summed over threads. Divided by the number of threads, they add up to the kernel's time, except for waiting
threads and what is not timed. The rest of an instruction, and the time between instructions, are rows of their own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from difflib import SequenceMatcher
from functools import lru_cache
from itertools import pairwise

from reports.model.profile import ProfileRow
from suite.errors import SuiteError
from suite.sessions.events import CallEvent, PartsEvent, StepEvent
from suite.sessions.record import SessionRecord
from workloads.profile.instructions import Called, DelegateOperators
from workloads.profile.operator import Group, Operator

_COUNTER = re.compile(r" #\d+$")
_KINDS = (
    ("batched product", "Batch Matrix Multiply"), ("product", "Fully Connected"), ("multiply", "Square"),
    ("multiply", "Multiply"), ("add", "Add"), ("reciprocal square root", "Reciprocal Square Root"),
    ("softmax", "Softmax"), ("sigmoid", "Sigmoid"), ("convert", "Convert"), ("reshape", "Static Reshape"),
    ("transpose", "Transpose"), ("slice", "Slice"), ("concatenate", "Copy"), ("concatenate", "Concat"),
)  # fmt: skip
"""Nodes of a delegate's graph, and the start of the names of the operators that XNNPACK makes of them."""
_CONVERSION = "convert"


@dataclass(frozen=True)
class ProfiledSteps:
    """The measured steps of a session, each kind in order, and the rows of the mean of `counted` profiled steps."""

    plain_ms: tuple[float, ...]
    profiled_ms: tuple[float, ...]
    counted: int
    rows: tuple[ProfileRow, ...]


def attribute(record: SessionRecord, called: Sequence[Called]) -> ProfiledSteps:
    """Returns the profile of a complete session. Raises SuiteError if the session has no profiled step."""
    steps = {step.index: step for step in record.measured_steps}
    calls = [event for event in record.profile if isinstance(event, CallEvent)]
    profiled = {call.step for call in calls} & set(steps)
    plain = [step for index, step in steps.items() if index not in profiled]
    if not profiled or not plain:
        raise SuiteError("The session has no steps with and without a profile: repeat the command.")
    threads = record.header.threads if record.header is not None else 1
    whole = [steps[index] for index in sorted(profiled)]
    counted = {step.index: step for step in middle_half(whole)}
    sums = _Sums(called, threads)
    for event in record.profile:
        if isinstance(event, PartsEvent):
            sums.name(event)
        elif event.step in counted:
            sums.add(event)
    rows = tuple(sums.rows(list(counted.values())))
    return ProfiledSteps(_latencies(plain), _latencies(whole), len(counted), rows)


def middle_half(steps: Sequence[StepEvent]) -> list[StepEvent]:
    """Returns the steps without the slowest and the fastest quarter, as one delayed step would distort their mean."""
    ordered = sorted(steps, key=lambda step: step.latency_ms)
    left_out = len(ordered) // 4
    return ordered[left_out : len(ordered) - left_out]


def _latencies(steps: Sequence[StepEvent]) -> tuple[float, ...]:
    return tuple(step.latency_ms for step in steps)


def match_nodes(names: Sequence[str], nodes: Sequence[Operator]) -> list[Operator | None]:
    """Returns the node of each operator that XNNPACK reports, or None if there is no node of its kind at its place.

    XNNPACK makes an operator of each node, in order, except for nodes that it fuses into others. Where the processor
    has no arithmetic in float16, it also removes conversions and adds others. So conversions are matched last, between
    operators whose nodes are known, and only where there are as many of them as nodes.
    """
    kinds = [_kind(name) for name in names]
    found: list[Operator | None] = [None] * len(names)
    anchors = [(-1, -1), *_match_others(kinds, [node.name for node in nodes]), (len(names), len(nodes))]
    for (before, first), (after, last) in pairwise(anchors):
        conversions = [place for place in range(before + 1, after) if kinds[place] == _CONVERSION]
        converted = [node for node in nodes[first + 1 : last] if node.name == _CONVERSION]
        if len(conversions) == len(converted):
            for place, node in zip(conversions, converted, strict=True):
                found[place] = node
    for place, index in anchors[1:-1]:
        found[place] = nodes[index]
    return found


def _match_others(kinds: Sequence[str], of_nodes: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Yields the places of each operator and its node, leaving out conversions."""
    places, indices = ([place for place, kind in enumerate(each) if kind != _CONVERSION] for each in (kinds, of_nodes))
    matcher = SequenceMatcher(
        None, [kinds[place] for place in places], [of_nodes[index] for index in indices], autojunk=False
    )
    for block in matcher.get_matching_blocks():
        yield from zip(places[block.a :][: block.size], indices[block.b :][: block.size], strict=True)


def _kind(name: str) -> str:
    return next((kind for kind, beginning in _KINDS if name.startswith(beginning)), "")


_Key = tuple[str, str, str, str, int | None]


@dataclass
class _Sum:
    ns: float = 0.0
    calls: int = 0
    flops: float | None = 0.0
    bytes: float | None = 0.0


class _Sums:
    """The times of all profiled steps, by operator."""

    def __init__(self, called: Sequence[Called], threads: int) -> None:
        self._called, self._threads = called, threads
        self._names: dict[int, tuple[str, ...]] = {}
        self._matches = lru_cache(maxsize=None)(match_nodes)
        self._sums: dict[_Key, _Sum] = {}
        self._in_calls_ns = 0

    def name(self, event: PartsEvent) -> None:
        self._names[event.instruction] = event.names

    def add(self, call: CallEvent) -> None:
        if call.instruction >= len(self._called):
            raise SuiteError(
                f"The runner reports instruction {call.instruction}, but the program has only "
                f"{len(self._called)}: export it again."
            )
        whole_ns = call.t1_ns - call.t0_ns
        self._in_calls_ns += whole_ns
        called, names = self._called[call.instruction], self._names.get(call.instruction, ())[: len(call.parts_ns)]
        if isinstance(called, DelegateOperators):
            left = self._add_delegate(called, names, call.parts_ns, whole_ns)
            self._count(Operator("in delegates", Group.NOT_ATTRIBUTED), "delegate", left)
        elif call.parts_ns:
            spent = [ns / self._threads for ns in call.parts_ns]
            for name, ns in zip(names, spent, strict=True):
                self._count(called.part(name), "kernel", ns)
            self._count(Operator(f"in {called.whole.name}", Group.NOT_ATTRIBUTED), "kernel", whole_ns - sum(spent))
        else:
            self._count(called.whole, "kernel", whole_ns)

    def _add_delegate(
        self, called: DelegateOperators, names: tuple[str, ...], spent: Sequence[int], whole_ns: int
    ) -> int:
        plain = tuple(_COUNTER.sub("", name) for name in names)
        for name, node, ns in zip(plain, self._matches(plain, called.nodes), spent, strict=True):
            unknown = Group.ROUND if _kind(name) == _CONVERSION else Group.REST
            self._count(replace(node, name=name) if node else Operator(name, unknown), "delegate", ns)
        return whole_ns - sum(spent)

    def _count(self, operator: Operator, place: str, ns: float) -> None:
        key = (str(operator.group), operator.part, operator.name, place, operator.layer)
        into = self._sums.setdefault(key, _Sum())
        into.ns += ns
        into.calls += 1
        into.flops = None if into.flops is None or operator.flops is None else into.flops + operator.flops
        into.bytes = None if into.bytes is None or operator.bytes is None else into.bytes + operator.bytes

    def rows(self, steps: Sequence[StepEvent]) -> Iterator[ProfileRow]:
        """Yields a row for each operator of the mean step, and one for the time between calls."""
        count = len(steps)
        between = sum(step.t1_ns - step.t0_ns for step in steps) - self._in_calls_ns
        self._count(Operator("between instructions", Group.NOT_ATTRIBUTED), "runtime", between)
        for (group, part, name, place, layer), found in self._sums.items():
            flops, size = (None if one is None else one / count for one in (found.flops, found.bytes))
            yield ProfileRow(group, part, name, place, layer, found.calls // count, found.ns / count / 1e6, flops, size)
