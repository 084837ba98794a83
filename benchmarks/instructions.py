"""Instructions of a training step on aarch64, operator by operator: `python -m benchmarks.instructions`, as root.

An emulated device's times mean nothing. Here its clock goes on by a nanosecond with every instruction, so that `suite
profile` counts instructions there: of XNNPACK's operators in thousands, of all others within the clock's 16. The model
has two layers of smollm2-135m's size with random weights, and each processor runs the variants of the kernels that it
would run as a device. `stock` is fp32 with `--noise stock`, whose perturbations are made of stock operators.

Takes some minutes. Needs what `make twins` installs.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from reports.model.profile import FROZEN
from tests.support.twins.twin_processors import PI_4, PI_5, WITH_BF16
from tests.support.twins.twin_system import COMPUTER, SystemTwin
from tests.support.workloads.model_folder import write_folder
from workloads.models.named import ZOO
from workloads.models.zoo import random_weights

_STOCK = "stock"
_QUANTS = ("fp32", "fp16", "bf16", "int8", "nf4", "int8-dynamic")
_PROCESSORS = {"cortex-a72": PI_4, "cortex-a76": PI_5, "armv9": WITH_BF16}
_SHAPE = ("-q", "1", "-b", "1", "-T", "64")
_STEPS = "2"
_THOUSANDS_A_MS = 1_000  # an instruction takes a nanosecond


def main() -> None:
    """Prints, for each processor, thousands of instructions of a step by group and setting, and FLOP by instruction."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processors", nargs="+", choices=_PROCESSORS, default=list(_PROCESSORS))
    parser.add_argument("--quants", nargs="+", choices=(_STOCK, *_QUANTS), default=[_STOCK, *_QUANTS])
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        shape = replace(ZOO["smollm2-135m"].config, layers=2, vocab_size=512)
        write_folder(place / "model", random_weights("two-layers", shape))
        for name in given.processors:
            with SystemTwin(place / name, replace(COMPUTER, processor=_PROCESSORS[name]), counting=True) as computer:
                (place / "inventory.yaml").write_text(yaml.safe_dump({"devices": {name: computer.entry(threads=1)}}))
                rows = pd.DataFrame(rows_of(place, name, given.quants))
            print(f"\n{name}: thousands of instructions of a step\n{table(rows)}", flush=True)


def rows_of(place: Path, device: str, quants: Sequence[str]) -> Iterator[dict[str, object]]:
    """Yields the rows of all profiles, each with its `setting`."""
    for noise, settings in (("stock", [_STOCK] * (_STOCK in quants)), ("kernel", [q for q in quants if q != _STOCK])):
        if settings:
            profile = take_profile(place, device, noise, ["fp32"] if noise == "stock" else settings)
            for setting, found in zip(settings, profile["settings"], strict=True):
                yield from ({"setting": setting} | row for row in found["rows"])


def table(rows: pd.DataFrame) -> str:
    """Returns thousands of instructions by group and setting, and operations by instruction of frozen products."""
    order = {"index": "group", "columns": "setting", "aggfunc": "sum", "sort": False}
    counts = rows.assign(thousands=rows.ms * _THOUSANDS_A_MS).pivot_table(values="thousands", **order)
    products = rows[rows.group == FROZEN].groupby("setting", sort=False)
    counts.loc["sum"] = counts.sum()
    counts.loc["operations by instruction of frozen products"] = products.flops.sum() / products.ms.sum() / 1e6
    return counts.to_string(float_format="{:,.1f}".format, na_rep="-")


def take_profile(place: Path, device: str, noise: str, quants: Sequence[str]) -> dict[str, Any]:
    """Returns the document that `suite profile` prints. Exits with its messages if it fails."""
    options = ["--model", str(place / "model"), "--quant", ",".join(quants), "--noise", noise, "--steps", _STEPS]
    argv = [sys.executable, "-m", "suite", "profile", "--device", device, *_SHAPE, *options, "--json"]
    ended = subprocess.run([*argv, "--inventory", str(place / "inventory.yaml")], stdout=subprocess.PIPE, check=False)
    if ended.returncode != 0:
        sys.exit(f"suite profile ended with {ended.returncode}.")
    return json.loads(ended.stdout)


if __name__ == "__main__":
    main()
