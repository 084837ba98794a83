"""Artifacts: programs with what is known of them, kept under the hash of what they were made from.

The same workload, weights and versions give the same hash, so that nothing is exported twice. A folder appears under
its hash only when it is complete.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from workloads.errors import UserError
from workloads.models.weights import ModelWeights, document_sha256, file_sha256
from workloads.tasks import TaskBatches
from workloads.workload import EXPORTER_VERSION, Workload

SCHEMA = 1
PROGRAM = "program.pte"
_DOCUMENT = "artifact.json"
_VERSIONED = ("torch", "executorch", "torchao")


@dataclass(frozen=True)
class TrainingSettings:
    """What a program gets besides the batches: learning rate, perturbation size, and the seed of the noise."""

    lr: float = 1e-3
    eps: float = 1e-2
    seed: int = 7


@dataclass(frozen=True)
class Artifact:
    """A complete artifact folder and its artifact.json."""

    folder: Path
    document: Mapping[str, Any]

    @property
    def hash(self) -> str:
        return str(self.document["hash"])

    @property
    def program(self) -> Path:
        return self.folder / PROGRAM

    @property
    def program_sha256(self) -> str:
        return str(self.document["files"][0]["sha256"])

    @property
    def program_bytes(self) -> int:
        return int(self.document["program_bytes"])

    @property
    def weight_bytes(self) -> int:
        return int(self.document["weight_bytes"])


class ArtifactCache:
    """The artifacts below one folder."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def hash_of(self, workload: Workload, weights_sha256: str) -> str:
        """What the artifact of this workload and these weights is called, whether it is there or not."""
        versions = {name: importlib.metadata.version(name) for name in _VERSIONED}
        return document_sha256(
            {
                "exporter": EXPORTER_VERSION,
                "workload": workload.document(),
                "weights": weights_sha256,
                "versions": versions,
            }
        )[:32]

    def find(self, workload: Workload, weights_sha256: str) -> Artifact | None:
        """The artifact if it is there; one with a program of another size than it should have is removed."""
        folder = self.root / self.hash_of(workload, weights_sha256)
        if not folder.is_dir():
            return None
        try:
            document = json.loads((folder / _DOCUMENT).read_bytes())
            if document["schema"] == SCHEMA and (folder / PROGRAM).stat().st_size == document["program_bytes"]:
                return Artifact(folder, document)
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            pass  # a file that is missing, or a damaged artifact.json: the same as a damaged program
        with self._writing(workload):
            shutil.rmtree(folder)
        return None

    def export(self, workload: Workload, weights: ModelWeights) -> Artifact:
        """The artifact, exported if it isn't there. Processes that want the same one wait for one of them.

        Raises UserError when the disk is full or can't be written.
        """
        name = self.hash_of(workload, weights.sha256)
        with self._writing(workload):
            self.root.mkdir(parents=True, exist_ok=True)
            with FileLock(self.root / f".{name}.lock"):
                present = self.find(workload, weights.sha256)
                if present is not None:
                    return present
                stage = self.root / f".exporting-{name}"
                shutil.rmtree(stage, ignore_errors=True)  # what an export that was killed left
                try:
                    stage.mkdir()
                    document = _export_into(stage, name, workload, weights)
                    stage.rename(self.root / name)
                finally:
                    shutil.rmtree(stage, ignore_errors=True)
        return Artifact(self.root / name, document)

    def reference_losses(
        self,
        artifact: Artifact,
        workload: Workload,
        weights: ModelWeights,
        data: TaskBatches,
        training: TrainingSettings,
        steps: int,
    ) -> list[list[float]]:
        """Losses of the first `steps` steps by the eager reference, flattened [2 * q] a step; kept with the artifact.

        Computing them costs two eager forward passes of the batch for each query of a step.
        """
        kept = self.kept_reference(artifact, data, training, steps)
        if kept is not None:
            return kept
        losses = _reference(workload, weights, data, training, steps)
        asked = _asked(data, training, steps)
        path = _reference_path(artifact, asked)
        partial = path.with_suffix(".partial")
        with self._writing(workload):
            partial.write_text(json.dumps({"of": asked, "losses": losses}))
            partial.replace(path)
        return losses

    @contextlib.contextmanager
    def _writing(self, workload: Workload) -> Iterator[None]:
        """What the system refuses, as a sentence for the user."""
        try:
            yield
        except OSError as error:
            raise UserError(
                f"The program of {workload.model} {workload.quant} can't be written below {self.root} "
                f"({error.strerror}, error {error.errno}): free space there or set SUITE_HOME to another folder."
            ) from error

    def kept_reference(
        self, artifact: Artifact, data: TaskBatches, training: TrainingSettings, steps: int
    ) -> list[list[float]] | None:
        """The reference losses if they were computed before; a damaged file counts as none."""
        asked = _asked(data, training, steps)
        try:
            kept = json.loads(_reference_path(artifact, asked).read_bytes())
            if kept["of"] == asked:
                return [[float(loss) for loss in row] for row in kept["losses"]]
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            pass
        return None


def _asked(data: TaskBatches, training: TrainingSettings, steps: int) -> dict[str, Any]:
    return {"data": data.sha256, "steps": steps, **asdict(training)}


def _reference_path(artifact: Artifact, asked: Mapping[str, Any]) -> Path:
    return artifact.folder / f"reference-{document_sha256(asked)[:16]}.json"


def _export_into(stage: Path, name: str, workload: Workload, weights: ModelWeights) -> dict[str, Any]:
    from workloads.export import export_program  # torch and executorch take seconds to import: only where they are used

    facts = export_program(workload, weights.config, weights.state, stage / PROGRAM)
    document: dict[str, Any] = {
        "schema": SCHEMA,
        "hash": name,
        "workload": workload.document(),
        "weights": {"sha256": weights.sha256, "source": weights.source},
        "files": [{"name": PROGRAM, "sha256": file_sha256(stage / PROGRAM), "bytes": facts.program_bytes}],
        "versions": {package: importlib.metadata.version(package) for package in _VERSIONED},
        "export_seconds": round(facts.export_seconds, 2),
        "delegates": {"partitions": facts.partitions, "other_nodes": sum(facts.operators.values())},
        "operators": dict(facts.operators),
        "weight_bytes": facts.weight_bytes,
        "program_bytes": facts.program_bytes,
        "adapter_values": facts.adapter_values,
    }
    (stage / _DOCUMENT).write_text(json.dumps(document, indent=1))
    return document


def _reference(
    workload: Workload, weights: ModelWeights, data: TaskBatches, training: TrainingSettings, steps: int
) -> list[list[float]]:
    from workloads.reference import Batch, Reference

    batches: Sequence[Batch] = [Batch(*arrays) for arrays in zip(data.tokens, data.first, data.labels, strict=True)]
    reference = Reference(workload, weights.config, weights.state)
    trajectory = reference.train(batches, steps, seed=training.seed, lr=training.lr, eps=training.eps)
    return [[float(loss) for loss in row.reshape(-1)] for row in trajectory.losses]
