"""Runs in the exporting process, which `suite.preparing.exporting` starts.

    python -m suite.preparing.export_process ARTIFACTS LOG

It reads orders (a plan and the setting to export) from standard input and writes answers to standard output, one JSON
object per line. Lines of progress precede an answer that takes long. What the libraries print goes to LOG, and so does
the traceback of an error that the user can't fix, which ends the process.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import re
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from foundation.errors import UserError
from suite.planning.plan import Plan
from suite.preparing.exporting import Order
from suite.preparing.preparation import Inputs, load_inputs, workloads_of
from workloads.export.artifact import ArtifactCache
from workloads.reference.expected_losses import ReferenceLosses
from workloads.reference.losses import reference_losses

if TYPE_CHECKING:
    import torch


SECONDS_BETWEEN_LINES = 15.0
_LAYER = re.compile(r"model\.layers\.(\d+)\.")


def main(arguments: Sequence[str]) -> None:
    """Answers orders until there are no more, or the process that gives them is gone."""
    cache, log = ArtifactCache(Path(arguments[0])), Path(arguments[1])
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    output = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
    os.dup2(output, 1)
    os.dup2(output, 2)
    loaded = Loaded()
    for line in sys.stdin:
        try:
            order = Order.from_line(line)
            answer = _export(order, loaded.inputs_of(order.plan), cache, answers)
        except UserError as error:
            answer = {"user_error": str(error)}
        _write_answer(answers, answer)


class Loaded:
    """The inputs of the last plan, kept for its next setting. A plan with the same model reuses the weights."""

    def __init__(self) -> None:
        self._plan: Plan | None = None
        self._inputs: Inputs | None = None

    def inputs_of(self, plan: Plan) -> Inputs:
        """Returns the inputs of a plan. Raises the UserErrors of `load_inputs` every time."""
        if self._inputs is not None and self._plan == plan:
            return self._inputs
        weights = None
        if self._inputs is not None and self._plan is not None and _model_of(self._plan) == _model_of(plan):
            weights = self._inputs.weights
        # There may be no memory for two models, and a plan whose inputs fail must not get those of the last one.
        self._plan = self._inputs = None
        # The command that starts this process has reported all notes already.
        self._inputs = load_inputs(plan, lambda _note: None, weights=weights)
        self._plan = plan
        return self._inputs


def _model_of(plan: Plan) -> tuple[str, str | None]:
    return plan.model, plan.weights


def _export(order: Order, inputs: Inputs, cache: ArtifactCache, answers: TextIO) -> dict[str, Any]:
    """Exports what is missing. Returns the reference losses, or none if the order names no accumulation."""
    workload = next(item for item in workloads_of(order.plan, inputs.data) if item.quant == order.quant)
    progress = Progress(answers, f"{workload.model} {workload.quant}")
    weights = replace(
        inputs.weights, state=WatchedTensors(inputs.weights.state, inputs.weights.config.layers, progress)
    )
    artifact = cache.export(workload, weights)
    _give_memory_back()  # reference losses need it, here or in another process
    if order.accumulation is None:
        return asdict(ReferenceLosses(()))
    progress.begin(f"reference losses of {workload.model} {workload.quant}")
    found = reference_losses(
        artifact,
        workload,
        weights,
        inputs.data,
        order.plan.training(workload.setting),
        workload.reference_steps,
        lambda done: progress(f"{done:.0%}"),
        order.accumulation,
    )
    return asdict(found)


class Progress:
    """Writes a line of progress every SECONDS_BETWEEN_LINES."""

    def __init__(self, answers: TextIO, subject: str) -> None:
        self._answers = answers
        self.begin(subject)

    def begin(self, subject: str) -> None:
        """Starts reporting about `subject`."""
        self._subject, self._begin = subject, time.monotonic()
        self._last_report = self._begin

    def __call__(self, reached: str) -> None:
        now = time.monotonic()
        if now - self._last_report >= SECONDS_BETWEEN_LINES:
            self._last_report = now
            _write_answer(self._answers, {"progress": f"{self._subject}: {reached} after {now - self._begin:.0f} s"})


class WatchedTensors(Mapping[str, "torch.Tensor"]):
    """A model's tensors, which report the layer that is being read."""

    def __init__(self, tensors: Mapping[str, torch.Tensor], layers: int, progress: Progress) -> None:
        self._tensors, self._layers, self._progress = tensors, layers, progress

    def __getitem__(self, name: str) -> torch.Tensor:
        layer = _LAYER.match(name)
        if layer is not None:
            self._progress(f"layer {int(layer[1]) + 1} of {self._layers}")
        return self._tensors[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)


def _give_memory_back() -> None:
    """Frees half a gigabyte, as program graphs hold weights in reference cycles and glibc keeps freed memory."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _write_answer(answers: TextIO, document: Mapping[str, Any]) -> None:
    answers.write(json.dumps(document) + "\n")
    answers.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
