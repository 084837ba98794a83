"""The data files of the artifact cache: constants that programs of many shapes share, each kept once.

`weights/HASH/` holds one file (FlatTensor, .ptd), HASH being the start of its sha256, and beside it a catalog of its
constants for each recipe that gave it: by the recipe it is found without making it. A folder gets its name only when
it is complete.
"""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from workloads.export.intact import is_intact, remember
from workloads.models.weights import document_sha256, file_sha256

WEIGHTS, ADAPTERS = "weights.ptd", "adapters.ptd"
FOLDER = "weights"
"""Of all data files, in the artifact cache and on devices."""

_SCHEMA = 1
_STAGE = ".exporting-"

Catalog = Mapping[str, Mapping[str, Any]]
"""The place of each constant in a file, as JSON values, by its name."""


@dataclass(frozen=True)
class DataFile:
    """A complete data file in its folder."""

    folder: Path
    name: str
    sha256: str
    size_bytes: int

    @property
    def path(self) -> Path:
        return self.folder / self.name

    @property
    def hash(self) -> str:
        """The name of its folder, on the host and on devices."""
        return self.sha256[:32]

    def document(self) -> dict[str, Any]:
        """Returns its entry in artifact.json."""
        return {"name": self.name, "sha256": self.sha256, "bytes": self.size_bytes}


class DataCache:
    """The data files in one folder."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def of_entry(self, entry: Mapping[str, Any]) -> DataFile:
        """Returns the data file of an entry in artifact.json, whether it exists or not."""
        sha256 = str(entry["sha256"])
        return DataFile(self.root / sha256[:32], str(entry["name"]), sha256, int(entry["bytes"]))

    def keeps(self, file: DataFile) -> bool:
        """Returns whether a data file is there and intact; a damaged one is removed. Raises OSError."""
        with contextlib.suppress(FileNotFoundError):
            if is_intact(file.path, file.sha256, file.size_bytes):
                return True
        if file.folder.is_dir():
            shutil.rmtree(file.folder)
        return False

    def make(self, name: str, recipe: Mapping[str, Any], write: Callable[[Path], Catalog]) -> tuple[DataFile, Catalog]:
        """Returns the data file of a recipe and its catalog; `write` makes it if need be.

        Processes that need the same one wait for one of them. Raises OSError.
        """
        recipe_hash = document_sha256(recipe)[:32]
        self.root.mkdir(parents=True, exist_ok=True)
        with FileLock(self.root / f".{recipe_hash}.lock"):
            present = next(self._present(recipe_hash), None)
            if present is not None:
                return present
            self.remove_abandoned(but=recipe_hash)
            stage = self.root / f"{_STAGE}{recipe_hash}"
            shutil.rmtree(stage, ignore_errors=True)  # left by a killed export
            try:
                stage.mkdir()
                return self._written(stage, name, recipe_hash, write)
            finally:
                shutil.rmtree(stage, ignore_errors=True)

    def remove_abandoned(self, but: str | None = None) -> None:
        """Removes what killed exports left behind, except that of the recipe named."""
        for stage in self.root.glob(f"{_STAGE}*"):
            recipe_hash = stage.name.removeprefix(_STAGE)
            if recipe_hash != but:
                # Timeout: that file is still being written.
                with contextlib.suppress(Timeout), FileLock(self.root / f".{recipe_hash}.lock", timeout=0):
                    shutil.rmtree(stage, ignore_errors=True)

    def _present(self, recipe_hash: str) -> Iterator[tuple[DataFile, Catalog]]:
        for path in self.root.glob(f"*/{_catalog_name(recipe_hash)}"):
            try:
                document = json.loads(path.read_bytes())
                file, constants = self.of_entry(document["file"]), document["constants"]
                right = document["schema"] == _SCHEMA and file.folder == path.parent
            except (ValueError, LookupError, TypeError):
                right = False
            if right and self.keeps(file):
                yield file, constants

    def _written(
        self, stage: Path, name: str, recipe_hash: str, write: Callable[[Path], Catalog]
    ) -> tuple[DataFile, Catalog]:
        constants = write(stage / name)
        sha256, size_bytes = file_sha256(stage / name), (stage / name).stat().st_size
        file = DataFile(self.root / sha256[:32], name, sha256, size_bytes)
        remember(stage / name, sha256)
        catalog = stage / _catalog_name(recipe_hash)
        catalog.write_text(json.dumps({"schema": _SCHEMA, "file": file.document(), "constants": constants}))
        if self.keeps(file):  # another recipe gave the same file
            catalog.replace(file.folder / catalog.name)
        else:
            stage.rename(file.folder)
        return file, constants


def _catalog_name(recipe_hash: str) -> str:
    return f"constants-{recipe_hash}.json"
