"""Export a workload: a training step becomes one ExecuTorch program file."""

from __future__ import annotations

import time
import warnings
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from executorch.exir import EdgeCompileConfig, ExecutorchBackendConfig, ExecutorchProgramManager, to_edge
from torch import Tensor, nn
from torch.export import export

from workloads.adapter_layout import adapter_values
from workloads.constant_files import ConstantFiles
from workloads.models.config import LlamaConfig
from workloads.program import delegated_parts, eager_parts, step_example, training_step
from workloads.program_memory import InPlacePlanning, serialize_sharing_delegates
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
    with warnings.catch_warnings(), TemporaryDirectory(prefix="constants-", dir=path.parent) as folder:
        # Deprecations inside torch and executorch, which nobody who runs an export can act on.
        warnings.simplefilter("ignore")
        parts, files = eager_parts(workload, config, state), ConstantFiles(Path(folder))
        layers = len(parts.blocks) * _weight_bytes(parts.blocks[0])  # all are alike
        weight_bytes = _weight_bytes(parts.embedding, parts.head) + layers
        step = training_step(workload, delegated_parts(workload, parts, files))
        edge = to_edge(
            export(step, step_example(workload), strict=False),
            # The program calls operators of our own, which the check for core operators does not know.
            compile_config=EdgeCompileConfig(_check_ir_validity=False),
        )
        backend = ExecutorchBackendConfig(
            emit_mutable_buffer_names=True,  # the runner reads the adapter out by name
            memory_planning_pass=InPlacePlanning(),
        )
        with files.emitted():
            program = edge.to_executorch(backend)
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
    )


def _operators(program: ExecutorchProgramManager) -> Counter[str]:
    """How often the program calls each operator outside of its delegates; memory bookkeeping is not counted."""
    calls = (node.target for node in program.exported_program().graph.nodes if node.op == "call_function")
    names = Counter(str(getattr(target, "__name__", target)) for target in calls)
    for bookkeeping in ("alloc", "getitem", "view", "executorch_call_delegate"):
        names.pop(bookkeeping, None)
    return names


def _weight_bytes(*modules: nn.Module) -> int:
    """Bytes of the weights as the setting stores them, a shared tensor counted once.

    Tables and constants that follow from the configuration are no weights: they are buffers outside the state dict.
    """
    tensors = [tensor for module in modules for tensor in module.state_dict().values()]
    return sum({tensor.data_ptr(): tensor.numel() * tensor.element_size() for tensor in tensors}.values())
