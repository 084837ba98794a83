"""The operators of an artifact's program, instruction by instruction."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

from foundation.foreign_files import DAMAGED
from workloads.export.artifact import Artifact
from workloads.profile.delegate_graph import delegate_operators
from workloads.profile.kernels import Kernel, kernel_operators
from workloads.profile.operator import Constants, Group, Operator
from workloads.profile.program_file import DelegateCall, KernelCall, read_instructions


@dataclass(frozen=True)
class DelegateOperators:
    """A call of a delegate, as its nodes."""

    nodes: tuple[Operator, ...]


Called = Kernel | DelegateOperators


def operators_of(artifact: Artifact) -> list[Called]:
    """Returns what each instruction of the artifact's program does. Raises `ProgramUnreadable`."""
    constants = Constants({sha256: name for name, sha256 in _names(artifact)})
    found: list[Called] = []
    for instruction in read_instructions(artifact.program):
        if isinstance(instruction, KernelCall):
            found.append(kernel_operators(instruction, constants))
        elif isinstance(instruction, DelegateCall):
            found.append(DelegateOperators(tuple(delegate_operators(instruction.nodes, constants))))
        else:
            found.append(Kernel(Operator("move", Group.REST), {}))
    return found


def _names(artifact: Artifact) -> Iterator[tuple[str, str]]:
    """Yields name and digest of each constant of the artifact's data files, the same digest perhaps several times."""
    for file in artifact.data:
        for catalog in sorted(file.folder.glob("constants-*.json")):
            try:
                constants = json.loads(catalog.read_bytes())["constants"]
                yield from ((str(name), str(one["sha256"])) for name, one in constants.items())
            except (OSError, *DAMAGED):
                continue
