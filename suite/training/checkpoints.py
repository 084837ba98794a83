"""The states of a training on this host: what a program left after a step, and the adapter that it stands for.

A checkpoint is the state file of the runner, so that a training goes on with the very bits it stopped with.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from foundation.atomic import write_atomic
from foundation.errors import UserError
from suite.errors import StoreError
from workloads.method import Method
from workloads.scheduled.schedules import updated

Float32Array = NDArray[np.float32]

KEPT = 2
"""The newest checkpoints that stay: the store may not know of the last one yet."""


@dataclass(frozen=True)
class Checkpoint:
    """The state after `step` steps."""

    step: int
    path: Path


@dataclass(frozen=True)
class Checkpoints:
    """The checkpoints of one training, in a folder of their own."""

    folder: Path

    def place(self, step: int) -> Path:
        """Returns where the state after `step` steps goes."""
        return self.folder / f"step-{step:09d}.safetensors"

    def remove_old(self) -> None:
        """Removes all but the newest ones."""
        for path in sorted(self.folder.glob("step-*.safetensors"))[:-KEPT]:
            path.unlink(missing_ok=True)


def adapter_of(checkpoint: Checkpoint, method: Method, lr: float) -> Float32Array:
    """Returns the adapter float32 [n] that a state stands for, with the pending update applied at rate `lr`.

    Raises UserError if the file can't be read.
    """
    try:
        return updated(load_file(checkpoint.path), method, lr)
    except (OSError, SafetensorError, KeyError) as error:
        raise UserError(f"the checkpoint {checkpoint.path} can't be read ({error}): start a new training.") from error


def write_state(adapter: Float32Array, path: Path) -> None:
    """Writes a state that starts a training from `adapter`; what else a program remembers starts at zero.

    Raises StoreError if the disk can't take it.
    """
    try:
        write_atomic(path, save({"adapter": adapter}))
    except OSError as error:
        raise StoreError(
            f"the state to start from cannot be written to {path} ({error.strerror}, error {error.errno}): free space "
            "or make the folder writable, then go on with `suite train --resume`"
        ) from error
