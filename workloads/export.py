"""Export a workload: a training step becomes one ExecuTorch program file."""

from __future__ import annotations

import time
import warnings
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from executorch.exir import EdgeCompileConfig, ExecutorchBackendConfig, ExecutorchProgramManager, to_edge
from executorch.exir.passes import MemoryPlanningPass
from torch import Tensor
from torch.export import export

from workloads.models.config import LlamaConfig
from workloads.prge.adapter import adapter_values
from workloads.program import delegated_parts, eager_parts, step_example, training_step
from workloads.workload import Workload


@dataclass(frozen=True)
class ProgramFacts:
    """What is known of a program right after its export."""

    export_seconds: float
    partitions: int
    operators: Mapping[str, int]
    weight_bytes: int
    program_bytes: int
    adapter_values: int


def export_program(workload: Workload, config: LlamaConfig, state: Mapping[str, Tensor], path: Path) -> ProgramFacts:
    """Write the program of `workload` to `path`.

    Raises NotDelegatedError when a part of the model does not lower to one delegate.
    """
    begin = time.monotonic()
    with warnings.catch_warnings():
        # Deprecations inside torch and executorch, which nobody who runs an export can act on.
        warnings.simplefilter("ignore")
        parts = eager_parts(workload, config, state)
        weight_bytes = _weight_bytes(parts.embedding, *parts.blocks, parts.head)
        step = training_step(workload, delegated_parts(workload, parts))
        edge = to_edge(
            export(step, step_example(workload), strict=False),
            # The program calls operators of our own, which the check for core operators does not know.
            compile_config=EdgeCompileConfig(_check_ir_validity=False),
        )
        program = edge.to_executorch(
            ExecutorchBackendConfig(
                emit_mutable_buffer_names=True,  # the runner reads the adapter out by name
                memory_planning_pass=MemoryPlanningPass(alloc_graph_input=False),
            )
        )
    with path.open("wb") as file:
        program.write_to_file(file)
    operators = _operators(program)
    return ProgramFacts(
        export_seconds=time.monotonic() - begin,
        partitions=operators.pop("executorch_call_delegate", 0),
        operators=dict(operators.most_common()),
        weight_bytes=weight_bytes,
        program_bytes=path.stat().st_size,
        adapter_values=adapter_values(parts.layout),
    )


def _operators(program: ExecutorchProgramManager) -> Counter[str]:
    """How often the program calls each operator outside of its delegates; memory bookkeeping is not counted."""
    calls = (node.target for node in program.exported_program().graph.nodes if node.op == "call_function")
    names = Counter(str(getattr(target, "__name__", target)) for target in calls)
    for bookkeeping in ("alloc", "getitem", "view"):
        names.pop(bookkeeping, None)
    return names


def _weight_bytes(*modules: object) -> int:
    """Bytes of all constants of the model as the setting stores them, a shared tensor counted once."""
    seen: dict[int, int] = {}
    for module in modules:
        for tensor in (*module.parameters(), *module.buffers()):  # type: ignore[attr-defined]
            seen[tensor.data_ptr()] = tensor.numel() * tensor.element_size()
    return sum(seen.values())
