"""`suite export`: make programs without measuring them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from suite import exit_codes
from suite.cli.places import inventory_option
from suite.display import Display
from suite.home import Home
from suite.inputs import load_inputs
from suite.plan import Plan
from suite.preparation import prepare, require_memory
from suite.shown import rounded
from workloads.artifact import ArtifactCache
from workloads.workload import QUANTIZATION_SETTINGS


@click.command()
@click.option(
    "--model", default="smollm2-135m", show_default=True, help="smollm2-135m, tiny, tinyllama-1.1b, llama-2-7b."
)
@click.option("--quant", default=",".join(QUANTIZATION_SETTINGS), show_default=True, help="Quantization settings.")
@click.option("-q", "q", default=4, show_default=True, help="Queries of a step.")
@click.option("-b", "b", default=4, show_default=True, help="Rows of a batch.")
@click.option("-T", "T", default=64, show_default=True, help="Tokens of a row.")
@click.option("--rank", default=16, show_default=True, help="Rank of the adapters.")
@click.option(
    "--noise", default="kernel", show_default=True, help="`kernel`, or `stock` for a runtime without our kernels."
)
@click.option("--task", type=click.Path(path_type=Path), help="TSV or JSONL file of labelled sentences.")
@click.option("--weights", type=click.Path(path_type=Path), help="Hugging Face folder or GGUF file.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@inventory_option
def export(
    quant: str, task: Path | None, weights: Path | None, as_json: bool, inventory_path: Path, **settings: Any
) -> int:
    """Export programs into the artifact cache and print where they are.

    \b
    suite export --quant nf4
    suite export --model tiny --noise stock --quant fp32
    """
    plan = Plan(
        devices=(),
        quants=tuple(part.strip() for part in quant.split(",") if part.strip()),
        task=None if task is None else str(task.resolve()),
        weights=None if weights is None else str(weights.resolve()),
        **settings,
    )
    require_memory(plan, measured_here=False)
    display = Display()
    inputs = load_inputs(plan, display.note)
    preparation = prepare(plan, inputs, ArtifactCache(Home.locate(inventory_path).artifacts), display.note)
    documents = [{**item.artifact.document, "path": str(item.artifact.program)} for item in preparation.prepared]
    if as_json:
        click.echo(json.dumps(documents, indent=1))
        return exit_codes.OK
    for document in documents:
        click.echo(
            f"{document['workload']['quant']}: {rounded(document['program_bytes'] / 1e6)} MB, "
            f"{document['delegates']['partitions']} delegates, exported in {document['export_seconds']:.1f} s: "
            f"{document['path']}"
        )
    return exit_codes.OK
