"""What all twins share: files, power, and use as a context."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Self

from tests.support.twins.twin_machine import Machine


class PoweredTwin(ABC):
    """A machine with its root, which a daemon makes reachable."""

    root: Path
    machine: Machine

    @abstractmethod
    def start(self) -> None:
        """Powers it on, or starts its daemon again after a kill; waits until it answers."""

    @abstractmethod
    def close(self) -> None:
        """Powers it off and removes its root."""

    def write(self, path: str, text: str) -> None:
        """Replaces a file of the root; a reader sees the old text or the new one."""
        write_file(self.root / path.lstrip("/"), text)

    def stop(self) -> None:
        """Powers it off: connections just end, nothing runs on. `start` is then a reboot."""
        self.machine.power_off()

    def pause(self) -> None:
        """Freezes it: connections stay open and silent."""
        self.machine.pause()

    def resume(self) -> None:
        """Resumes after `pause`."""
        self.machine.resume()

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_raised: object) -> None:
        self.close()


def write_file(path: Path, text: str) -> None:
    """Replaces a file in one step, its folders made if need be."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.fresh")
    fresh.write_text(text)
    fresh.chmod(0o644)
    fresh.replace(path)
