"""Measures a setting's effect on projected gradients: correlation with fp32's, and noise, by perturbation size.

    python -m benchmarks.gradients --model smollm2-135m --settings fp16 --perturbations 64

Uses reviews of the built-in task, with adapters at zero. The reference derivative is fp32's difference quotient
at eps 1e-3. `noise` is the standard deviation between the losses of the setting and of fp32 with
the same perturbation; for int8 and nf4 it includes the effect of quantizing the weights.
"""

from __future__ import annotations

from collections.abc import Sequence

import click
import numpy as np
from numpy.typing import NDArray

from workloads.lowering.arithmetic_probe import Accumulation
from workloads.models.zoo import load_model
from workloads.quantize.settings import QUANTIZATION_SETTINGS, SETTINGS
from workloads.reference.eager import Batch, Reference
from workloads.tasks.batches import batches
from workloads.tasks.task import built_in_task
from workloads.workload import Workload

EXACT_EPS = 1e-3


def arithmetics(setting: str) -> Sequence[Accumulation]:
    """Returns the arithmetics of a setting; fp16 has two."""
    return tuple(Accumulation) if SETTINGS[setting].sums_vary else (Accumulation.FP32,)


@click.command()
@click.option("--model", default="smollm2-135m", show_default=True)
@click.option("--settings", default=",".join(QUANTIZATION_SETTINGS), show_default=True)
@click.option("--perturbations", default=64, show_default=True)
@click.option("-b", "b", default=4, show_default=True, help="Reviews in the batch.")
@click.option("-T", "T", default=64, show_default=True, help="Tokens of a review.")
@click.option("--eps", default="1e-2,3e-3,1e-3", show_default=True)
@click.option("--seed", default=7, show_default=True)
def main(model: str, settings: str, perturbations: int, b: int, T: int, eps: str, seed: int) -> None:
    """Print a line for each setting, arithmetic and eps."""
    weights = load_model(model, notify=click.echo)
    data = batches(built_in_task(), weights.tokenizer, b, T, 1, seed)
    batch = Batch(data.tokens[0], data.first[0], data.labels[0])

    def losses(setting: str, size: float, accumulation: Accumulation = Accumulation.FP32) -> NDArray[np.float64]:
        workload = Workload(model, setting, q=perturbations, b=b, T=T)
        reference = Reference(workload, weights.config, weights.state, accumulation)
        found = reference.untrained_losses(batch, 0, seed=seed, eps=size, on_progress=lambda _: None)
        return found.astype(np.float64)

    def gradients(found: NDArray[np.float64], size: float) -> NDArray[np.float64]:
        result: NDArray[np.float64] = (found[0] - found[1]) / (2 * size)
        return result

    exact = gradients(losses("fp32", EXACT_EPS), EXACT_EPS)
    click.echo(f"{model}: {perturbations} perturbations, deviation of their derivatives {exact.std():.2f}")
    for size in (float(value) for value in eps.split(",")):
        plain = losses("fp32", size)
        for setting in settings.split(","):
            for accumulation in arithmetics(setting):
                found = losses(setting, size, accumulation)
                correlation = np.corrcoef(gradients(found, size), exact)[0, 1]
                name = f"{setting}, {accumulation}" if SETTINGS[setting].sums_vary else setting
                difference = float(np.sqrt(np.mean((found[0] - found[1]) ** 2)))
                noise = (found - plain).std()
                click.echo(
                    f"{name}, eps {size:g}: correlation {correlation:.4f}, noise of a loss {noise:.4f} "
                    f"beside L+ - L- of {difference:.4f}"
                )


if __name__ == "__main__":
    main()
