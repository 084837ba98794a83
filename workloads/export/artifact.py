"""Artifacts: exported programs with their facts, cached under a hash of what they were made from.

The same workload, weights and versions give the same hash, so that nothing is exported twice. A folder gets its name
only when it is complete.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import logging
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from foundation.errors import UserError
from workloads.lowering.arithmetic_probe import PROBE, export_probe
from workloads.models.weights import ModelWeights, document_sha256, file_sha256
from workloads.workload import EXPORTER_VERSION, Workload

SCHEMA = 1
PROGRAM = "program.pte"
_DOCUMENT = "artifact.json"
_VERIFIED = "verified.json"
_STAGE = ".exporting-"
_VERSIONED = ("torch", "executorch", "torchao")

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
    """The artifacts in one folder."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def hash_of(self, workload: Workload, weights_sha256: str) -> str:
        """Returns the name of the artifact of this workload and these weights, whether it exists or not."""
        versions = {name: importlib.metadata.version(name) for name in _VERSIONED}
        return document_sha256(
            {
                "exporter": EXPORTER_VERSION,
                "workload": workload.document(),
                "weights": weights_sha256,
                "versions": versions,
            }
        )[:32]

    def find(
        self, workload: Workload, weights_sha256: str, on_damage: Callable[[str], None] = _log.warning
    ) -> Artifact | None:
        """Returns the artifact if it is there and intact; a damaged one is reported to `on_damage` and removed.

        The program is hashed only if its size or stamp has changed since it was last hashed.
        """
        folder = self.root / self.hash_of(workload, weights_sha256)
        if not folder.is_dir():
            return None
        try:
            document = json.loads((folder / _DOCUMENT).read_bytes())
            if document["schema"] == SCHEMA and _has_its_content(folder, document):
                return Artifact(folder, document)
        except (FileNotFoundError, ValueError, LookupError, TypeError):
            pass  # a missing file or a damaged artifact.json counts as a damaged program
        on_damage(
            f"the program of {workload.model} {workload.quant} in the artifact cache is damaged: it is exported again"
        )
        with reporting_unwritable(workload, self.root):
            shutil.rmtree(folder)
        return None

    def export(self, workload: Workload, weights: ModelWeights) -> Artifact:
        """Returns the artifact, exporting it first if need be. Processes that need the same one wait for one of them.

        Raises UserError if the disk is full or can't be written.
        """
        name = self.hash_of(workload, weights.sha256)
        with reporting_unwritable(workload, self.root):
            self.root.mkdir(parents=True, exist_ok=True)
            with FileLock(self.root / f".{name}.lock"):
                present = self.find(workload, weights.sha256)
                if present is not None:
                    return present
                self.remove_abandoned(but=name)
                stage = self.root / f"{_STAGE}{name}"
                shutil.rmtree(stage, ignore_errors=True)  # left by a killed export
                try:
                    stage.mkdir()
                    document = _export_into(stage, name, workload, weights)
                    stage.rename(self.root / name)
                finally:
                    shutil.rmtree(stage, ignore_errors=True)
        return Artifact(self.root / name, document)

    def by_hash(self, name: str) -> Artifact | None:
        """Returns an earlier export if its files are still there; deployment checks their hash."""
        folder = self.root / name
        try:
            document = json.loads((folder / _DOCUMENT).read_bytes())
            if document["hash"] == name and (folder / PROGRAM).stat().st_size == document["program_bytes"]:
                return Artifact(folder, document)
        except (OSError, ValueError, LookupError, TypeError):
            pass
        return None

    def remove_abandoned(self, but: str | None = None) -> None:
        """Removes what killed exports left behind, except the one named: gigabytes that may never be needed again."""
        for stage in self.root.glob(f"{_STAGE}*"):
            name = stage.name.removeprefix(_STAGE)
            if name != but:
                # Timeout: that export is still running.
                with contextlib.suppress(Timeout), FileLock(self.root / f".{name}.lock", timeout=0):
                    shutil.rmtree(stage, ignore_errors=True)


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


def _has_its_content(folder: Path, document: Mapping[str, Any]) -> bool:
    """Returns whether the program is unchanged since its export; remembers its stamp if that took hashing it."""
    program, sha256 = folder / PROGRAM, document["files"][0]["sha256"]
    if program.stat().st_size != document["program_bytes"]:
        return False
    known = folder / _VERIFIED
    if known.is_file() and known.read_text(errors="replace") == _verified(program, sha256):
        return True
    if file_sha256(program) != sha256:
        return False
    _remember(folder, sha256)
    return True


def _verified(program: Path, sha256: str) -> str:
    """Returns the stamp of a hashed program, which changes with any write to it or replacement of it."""
    status = program.stat()
    stamp = f"{status.st_mtime_ns}:{status.st_ctime_ns}:{status.st_ino}"
    return json.dumps({"sha256": sha256, "bytes": status.st_size, "stamp": stamp})


def _remember(folder: Path, sha256: str) -> None:
    with contextlib.suppress(OSError):  # in a cache that is read-only or full, the program is hashed again next time
        (folder / _VERIFIED).write_text(_verified(folder / PROGRAM, sha256))


def _export_into(stage: Path, name: str, workload: Workload, weights: ModelWeights) -> dict[str, Any]:
    from workloads.export.export import (
        export_program,  # torch and executorch take seconds to import: only where they are used
    )

    facts = export_program(workload, weights.config, weights.state, stage / PROGRAM)
    if workload.setting.sums_vary:
        export_probe(stage / PROBE)
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
    _remember(stage, document["files"][0]["sha256"])
    return document
