"""Jobs of peers for tiny, with the inputs that they name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from suite.peers.peer import PEERS, PeerJob
from workloads.workload import TrainingSettings, Workload

WORKLOAD = Workload("tiny", "fp32", q=2, b=2, T=16, rank=4, answers=2)


def inputs() -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Returns tokens [b, T] and labels [b, K], with one label fewer in one row."""
    generator = np.random.default_rng(5)
    tokens, labels = (generator.integers(0, 512, (WORKLOAD.b, n)) for n in (WORKLOAD.T, WORKLOAD.answers))
    labels[0, 0] = -1
    return tokens, labels


def job_of(name: str, folder: Path, **changes: Any) -> PeerJob:
    """Returns the job of a peer whose files are in `folder`."""
    tokens, labels = inputs()
    np.savez(folder / "inputs.npz", tokens=tokens, labels=labels)
    fields: dict[str, Any] = {
        "session": "one",
        "peer": PEERS[name],
        "workload": WORKLOAD,
        "training": TrainingSettings(lr=2e-3, eps=0.1),
        "weights": None,
        "inputs": str(folder / "inputs.npz"),
        "logits": str(folder / "logits.npy"),
        "model_file": str(folder / "model.gguf"),
        "threads": 1,
        "cpus": None,
        "warm_up": 1,
        "steps": 3,
        "least_seconds": 0.0,
        "sensors": (),
    }
    return PeerJob(**{**fields, **changes})
