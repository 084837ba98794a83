"""A runner that is ready to deploy: its files, and the command that starts it.

A folder with a runner holds `runner.json`: the sha256 of each file, the machine it is for, and `launch`, the arguments
that precede the job file, in which `{folder}` stands for the files' folder on the device.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from devices.deployment.deploy import DeployFile
from foundation.atomic import write_atomic
from foundation.foreign_files import DAMAGED

MANIFEST = "runner.json"
FOLDER = "{folder}"
PLAIN_LAUNCH = (f"{FOLDER}/runner",)


@dataclass(frozen=True)
class BuiltRunner:
    """A folder that can be deployed unchanged; `files` is its content, to be copied to one folder of a device.

    `kernels`: the variant of its kernels to use, by setting; the widest for settings that are not named.
    """

    folder: Path
    hash: str
    machine: str  # as `uname -m` names it
    files: tuple[DeployFile, ...]
    launch: tuple[str, ...] = PLAIN_LAUNCH
    kernels: Mapping[str, str] = field(default_factory=dict, compare=False)

    def command(self, directory: str) -> tuple[str, ...]:
        """Returns the arguments before the job file, for files in `directory` of the device."""
        return tuple(
            directory + argument.removeprefix(FOLDER) if argument.startswith(FOLDER) else argument
            for argument in self.launch
        )

    @property
    def size_bytes(self) -> int:
        """The size of the files on a device."""
        return sum(file.size_bytes for file in self.files)


def write_manifest(folder: Path, launch: Sequence[str], facts: Mapping[str, Any]) -> None:
    """Writes the manifest of the files in `folder`, with `facts` (including `machine`)."""
    files = [
        {
            "name": path.relative_to(folder).as_posix(),
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
            "bytes": path.stat().st_size,
            "executable": os.access(path, os.X_OK),
        }
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    ]
    document = {**facts, "launch": list(launch), "files": files}
    write_atomic(folder / MANIFEST, json.dumps(document, indent=2).encode())


def kept_builds(runner_home: Path, facts: Mapping[str, Any]) -> Iterator[BuiltRunner]:
    """Yields the intact builds in `runner_home` whose manifest contains `facts`, the newest first."""
    manifests = [(path.stat().st_mtime_ns, path) for path in runner_home.glob(f"*/{MANIFEST}")]
    for _, path in sorted(manifests, reverse=True):
        built = read_built(path.parent)
        if built is not None and facts.items() <= json.loads(path.read_bytes()).items():
            yield built


def read_built(folder: Path) -> BuiltRunner | None:
    """Returns the runner in `folder` if all of its files are there with the right content."""
    try:
        manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_bytes())
        files = tuple(
            DeployFile(folder / item["name"], item["name"], item["sha256"], item["bytes"], item["executable"])
            for item in manifest["files"]
        )
        launch = tuple(str(argument) for argument in manifest["launch"])
        whole = all(hashlib.sha256(file.source.read_bytes()).hexdigest() == file.sha256 for file in files)
        return BuiltRunner(folder, folder.name, str(manifest["machine"]), files, launch) if whole else None
    except (OSError, *DAMAGED):  # a damaged file name may be one that the system rejects
        return None
