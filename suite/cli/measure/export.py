"""`suite export`: exports programs without measuring them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from foundation.text import format_rounded
from suite.cli.options import inventory_option
from suite.cli.output import print_json, print_plain
from suite.cli.workload_options import plan_of, workload_options
from suite.display import Display
from suite.errors import ExitCode
from suite.home import Home, in_use
from suite.planning.forecast import find_obstacles
from suite.preparing.preparation import load_inputs, prepare
from workloads.export.artifact import ArtifactCache


@click.command()
@workload_options
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@inventory_option
def export(as_json: bool, inventory_path: Path, **settings: Any) -> int:
    """Export programs into the artifact cache and print where they are.

    \b
    suite export --quant nf4
    suite export --model tiny --noise stock --quant fp32
    """
    plan = plan_of((), settings)
    obstacles = find_obstacles(plan, [])
    display = Display()
    inputs = load_inputs(plan, display.note)
    home = Home.locate(inventory_path)
    with in_use(home):
        preparation = prepare(plan, inputs, ArtifactCache(home.artifacts), display.note, obstacles=obstacles)
    preparation.require_any()
    for line in preparation.left_out_lines():
        display.note(line)
    failed = any(item.status == "failed" for item in preparation.left_out)
    code = ExitCode.INCOMPLETE if failed else ExitCode.OK
    documents = [
        {
            **item.artifact.document,
            "path": str(item.artifact.program),
            "data_paths": [str(file.path) for file in item.artifact.data],
        }
        for item in preparation.prepared
    ]
    if as_json:
        print_json(documents)
        return code
    for document in documents:
        print_plain(
            f"{document['workload']['quant']}: {format_rounded(document['program_bytes'] / 1e6)} MB, "
            f"{document['delegates']['partitions']} delegates, exported in {document['export_seconds']:.1f} s: "
            f"{document['path']}"
        )
        for entry, path in zip(document["data"], document["data_paths"], strict=True):
            print_plain(f"  with {format_rounded(entry['bytes'] / 1e6)} MB: {path}")
    return code
