"""Options that select the workload, shared by `run`, `train` and `export`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from foundation.errors import UserError
from suite.cli.completion import complete_model
from suite.cli.options import is_given
from suite.planning.plan import Plan, RunPlan
from workloads.method import DEFAULT_QUERIES, METHOD_TABLE, METHODS
from workloads.models.config import PROJECTIONS
from workloads.quantize.settings import DEFAULT_SETTINGS, QUANTIZATION_SETTINGS
from workloads.tasks.source import BUILT_IN, NAMED_TASKS, SPLITS, WHOLE, resolve_task, resolve_template

_F = TypeVar("_F", bound=Callable[..., object])


def workload_options(function: _F) -> _F:
    """Adds the options, named as the fields of a Plan."""
    for option in reversed((_MODEL, *_WAYS, *_SHAPE)):
        function = option(function)
    return function


def shape_options(function: _F) -> _F:
    """Adds all of these options except --quant and --method."""
    for option in reversed((_MODEL, *_SHAPE)):
        function = option(function)
    return function


class OwnOrNumber(click.ParamType[Any]):
    """A number, or `auto` (None) for each quantization setting's own."""

    name = "number|auto"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float | None:
        """Fails with click's own sentence for anything else."""
        return None if value == "auto" else click.FLOAT(value, param, ctx)


def refuse_settings(why: str, allowed: Sequence[str]) -> None:
    """Refuses options that a resumed run or a plan file would silently ignore."""
    given = [
        parameter.opts[0]
        for parameter in click.get_current_context().command.params
        if parameter.name not in allowed and is_given(parameter.name or "")
    ]
    if given:
        raise UserError(f"{why}: leave out {', '.join(given)}.")


def check_inputs(plan: RunPlan) -> None:
    """Opens the tasks and weights that the plan names. Raises UserError for one that can't be used."""
    naming = [part for part in plan.plans if any((part.task, part.template, part.validation, part.weights))]
    if naming:
        from suite.preparing import preparation  # loads tokenizers, which most plans don't need before

        for part in naming:
            preparation.check_inputs(part)


def _names(_context: click.Context, _parameter: click.Parameter, value: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in value.split(",") if part.strip())


def _pairs(_context: click.Context, _parameter: click.Parameter, values: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(part.strip() for value in values for part in value.split(",") if part.strip())


def _task(_context: click.Context, _parameter: click.Parameter, value: str | None) -> str | None:
    """Keeps the name of a named task, and makes a path absolute, so that a run resumed elsewhere still finds it."""
    return None if value is None else resolve_task(value, Path.cwd())


def _template(_context: click.Context, _parameter: click.Parameter, value: str | None) -> str | None:
    return None if value is None else resolve_template(value, Path.cwd())


def _absolute(_context: click.Context, _parameter: click.Parameter, value: Path | None) -> str | None:
    """Makes the path absolute, so that a run resumed elsewhere still finds it."""
    return None if value is None else str(value.resolve())


def listed(flag: str, name: str, every: tuple[str, ...], help_text: str) -> Callable[[_F], _F]:
    """Returns an option that takes names separated by commas; `every` is the default."""
    default = ",".join(every)
    return click.option(flag, name, metavar="LIST", default=default, show_default=True, callback=_names, help=help_text)


class Switch(click.Choice[str]):
    """`on` or `off`, as True or False."""

    def __init__(self) -> None:
        super().__init__(("on", "off"))

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Fails with click's own sentence for anything else."""
        return value if isinstance(value, bool) else super().convert(value, param, ctx) == "on"


def plan_of(devices: tuple[str, ...], settings: Mapping[str, Any]) -> Plan:
    """Returns the plan that the options describe; without -q, the method decides the number of queries."""
    method = METHOD_TABLE.get(settings["method"])
    q = settings["q"] if settings["q"] is not None or method is None else method.default_queries
    return Plan(devices=devices, **{**settings, "q": Plan.q if q is None else q})


_MODEL = click.option(
    "--model",
    default="smollm2-135m",
    show_default=True,
    shell_complete=complete_model,
    help="smollm2-135m, tiny, smollm2-360m, tinyllama-1.1b, llama-2-7b, or a Hugging Face folder or GGUF file of "
    "your own.",
)
_WAYS = (
    listed("--quant", "quants", DEFAULT_SETTINGS, f"Quantization settings, from {', '.join(QUANTIZATION_SETTINGS)}."),
    click.option(
        "--method",
        metavar="NAME",
        default=METHODS[0],
        show_default=True,
        help=f"How a step trains: {'; '.join(f'`{name}`, {METHOD_TABLE[name].summary}' for name in METHODS)}; or a "
        "plugin's (`suite plugins`).",
    ),
)
_SHAPE = (
    click.option("-q", "q", type=int, help=f"Queries of a step; default: {DEFAULT_QUERIES}, or what the method fixes."),
    click.option("-b", "b", default=4, show_default=True, help="Rows of a batch."),
    click.option("-T", "T", default=64, show_default=True, help="Tokens of a row."),
    click.option("--rank", default=16, show_default=True, help="Rank of the adapters."),
    click.option("--alpha", default=32.0, show_default=True, help="Scale of the adapters, times the rank."),
    listed("--targets", "targets", PROJECTIONS, "Projections that get an adapter."),
    click.option("--layers", metavar="RANGE", help="Layers with adapters, such as 15-24 or last-8; default: all."),
    click.option("--outer", type=Switch(), help="Whether queries run side by side; default: the method decides."),
    click.option("--inner", type=Switch(), help="Whether + and - run side by side; default: the method decides."),
    click.option(
        "--noise",
        default="kernel",
        show_default=True,
        help="Perturbations by the runner's `kernel`, or by `stock` operators of any ExecuTorch runtime.",
    ),
    click.option(
        "--task",
        metavar="NAME|PATH",
        callback=_task,
        help=(
            f"{', '.join(NAMED_TASKS)}, or a TSV, CSV, JSON(L) or Parquet file (or a folder with train and dev files) "
            f"of labelled examples; default: {BUILT_IN}, which are built in."
        ),
    ),
    click.option(
        "--template",
        metavar="NAME|FILE",
        callback=_template,
        help="How an example becomes a prompt: a built-in template (docs/tasks.md) or a YAML file; default: the one "
        "that explains the task's columns.",
    ),
    click.option(
        "--label-map",
        metavar="LABEL=NAME,..",
        multiple=True,
        callback=_pairs,
        help="What labels of the task's file stand for, such as pos=positive,neg=negative.",
    ),
    click.option(
        "--ignore-columns",
        "ignored_columns",
        metavar="LIST",
        default="",
        callback=_names,
        help="Columns of the task's file that don't change what the label means.",
    ),
    click.option(
        "--validation",
        type=click.Path(path_type=Path),
        callback=_absolute,
        help="File of held-out examples; default: the one in the task's folder, or a part of the task.",
    ),
    click.option(
        "--split",
        type=click.Choice(SPLITS),
        default=WHOLE,
        show_default=True,
        help="The whole task, or the first 1,000 examples of each part, as in the paper.",
    ),
    click.option(
        "--weights",
        type=click.Path(path_type=Path),
        callback=_absolute,
        help="Hugging Face folder or GGUF file with the model's weights.",
    ),
)
