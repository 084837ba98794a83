"""Lists the peers, and defines the job of a peer's process.

A peer does the work of a P-RGE step, or part of it, for the same model and shape. This module knows only names and
packages, so that a command line can offer peers without loading any.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from foundation.errors import UserError, listed, unknown_name
from foundation.unavailable import Json
from workloads.workload import TrainingSettings, Workload

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Work(StrEnum):
    """The work that is timed, for 2 q b rows of T tokens."""

    STEP = "step"
    """Adapters perturbed in 2 q ways, their forward passes, losses, projected gradients, update."""
    FORWARD = "forward"
    """The same rows through the frozen model without adapters, up to the answers' logits."""
    PRODUCTS = "products"
    """The frozen products of all layers, and nothing else."""


@dataclass(frozen=True)
class Peer:
    """One peer. `maker` is `module:function` in this folder, which takes a PeerJob and returns a Performer.

    `package` is the import name of what has to be installed. `logits_error`: the largest difference between its logits
    and the reference's (`logits_difference`) that its type explains; a peer beyond that computes something else.
    """

    name: str
    work: Work
    dtype: str
    maker: str
    package: str = "torch"
    logits_error: float | None = None
    compiled: bool = False

    @property
    def missing(self) -> str | None:
        """Why the peer can't run here and how to install it; None if its package is installed."""
        if importlib.util.find_spec(self.package) is not None:
            return None
        name = self.package.replace("_", "-") + ("-python" if self.package == "llama_cpp" else "")
        return f"{name} is not installed: get it with `pip install 'edge-training-suite[peers]'`"


_FP32, _BF16, _F16, _Q8_0, _Q4_0 = 1e-3, 0.1, 0.03, 0.1, 0.5
_PEERS = (
    Peer("torch-fp32", Work.STEP, "fp32", "torch_work:make_step", logits_error=_FP32),
    Peer("torch-bf16", Work.STEP, "bf16", "torch_work:make_step", logits_error=_BF16),
    Peer("torch-compile-fp32", Work.STEP, "fp32", "torch_work:make_step", logits_error=_FP32, compiled=True),
    Peer("torch-compile-bf16", Work.STEP, "bf16", "torch_work:make_step", logits_error=_BF16, compiled=True),
    Peer("torch-forward-fp32", Work.FORWARD, "fp32", "torch_work:make_forward", logits_error=_FP32),
    Peer("torch-forward-bf16", Work.FORWARD, "bf16", "torch_work:make_forward", logits_error=_BF16),
    Peer("transformers-fp32", Work.FORWARD, "fp32", "torch_work:make_transformers", "transformers", _FP32),
    Peer("transformers-bf16", Work.FORWARD, "bf16", "torch_work:make_transformers", "transformers", _BF16),
    Peer("llama-f16", Work.FORWARD, "F16", "llama_cpp_work:make_forward", "llama_cpp", _F16),
    Peer("llama-q8_0", Work.FORWARD, "Q8_0", "llama_cpp_work:make_forward", "llama_cpp", _Q8_0),
    Peer("llama-q4_0", Work.FORWARD, "Q4_0", "llama_cpp_work:make_forward", "llama_cpp", _Q4_0),
    Peer("products-fp32", Work.PRODUCTS, "fp32", "torch_work:make_products"),
    Peer("products-bf16", Work.PRODUCTS, "bf16", "torch_work:make_products"),
    Peer("products-int8", Work.PRODUCTS, "int8", "torch_work:make_products"),
)
PEERS: Mapping[str, Peer] = {peer.name: peer for peer in _PEERS}


def select_peers(patterns: Sequence[str]) -> tuple[Peer, ...]:
    """Returns the peers that names or patterns such as `torch-*` stand for, in the order of the table.

    Raises UserError for a pattern that matches no peer, and if none is given.
    """
    if not patterns:
        raise UserError(f"No peer is named: choose from {listed(PEERS)}.")
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in PEERS):
            raise unknown_name("peer", pattern, PEERS)
    return tuple(peer for peer in _PEERS if any(fnmatchcase(peer.name, pattern) for pattern in patterns))


JobSensor = Mapping[str, Any]
"""A sensor file, as in a runner's job."""


@dataclass(frozen=True)
class PeerJob:
    """What the process of a peer does, and where its files are.

    `inputs`: an .npz with tokens int64 [b, T] and labels int64 [b, K]. `logits`: the file for the answers' logits,
    float32 [b, K, vocabulary]. `model_file`: the GGUF file, for peers that take one. The measured steps continue until
    they have lasted `least_seconds`. `sensors` are entries of a runner's job.
    """

    session: str
    peer: Peer
    workload: Workload
    training: TrainingSettings
    weights: str | None
    inputs: str
    logits: str
    model_file: str | None
    threads: int
    cpus: tuple[int, ...] | None
    warm_up: int
    steps: int
    least_seconds: float
    sensors: tuple[JobSensor, ...]

    def document(self) -> dict[str, Json]:
        """Returns the job as JSON values."""
        return asdict(self) | {"peer": self.peer.name, "workload": self.workload.document()}

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> PeerJob:
        """Reads the job from the output of `document`."""
        workload = document["workload"]
        return cls(
            **{
                **document,
                "peer": PEERS[document["peer"]],
                "workload": Workload(**{**workload, "targets": tuple(workload["targets"])}),
                "training": TrainingSettings(**document["training"]),
                "sensors": tuple(document["sensors"]),
            }
        )

    @property
    def rows(self) -> int:
        """The rows that go through the model at once."""
        return 2 * self.workload.q * self.workload.b

    @property
    def weights_path(self) -> Path | None:
        """The model's files, if it is not a named one."""
        return None if self.weights is None else Path(self.weights)

    def read_inputs(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Returns tokens [b, T] and labels [b, K]."""
        import numpy as np  # takes longer to load than a command line that only names peers

        with np.load(self.inputs) as arrays:
            return arrays["tokens"], arrays["labels"]


class Performer(Protocol):
    """A peer that has loaded its model."""

    def perform(self) -> Sequence[float]:
        """Does the work once. Returns its losses, if it has any."""

    def logits(self) -> NDArray[np.float32] | None:
        """Returns the logits of the batch's answers from what `perform` runs, [b, K, vocabulary]; None without any."""


def require_plain_layers(job: PeerJob, form_is_plain: bool) -> None:
    """Raises UserError for a model whose layers differ from the ones that a peer supports."""
    if not form_is_plain:
        raise UserError(
            f"{job.peer.name} only takes models of Llama's own form, and the layers of {job.workload.model} differ: "
            "choose another model, or leave this peer out."
        )
