"""The exporting process, started by `suite.preparing.exporting`.

    python -m suite.preparing.export_process ARTIFACTS LOG

It reads orders from its standard input, a plan and the setting to export, and writes answers to its standard output,
one JSON object a line, with lines of progress before an answer that takes its time. Whatever the libraries print goes
to LOG, and so does the traceback of an error that is not the user's to mend, which ends it.
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
from suite.preparing.preparation import Inputs, load_inputs, workloads_of
from workloads.export.artifact import ArtifactCache
from workloads.lowering.arithmetic_probe import Accumulation
from workloads.reference.expected_losses import ReferenceLosses
from workloads.reference.losses import reference_losses

if TYPE_CHECKING:
    import torch


SECONDS_BETWEEN_LINES = 15.0
_LAYER = re.compile(r"model\.layers\.(\d+)\.")


def main(arguments: Sequence[str]) -> None:
    """Answers orders until there are no more, or nobody is left to give them."""
    cache, log = ArtifactCache(Path(arguments[0])), Path(arguments[1])
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    output = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
    os.dup2(output, 1)
    os.dup2(output, 2)
    plan = inputs = None
    for line in sys.stdin:
        order = json.loads(line)
        try:
            if inputs is None or plan != order["plan"]:
                plan = order["plan"]
                # The command that starts this process has reported all notes.
                inputs = load_inputs(Plan.from_document(plan), lambda _note: None)
            answer = _export(Plan.from_document(plan), order, inputs, cache, answers)
        except UserError as error:
            answer = {"user_error": str(error)}
        _write_answer(answers, answer)


def _export(
    plan: Plan, order: Mapping[str, Any], inputs: Inputs, cache: ArtifactCache, answers: TextIO
) -> dict[str, Any]:
    """Exports what is missing; returns the reference losses, none if the order names no accumulation."""
    quant, accumulation = order["quant"], order["accumulation"]
    workload = next(item for item in workloads_of(plan, inputs.data) if item.quant == quant)
    progress = Progress(answers, f"{workload.model} {quant}")
    weights = replace(
        inputs.weights, state=WatchedTensors(inputs.weights.state, inputs.weights.config.layers, progress)
    )
    artifact = cache.export(workload, weights)
    if accumulation is None:
        return asdict(ReferenceLosses(()))
    _give_memory_back()  # the reference needs the room
    progress.begin(f"reference losses of {workload.model} {quant}")
    found = reference_losses(
        artifact,
        workload,
        weights,
        inputs.data,
        plan.training(workload.setting),
        workload.reference_steps,
        lambda done: progress(f"{done:.0%}"),
        Accumulation(accumulation),
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
    """A model's tensors that report which layer is being read."""

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
    """Frees half a gigabyte: program graphs hold weights in reference cycles, and glibc keeps freed memory."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _write_answer(answers: TextIO, document: Mapping[str, Any]) -> None:
    answers.write(json.dumps(document) + "\n")
    answers.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
