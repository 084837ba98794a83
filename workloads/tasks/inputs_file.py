"""The runner's inputs.bin: the batches of each input one after the other, int64, little endian."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from workloads.tasks.batches import TaskBatches


@dataclass(frozen=True)
class FileInput:
    """One entry of the job's `inputs`: `batches` tensors of `shape` begin at byte `offset` of `file`."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    file: str
    offset: int
    batches: int

    def as_job_entry(self) -> dict[str, object]:
        """The entry as the job file has it."""
        return {**asdict(self), "shape": list(self.shape)}


def write_inputs(data: TaskBatches, path: Path) -> list[FileInput]:
    """Write tokens, first and labels to `path` and return their entries, in the order of the program's inputs.

    The file is written beside `path` and renamed. Raises OSError as writing a file does.
    """
    entries = []
    offset = 0
    partial = path.with_name(path.name + ".partial")
    with partial.open("wb") as file:
        for name, array in (("tokens", data.tokens), ("first", data.first), ("labels", data.labels)):
            entries.append(FileInput(name, "int64", array.shape[1:], path.name, offset, array.shape[0]))
            offset += file.write(array.astype("<i8").tobytes())
    partial.replace(path)
    return entries
