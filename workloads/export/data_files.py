"""The data files of the artifact cache: constants shared by programs of many shapes, each stored once.

`weights/HASH/` holds one file (FlatTensor, .ptd), where HASH is the start of its sha256, and a catalog of its constants
for each recipe that produces it, so that it can be found by recipe without creating it. A folder gets its name only
when it is complete.
"""

from __future__ import annotations

import contextlib
import json
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from foundation.foreign_files import DAMAGED
from workloads.export.staging import is_intact, making, remember, stage
from workloads.models.weights import document_sha256, file_sha256

WEIGHTS, ADAPTERS = "weights.ptd", "adapters.ptd"
FOLDER = "weights"
"""The folder of all data files, in the artifact cache and on devices."""

_SCHEMA = 1
_SHA256 = re.compile("[0-9a-f]{64}")

Catalog = Mapping[str, Mapping[str, Any]]
"""The place of each constant in a file, as JSON values, by its name."""
_PLACE = {"key", "sha256", "dtype", "shape", "offset"}
"""A constant's place (StoredConstant in flat_tensor.py, which needs torch)."""


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
        """Returns the data file of an entry in artifact.json, whether it exists or not.

        Raises ValueError for an invalid entry, as the folder of a damaged file is removed.
        """
        name, sha256 = str(entry["name"]), str(entry["sha256"])
        if name not in (WEIGHTS, ADAPTERS) or _SHA256.fullmatch(sha256) is None:
            raise ValueError(f"{name!r} with the hash {sha256!r} is not a data file")
        return DataFile(self.root / sha256[:32], name, sha256, int(entry["bytes"]))

    def keeps(self, file: DataFile) -> bool:
        """Returns whether a data file exists and is intact; a damaged one is removed. Raises OSError."""
        with contextlib.suppress(FileNotFoundError):
            if is_intact(file.path, file.sha256, file.size_bytes):
                return True
        if file.folder.is_dir():
            shutil.rmtree(file.folder)
        return False

    def make(self, name: str, recipe: Mapping[str, Any], write: Callable[[Path], Catalog]) -> tuple[DataFile, Catalog]:
        """Returns the data file of a recipe and its catalog; `write` creates it if necessary. Of processes that need
        the same one, one creates it. Raises OSError.
        """
        recipe_hash = document_sha256(recipe)[:32]
        with making(self.root, recipe_hash):
            present = next(self._present(recipe_hash), None)
            if present is not None:
                return present
            with stage(self.root, recipe_hash) as folder:
                return self._written(folder, name, recipe_hash, write)

    def _present(self, recipe_hash: str) -> Iterator[tuple[DataFile, Catalog]]:
        for path in self.root.glob(f"*/{_catalog_name(recipe_hash)}"):
            try:
                document = json.loads(path.read_bytes())
                file, constants = self.of_entry(document["file"]), document["constants"]
                whole = all(one.keys() == _PLACE and isinstance(one["shape"], list) for one in constants.values())
                right = whole and document["schema"] == _SCHEMA and file.folder == path.parent
            except DAMAGED:
                right = False
            if right and self.keeps(file):
                yield file, constants

    def _written(
        self, folder: Path, name: str, recipe_hash: str, write: Callable[[Path], Catalog]
    ) -> tuple[DataFile, Catalog]:
        constants = write(folder / name)
        sha256, size_bytes = file_sha256(folder / name), (folder / name).stat().st_size
        file = DataFile(self.root / sha256[:32], name, sha256, size_bytes)
        remember(folder / name, sha256)
        catalog = folder / _catalog_name(recipe_hash)
        catalog.write_text(json.dumps({"schema": _SCHEMA, "file": file.document(), "constants": constants}))
        if self.keeps(file):  # another recipe produced the same file
            catalog.replace(file.folder / catalog.name)
        else:
            folder.rename(file.folder)
        return file, constants


def _catalog_name(recipe_hash: str) -> str:
    return f"constants-{recipe_hash}.json"
