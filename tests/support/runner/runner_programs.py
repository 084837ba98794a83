"""Small programs for the runner, exported in a second each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

import workloads.methods.operators  # registers operators  # noqa: F401


class Accumulator(nn.Module):
    """`adapter += x * lr`; the losses are the adapter's sum and the two words of the key."""

    adapter: Tensor
    pending_key: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("adapter", torch.zeros(6))
        self.register_buffer("pending_key", torch.zeros(2, dtype=torch.int64))

    def forward(self, x: Tensor, key: Tensor, lr: Tensor) -> tuple[Tensor, Tensor]:
        """x float32 [6], key int64 [2], lr float32 [] -> float32 [3], int64 [2] (the key of the call before)."""
        previous = self.pending_key.clone()
        self.adapter.add_(x * lr)
        self.pending_key.copy_(key)
        losses = torch.cat([self.adapter.sum().reshape(1), key.to(torch.float32)])
        return losses, previous


class Quotient(nn.Module):
    """One over the input: infinite and undefined losses."""

    def forward(self, x: Tensor) -> Tensor:
        """x float32 [3] -> float32 [3]."""
        return x / torch.zeros(3)


class Perturbed(nn.Module):
    """The perturbation and the update as the runner's kernels compute them."""

    adapter: Tensor

    def __init__(
        self,
        values: int,
        offset: int,
        rank: int,
        features: list[int],
        queries: int,
        signs: int,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        self.register_buffer("adapter", torch.zeros(values))
        self.slice = (offset, rank, features, 0, queries, signs, dtype)

    def forward(self, key: Tensor, eps: Tensor, gradient: Tensor, lr: Tensor) -> Tensor:
        """key int64 [2], eps and lr float32 [], gradient float32 [queries] -> float32, all slots concatenated."""
        self.adapter.copy_(torch.ops.prge.update(self.adapter, gradient, key, lr))
        slots = torch.ops.prge.perturb(self.adapter, key, eps, self.adapter, *self.slice)
        return torch.cat([slot.reshape(-1).to(torch.float32) for slot in slots])


class Counters(nn.Module):
    """Buffers of 100 values, laid out in the order of `names`; each step adds to each its letter's number, a = 1."""

    def __init__(self, names: str) -> None:
        super().__init__()
        for name in names:
            self.register_buffer(name, torch.zeros(100))
        self.names = names

    def forward(self, tokens: Tensor, first: Tensor) -> Tensor:
        """tokens int64 [b, T], first int64 [b] -> float32 [buffers], a value of each in alphabetical order."""
        for name in self.names:
            self.get_buffer(name).add_(float(ord(name) - ord("a") + 1))
        nothing = 0.0 * (tokens.sum() + first.sum()).to(torch.float32)
        return torch.stack([self.get_buffer(name)[99] for name in sorted(self.names)]) + nothing


class Unknown(nn.Module):
    """Uses an operator that no runner has."""

    def forward(self, x: Tensor) -> Tensor:
        """x float32 [2] -> float32 [2]."""
        return torch.ops.runner_test.nowhere(x)  # type: ignore[no-any-return]


def register_unknown_operator() -> torch.library.Library:
    """Defines `runner_test::nowhere`, which exists for export only. Keep the result for as long as it is needed."""
    library = torch.library.Library("runner_test", "DEF")
    library.define("nowhere(Tensor x) -> Tensor")
    library.define("nowhere.out(Tensor x, *, Tensor(a!) out) -> Tensor(a!)")
    library.impl("nowhere", torch.clone, "CompositeExplicitAutograd")
    library.impl("nowhere", torch.empty_like, "Meta")
    return library


def export(module: nn.Module, example: Sequence[Tensor], path: Path, partitioner: object | None = None) -> Path:
    """Writes `module` as a program with its mutable buffers' names."""
    from executorch.exir import EdgeCompileConfig, ExecutorchBackendConfig, to_edge  # takes seconds

    module.requires_grad_(False)
    edge = to_edge(
        torch.export.export(module, tuple(example), strict=True),
        compile_config=EdgeCompileConfig(_check_ir_validity=False),
    )
    if partitioner is not None:
        edge = edge.to_backend(partitioner)
    program = edge.to_executorch(ExecutorchBackendConfig(emit_mutable_buffer_names=True))
    path.write_bytes(program.buffer)
    return path


class Embedded(nn.Module):
    """Rows of a table, twice, as float32."""

    def __init__(self, table: Tensor, scales: Sequence[Tensor], alone: bool) -> None:
        super().__init__()
        self.register_buffer("table", table)
        self.scales = [f"scale_{index}" for index in range(len(scales))]
        for name, scale in zip(self.scales, scales, strict=True):
            self.register_buffer(name, scale)
        self.alone = alone

    def forward(self, tokens: Tensor) -> Tensor:
        """tokens int64 [b, T] -> float32 [2, b * T, hidden]."""
        scales = [self.get_buffer(name) for name in self.scales]
        rows: Tensor = torch.ops.prge.embed(tokens, self.get_buffer("table"), scales, 2, self.alone)
        return rows.to(torch.float32)


class Answers(nn.Module):
    """From hidden states to losses and gradients, in two chunks, the second of them with one sign at a time."""

    def forward(self, x: Tensor, first: Tensor, labels: Tensor, weight: Tensor, eps: Tensor) -> Tensor:
        """x float32 [4, b * T, hidden]: + and - of a query, + of another, - of it -> float32, results concatenated."""
        operators, (rows, answers) = torch.ops.prge, labels.shape
        length = x.shape[1] // rows
        bias = operators.attention_bias(first, length, 2)
        parts = []
        for chunk in (x[:2], x[2:3], x[3:]):
            logits = operators.rms_norm(operators.answer_rows(chunk, length, answers), weight, 1e-5)
            parts.append(operators.answer_losses(logits, labels))
        row_losses = operators.collect_losses(parts, [0, 1, -1])
        losses = operators.mean_losses(row_losses, labels)
        results = (bias, row_losses, losses, operators.gradient(losses, eps))
        return torch.cat([result.reshape(-1).to(torch.float32) for result in results])
