"""Keeps a program's constants on disk during export, so that memory holds those of a layer or two, not the model.

ExecuTorch's serializer accepts a FileBackedData wherever it accepts bytes, and copies it into the program at the end.
Its emitter makes only bytes; `emitted` moves them to files as they come.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from executorch.exir._serialize._cord import FileBackedData
from executorch.exir.emit._emitter import _Emitter

SMALLEST_BYTES = 1 << 16
"""Smaller constants stay in memory: a file would cost more."""


class _WrittenOnce(FileBackedData):  # type: ignore[misc] # executorch has no types
    """Data whose file is deleted once copied, so that the disk holds little besides the program."""

    def write_to_file(self, outfile: io.BufferedIOBase) -> None:
        super().write_to_file(outfile)
        Path(self._path).unlink()


class ConstantFiles:
    """Constants in files in `folder`, which the caller removes after the program has been written, once."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._count = folder, 0

    def kept(self, data: bytes | memoryview, sha256: str | None = None) -> bytes | FileBackedData:
        """Returns the data, in a file unless it is small; `sha256` is its hexadecimal digest if known."""
        if len(data) < SMALLEST_BYTES:
            return bytes(data)
        path = self._folder / str(self._count)  # numbered: two equal constants need a file each
        self._count += 1
        path.write_bytes(data)
        digest = hashlib.sha256(data).digest() if sha256 is None else bytes.fromhex(sha256)
        return _WrittenOnce(str(path), sha256=digest)

    @contextlib.contextmanager
    def emitted(self) -> Iterator[None]:
        """Puts the graph constants of a program that is emitted in the block into files too."""
        save = _Emitter._save_new_const_tensor

        def saved(emitter: Any, spec: Any, data: bytes, sha256: str, *rest: Any) -> Any:
            return save(emitter, spec, self.kept(data, sha256), sha256, *rest)

        _Emitter._save_new_const_tensor = saved
        try:
            yield
        finally:
            _Emitter._save_new_const_tensor = save
