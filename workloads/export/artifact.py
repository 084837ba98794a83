"""Artifacts: exported programs with their facts, cached under a hash of their inputs.

The same workload, weights and versions give the same hash, so that nothing is exported twice. A folder gets its name
only when it is complete. Constants shared by programs of several shapes are in data files (data_files.py).
"""

from __future__ import annotations

import contextlib
import json
import logging
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from foundation.errors import UserError
from foundation.foreign_files import DAMAGED
from workloads.export.data_files import FOLDER as DATA_FOLDER
from workloads.export.data_files import DataCache, DataFile
from workloads.export.staging import is_intact, making, method_version, remember, remove_abandoned, stage, versions
from workloads.lowering.arithmetic_probe import PROBE, export_probe
from workloads.models.weights import ModelWeights, document_sha256, file_sha256
from workloads.workload import EXPORTER_VERSION, Workload

SCHEMA = 2
PROGRAM = "program.pte"
_DOCUMENT = "artifact.json"

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Artifact:
    """A complete artifact folder and its artifact.json."""

    folder: Path
    document: Mapping[str, Any]

    @property
    def hash(self) -> str:
        return str(self.document["hash"])

    @property
    def quant(self) -> str:
        """The setting of its workload."""
        return str(self.document["workload"]["quant"])

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
    def data(self) -> tuple[DataFile, ...]:
        """The data files that the program needs; artifacts of the first schema have none."""
        cache = DataCache(self.folder.parent / DATA_FOLDER)
        return tuple(cache.of_entry(entry) for entry in self.document.get("data", ()))

    @property
    def deployed_bytes(self) -> int:
        """The size of the program with its data files."""
        return self.program_bytes + sum(file.size_bytes for file in self.data)

    @property
    def weight_bytes(self) -> int:
        return int(self.document["weight_bytes"])


class ArtifactCache:
    """The artifacts in one folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.data = DataCache(root / DATA_FOLDER)

    def hash_of(self, workload: Workload, weights_sha256: str) -> str:
        """Returns the name of the artifact of this workload and these weights, whether it exists or not."""
        return document_sha256(
            {
                "exporter": EXPORTER_VERSION,
                "workload": workload.document(),
                "weights": weights_sha256,
                "versions": versions() | method_version(workload.training_method),
            }
        )[:32]

    def find(
        self, workload: Workload, weights_sha256: str, on_damage: Callable[[str], None] = _log.warning
    ) -> Artifact | None:
        """Returns the artifact if it exists and is intact; damaged files are reported to `on_damage` and removed.

        A file is hashed only if its size or stamp has changed since it was last hashed.
        """
        name = self.hash_of(workload, weights_sha256)
        if not (self.root / name).is_dir():
            return None
        try:
            artifact = self._read(name)
            right = artifact.document["schema"] == SCHEMA and artifact.hash == name
            if right and is_intact(artifact.program, artifact.program_sha256, artifact.program_bytes):
                return artifact if self._has_data(artifact, workload, on_damage) else None
        except (FileNotFoundError, *DAMAGED):
            pass  # a missing file or a damaged artifact.json counts as a damaged program
        on_damage(
            f"the program of {workload.model} {workload.quant} in the artifact cache is damaged: it is exported again"
        )
        with reporting_unwritable(workload, self.root):
            shutil.rmtree(self.root / name)
        return None

    def _has_data(self, artifact: Artifact, workload: Workload, on_damage: Callable[[str], None]) -> bool:
        """Returns whether all data files are intact. The program is kept in any case, as it names their content."""
        whole = True
        for file in artifact.data:
            with reporting_unwritable(workload, self.root):
                if not self.data.keeps(file):
                    whole = False
                    on_damage(
                        f"{file.name} of {workload.model} {workload.quant} is missing from the artifact cache or "
                        f"damaged: it is created again, {file.size_bytes / 1e6:.1f} MB"
                    )
        return whole

    def export(self, workload: Workload, weights: ModelWeights) -> Artifact:
        """Returns the artifact, exporting it first if necessary. Of processes that need the same one, one exports it.

        Raises UserError if the disk is full or can't be written.
        """
        name = self.hash_of(workload, weights.sha256)
        with reporting_unwritable(workload, self.root), making(self.root, name):
            present = self.find(workload, weights.sha256) or self._recovered(name, workload, weights)
            if present is not None:
                return present
            remove_abandoned(self.data.root)
            with stage(self.root, name) as folder:
                document = _export_into(folder, name, workload, weights, self.data)
                folder.rename(self.root / name)
        return Artifact(self.root / name, document)

    def _recovered(self, name: str, workload: Workload, weights: ModelWeights) -> Artifact | None:
        """Recreates lost data files of a program; removes the program if it does not fit them."""
        if not (self.root / name).is_dir():
            return None
        from workloads.export.shared_constants import share_constants

        share_constants(workload, weights, self.data)
        found = self.find(workload, weights.sha256)
        if found is None:
            shutil.rmtree(self.root / name, ignore_errors=True)
        return found

    def by_hash(self, name: str) -> Artifact | None:
        """Returns an earlier export if its files still exist; deployment checks their hash."""
        try:
            artifact = self._read(name)
            sizes = [(artifact.program, artifact.program_bytes)]
            sizes += [(file.path, file.size_bytes) for file in artifact.data]
            if artifact.hash == name and all(path.stat().st_size == size for path, size in sizes):
                return artifact
        except (OSError, *DAMAGED):
            pass
        return None

    def data_of(self, name: str) -> tuple[DataFile, ...]:
        """Returns the data files that a program names; none if its artifact.json is damaged."""
        try:
            return self._read(name).data
        except (OSError, *DAMAGED):
            return ()

    def remove_abandoned(self) -> None:
        """Removes what killed exports left behind: programs and data files that are incomplete."""
        for root in (self.root, self.data.root):
            remove_abandoned(root)

    def _read(self, name: str) -> Artifact:
        """Reads artifact.json. Raises OSError, ValueError and the other errors of damaged documents."""
        return Artifact(self.root / name, json.loads((self.root / name / _DOCUMENT).read_bytes()))


@contextlib.contextmanager
def reporting_unwritable(workload: Workload, root: Path) -> Iterator[None]:
    """Turns the system's refusals in the cache's folder into sentences for the user."""
    try:
        yield
    except OSError as error:
        raise UserError(
            f"The program of {workload.model} {workload.quant} can't be written below {root} "
            f"({error.strerror}, error {error.errno}): free space there or set SUITE_HOME to another folder."
        ) from error


def _export_into(folder: Path, name: str, workload: Workload, weights: ModelWeights, data: DataCache) -> dict[str, Any]:
    from workloads.export.export import (
        export_program,  # torch and executorch take seconds to import
    )

    facts = export_program(workload, weights, folder / PROGRAM, data)
    if workload.sums_vary:
        export_probe(folder / PROBE)
    document: dict[str, Any] = {
        "schema": SCHEMA,
        "hash": name,
        "workload": workload.document(),
        "weights": {"sha256": weights.sha256, "source": weights.source},
        "files": [{"name": PROGRAM, "sha256": file_sha256(folder / PROGRAM), "bytes": facts.program_bytes}],
        "data": [file.document() for file in facts.data],
        "versions": versions() | method_version(workload.training_method),
        "export_seconds": round(facts.export_seconds, 2),
        "delegates": {"partitions": facts.partitions, "other_nodes": sum(facts.operators.values())},
        "operators": dict(facts.operators),
        "weight_bytes": facts.weight_bytes,
        "program_bytes": facts.program_bytes,
        "adapter_values": facts.adapter_values,
    }
    (folder / _DOCUMENT).write_text(json.dumps(document, indent=1))
    remember(folder / PROGRAM, document["files"][0]["sha256"])
    return document
