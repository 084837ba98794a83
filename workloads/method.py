"""The training methods: everything that differs between them, in one table, without torch (slow to import).

A method defines how a step changes the adapter: its forward passes, its noise, its number of queries. `step` names the
module of workloads that makes its program.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from foundation.errors import UserError, unknown_name
from foundation.plugins import Registry

INPUTS = ("tokens", "first", "labels", "key", "lr", "eps")
"""A program's inputs, in their order (docs/contracts.md)."""

TRAINED_WITHOUT_ADAPTERS = {
    "weights": "the model's own weights",
    "scales": "the scales of the model's quantized weights",
}
"""What methods without adapters train."""

UNPERTURBED = -1
"""The number of a query that is the adapter itself."""

EVALUATE, EVALUATE_WEIGHTS, EVALUATE_SCALES = "evaluate", "evaluate-weights", "evaluate-scales"
"""Not for training: the programs that evaluate an adapter, or weights and scales trained without one."""


class Sides(Enum):
    """Where around the adapter B the losses of a step are taken, for queries i with noise z_i."""

    TWO = "L(B + eps z_i) and L(B - eps z_i)"
    ONE = "L(B), then L(B + eps z_i)"
    NONE = "L(B)"

    @property
    def signs(self) -> tuple[float, ...]:
        """The signs of a query's perturbations, in the order of their losses."""
        return {Sides.TWO: (1.0, -1.0), Sides.ONE: (1.0,), Sides.NONE: ()}[self]

    def loss_shape(self, queries: int) -> tuple[int, ...]:
        """Returns the shape of a step's losses: [2, q] with + first, [1, 1 + q] with L(B) first, or [1]."""
        return {Sides.TWO: (2, queries), Sides.ONE: (1, 1 + queries), Sides.NONE: (1,)}[self]

    @property
    def contrast_name(self) -> str:
        """What a projected gradient is computed from, for messages."""
        return "L+ - L-" if self is Sides.TWO else "a perturbed loss's distance from their mean"

    def contrasts(self, losses: Sequence[float]) -> tuple[list[float], float]:
        """Returns a step's contrasts, and the variance of one as a multiple of a loss's variance.

        L+ - L- of each query or, as all one-sided slopes share L(B) and its error, L+ minus the mean of all L+.
        """
        if self is Sides.TWO:
            return [2.0 * slope for slope in self.slopes(losses, 1.0)], 2.0
        mean = math.fsum(losses[1:]) / max(1, len(losses) - 1)
        return [loss - mean for loss in losses[1:]], 1.0

    def slopes(self, losses: Sequence[float], eps: float) -> list[float]:
        """Returns the projected gradients [q]: the slope of the loss along each query's noise.

        `losses` are flattened. Two-sided (L+ - L-) / (2 eps), one-sided (L+ - L) / eps.
        """
        if self is Sides.TWO:
            q = len(losses) // 2
            return [(plus - minus) / (2.0 * eps) for plus, minus in zip(losses[:q], losses[q:], strict=True)]
        return [(loss - losses[0]) / eps for loss in losses[1:]]


@dataclass(frozen=True)
class Method:
    """One method."""

    name: str
    summary: str
    """What a step does, in one line for --help and pages."""
    source: str
    step: str
    """The module with its `make_program(workload, parts)`."""
    sides: Sides = Sides.TWO
    noise: str | None = "normal"
    """The distribution of the perturbations (docs/contracts.md, "Noise"); None without any."""
    normalised: bool = False
    """Whether a step is divided by the standard deviation of its perturbed losses."""
    trains: str = "lora-fa"
    """What is trained: `lora-fa`, all B of the adapters, or a name in TRAINED_WITHOUT_ADAPTERS."""
    points: int = 1
    """Adapters around which a step takes its losses: the trained one, and an anchor after it."""
    vectors: int = 1
    """What a program without an optimizer keeps at the size of the adapter, including the adapter itself."""
    moves_by_each_step: bool = True
    """Whether each update comes from one step's estimate, rather than from the sum of several steps' estimates."""
    reference_steps: int = 0
    """Steps after which everything that a step does has occurred, if that is more than REFERENCE_STEPS."""
    stock: bool = True
    """Whether it can be made of operators that every runtime has."""
    queries: int | None = None
    """q, if it can't be chosen."""
    least_queries: int = 1
    outer: bool | None = None
    inner: bool | None = None
    """Whether the loop over queries and that over + and - run side by side, if that can't be chosen."""
    work_beside: float = 0.0
    """Other work of a step, such as a backward pass, in forward passes of the batch."""
    default_lr: float | None = None
    default_eps: float | None = None
    """Replaces the quantization setting's."""
    inputs: tuple[str, ...] = INPUTS
    """The inputs that its program has."""
    optimizer: str | None = None
    """What applies the gradients of backpropagation: `sgd` or `adam`; None for the other methods."""
    settings: tuple[str, ...] | None = None
    """The quantization settings that it supports, if not all."""
    why_not_others: str = ""
    """Why it doesn't support the other settings: a sentence without its subject, in which {quant} is the setting."""
    evaluated_by: str = EVALUATE
    """The method that evaluates its training."""
    public: bool = True
    """Whether it is a method to train with; the others evaluate."""

    @property
    def trains_weights(self) -> bool:
        """Whether it trains the model's own stored values, without adapters."""
        return self.trains in TRAINED_WITHOUT_ADAPTERS

    @property
    def leaves_update(self) -> bool:
        """Whether a step leaves its update to the next call."""
        return self.noise is not None and not self.trains_weights

    @property
    def default_queries(self) -> int:
        """The default q."""
        return self.queries or max(DEFAULT_QUERIES, self.least_queries)

    def loss_shape(self, queries: int) -> tuple[int, ...]:
        """Returns the shape of its program's losses; those around an anchor count as additional queries."""
        return self.sides.loss_shape(self.points * queries)

    def forward_passes(self, queries: int) -> float:
        """Returns the cost of a step, in forward passes of the batch."""
        return math.prod(self.loss_shape(queries)) + self.work_beside

    def step_scale(self, losses: Sequence[float]) -> float:
        """Returns the factor of a step's projected gradients: 1, or 1 / the deviation of the perturbed losses.

        The sample's standard deviation, over q - 1. If all losses are equal, no direction is better, and it is 0.
        """
        if not self.normalised:
            return 1.0
        perturbed = losses[1:]
        mean = math.fsum(perturbed) / len(perturbed)
        deviation = math.sqrt(math.fsum((loss - mean) ** 2 for loss in perturbed) / (len(perturbed) - 1))
        return 1.0 / deviation if deviation > 0 else 0.0

    def allows(self, queries: int) -> bool:
        """Returns whether a step may have this many queries."""
        return queries >= self.least_queries and self.queries in (None, queries)

    def require_setting(self, quant: str) -> None:
        """Raises UserError unless the method supports this quantization setting."""
        if self.settings is not None and quant not in self.settings:
            raise UserError(
                f"{self.name} {self.why_not_others.format(quant=quant)}: choose one of {', '.join(self.settings)}, or "
                "the method prge."
            )

    def require_adapters(self, option: str) -> None:
        """Raises UserError for `option`, which takes an adapter, unless the method trains adapters."""
        if self.trains_weights:
            raise UserError(
                f"{option} is an adapter to start from, but {self.name} trains {TRAINED_WITHOUT_ADAPTERS[self.trains]} "
                f"and has none: leave {option} out, or use another method."
            )

    def require_queries(self, queries: int) -> None:
        """Raises UserError unless the method allows this many queries."""
        if self.queries not in (None, queries):
            raise UserError(
                f"{self.name} has {self.queries} query a step, but q is {queries}: leave -q out, or choose another "
                "method for more queries."
            )
        if queries < self.least_queries:
            raise UserError(
                f"{self.name} needs at least {self.least_queries} queries a step, but q is {queries}: raise q."
            )

    def loops(self, outer: bool | None, inner: bool | None) -> tuple[bool, bool]:
        """Returns whether the outer and the inner loop run side by side; None means the method's default.

        Raises UserError for a loop that the method does not leave open.
        """
        found = []
        for name, wanted, fixed in (("outer", outer, self.outer), ("inner", inner, self.inner)):
            if fixed is not None and wanted not in (None, fixed):
                raise UserError(
                    f"{self.name} runs its {name} loop {'side by side' if fixed else 'in turn'}, but {name} is "
                    f"{'on' if wanted else 'off'}: leave it out, or choose another method."
                )
            found.append(wanted if fixed is None and wanted is not None else fixed is not False)
        return found[0], found[1]


DEFAULT_QUERIES = 4


def _by_backpropagation(name: str, optimizer: str, described: str, default_lr: float) -> Method:
    return Method(
        name,
        f"first order: exact gradients of B by backpropagation, a layer at a time with recomputation, {described}",
        "MeBP, arXiv 2510.03425; LoRA-FA, arXiv 2308.03303",
        step="workloads.methods.backprop_step",
        sides=Sides.NONE,
        noise=None,
        queries=1,
        outer=False,
        inner=False,
        work_beside=2.0,  # a layer is computed again, and its backward pass has as many products
        default_lr=default_lr,
        optimizer=optimizer,
        settings=("fp32", "fp16", "bf16", "int8", "nf4", "nf4-double"),
        why_not_others="has no backward pass through the layers of {quant}",
    )


def _without_adapters(
    name: str,
    title: str,
    source: str,
    *,
    step: str,
    trains: str,
    evaluated_by: str,
    settings: tuple[str, ...],
    why_not_others: str,
) -> Method:
    return Method(
        name,
        title,
        source,
        step=step,
        trains=trains,
        evaluated_by=evaluated_by,
        stock=False,
        queries=1,
        outer=False,
        inner=False,
        default_lr=1e-6,
        default_eps=1e-3,
        settings=settings,
        why_not_others=why_not_others,
    )


def _evaluation(
    name: str, of: str, *, step: str, inputs: tuple[str, ...] = (), trains: str = "lora-fa", stock: bool = True
) -> Method:
    return Method(
        name,
        f"no training: the losses of candidate answers with {of}",
        "the suite's own",
        step=step,
        sides=Sides.NONE,
        noise=None,
        trains=trains,
        stock=stock,
        queries=1,
        outer=False,
        inner=False,
        inputs=("tokens", "first", "labels", *inputs),
        public=False,
    )


_OF_STATES = "workloads.all_weights.evaluation"
_METHODS = (
    Method(
        "prge",
        "P-RGE: two-sided estimate from q queries; queries, + and - run side by side",
        "MobiZO, arXiv 2409.15520",
        step="workloads.methods.prge_step",
    ),
    Method(
        "mezo-lora-fa",
        "MeZO on LoRA-FA adapters: one query a step, + and then -",
        "MeZO, arXiv 2305.17333; LoRA-FA, arXiv 2308.03303",
        step="workloads.methods.prge_step",
        queries=1,
        outer=False,
        inner=False,
    ),
    Method(
        "rademacher",
        "P-RGE with random signs instead of normal noise",
        "MobiZO, arXiv 2409.15520, with the noise of FZOO, arXiv 2506.09034",
        step="workloads.methods.prge_step",
        noise="rademacher",
    ),
    Method(
        "fzoo",
        "FZOO: one-sided estimate from q queries with random signs and the adapter itself; normalised steps",
        "FZOO, arXiv 2506.09034",
        step="workloads.methods.fzoo_step",
        sides=Sides.ONE,
        noise="rademacher",
        normalised=True,
        least_queries=2,
        inner=False,
        default_lr=1e-5,
    ),
    Method(
        "prge-momentum",
        "P-RGE with momentum: each update follows a moving mean of the estimates so far",
        "MobiZO, arXiv 2409.15520; momentum as in MeZO, arXiv 2305.17333",
        step="workloads.scheduled.momentum_step",
        vectors=2,
        moves_by_each_step=False,
        reference_steps=6,
        stock=False,
    ),
    Method(
        "adazeta",
        "AdaZeta's query schedule: P-RGE whose updates each sum up the queries of more and more steps",
        "AdaZeta, arXiv 2406.18060",
        step="workloads.scheduled.adazeta_step",
        vectors=2,
        stock=False,
    ),
    Method(
        "mezo-svrg",
        "MeZO-SVRG: P-RGE corrected by the same queries around an anchor, whose gradient comes from several batches",
        "MeZO-SVRG, arXiv 2404.08080",
        step="workloads.scheduled.svrg_step",
        points=2,
        vectors=3,
        moves_by_each_step=False,
        reference_steps=6,
        stock=False,
    ),
    _by_backpropagation("fo-lora-fa", "sgd", "then SGD", 5e-3),
    _by_backpropagation("fo-lora-fa-adam", "adam", "then Adam", 1e-3),
    _without_adapters(
        "mezo-full",
        "MeZO on all weights of the model, without adapters: one query a step, + and then -",
        "MeZO, arXiv 2305.17333",
        step="workloads.all_weights.step",
        trains="weights",
        evaluated_by=EVALUATE_WEIGHTS,
        settings=("fp32", "fp16"),
        why_not_others="updates weights in float32 or float16, not in the form that {quant} stores",
    ),
    _without_adapters(
        "qzo",
        "QZO: MeZO on the scales of quantized weights, without adapters, with clipped projected gradients",
        "QZO, arXiv 2505.13430",
        step="workloads.all_weights.scales_step",
        trains="scales",
        evaluated_by=EVALUATE_SCALES,
        settings=("int8", "nf4"),
        why_not_others="trains float32 scales, with which the runner multiplies weights, and {quant} has none",
    ),
    _evaluation(EVALUATE, "a given adapter", step="workloads.methods.evaluation", inputs=("adapter",)),
    _evaluation(
        EVALUATE_WEIGHTS, "weights from a state", step="workloads.all_weights.evaluation", trains="weights", stock=False
    ),
    _evaluation(
        EVALUATE_SCALES,
        "scales of weights from a state",
        step="workloads.all_weights.evaluation",
        trains="scales",
        stock=False,
    ),
)


def _accept(name: str, loaded: object) -> Method:
    if not isinstance(loaded, Method):
        raise TypeError(f"is of type {type(loaded).__name__} instead of workloads.method.Method")
    if loaded.name != name:
        raise ValueError(f"is the method {loaded.name!r}, but must have the name of its entry point")
    return loaded


METHOD_TABLE = Registry("methods", {method.name: method for method in _METHODS}, _accept)
"""By name, including those of plugins; the first is the default."""

METHODS = tuple(method.name for method in _METHODS if method.public)
"""The suite's own names that users choose from."""


def training_method(name: str) -> Method:
    """Returns a training method. Raises `UserError` for an unknown one, or for one of a broken plugin."""
    if name not in METHODS and (name in METHOD_TABLE.own or name not in METHOD_TABLE):
        raise unknown_name("method", name, (*METHODS, *(one for one in METHOD_TABLE if one not in METHOD_TABLE.own)))
    return METHOD_TABLE[name]
