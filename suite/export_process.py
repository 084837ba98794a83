"""The exporting process: `python -m suite.export_process PLAN ARTIFACTS LOG`, started by `suite.exporting`.

PLAN is a plan as JSON. It reads orders from its standard input, the setting to export, and writes answers to its
standard output, one JSON object a line. Whatever the libraries print goes to LOG, and so does the traceback of an error
that is not the user's to mend, which ends it.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from suite.inputs import Inputs, load_inputs
from suite.plan import REFERENCE_STEPS, Plan
from workloads.artifact import ArtifactCache
from workloads.errors import UserError


def main(arguments: Sequence[str]) -> None:
    """Answer orders until there are no more, or nobody is left to give them."""
    plan = Plan.from_document(json.loads(arguments[0]))
    cache, log = ArtifactCache(Path(arguments[1])), Path(arguments[2])
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    output = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
    os.dup2(output, 1)
    os.dup2(output, 2)
    inputs = load_inputs(plan, lambda text: print(text, flush=True))
    for line in sys.stdin:
        try:
            answer: dict[str, Any] = {"losses": _export(plan, json.loads(line)["quant"], inputs, cache)}
        except UserError as error:
            answer = {"user_error": str(error)}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def _export(plan: Plan, quant: str, inputs: Inputs, cache: ArtifactCache) -> list[list[float]]:
    """Export what is missing -> the reference losses."""
    workloads = plan.workloads(answers=inputs.data.labels.shape[2])
    workload = next(item for item in workloads if item.quant == quant)
    artifact = cache.export(workload, inputs.weights)
    return cache.reference_losses(artifact, workload, inputs.weights, inputs.data, plan.training, REFERENCE_STEPS)


if __name__ == "__main__":
    main(sys.argv[1:])
