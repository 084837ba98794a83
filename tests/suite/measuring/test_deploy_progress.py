"""A transfer shows how fast it is, the runner's as well as a program's."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

from rich.console import Console

from devices.access.connect import connect
from devices.deployment.built_runner import BuiltRunner
from devices.deployment.deploy import DeployFile
from devices.inventory.entry import DeviceEntry
from suite.display import Display
from suite.measuring.deployment import deploy_runner


def runner(folder: Path, content: bytes) -> BuiltRunner:
    (folder / "runner").write_bytes(content)
    file = DeployFile(folder / "runner", "runner", hashlib.sha256(content).hexdigest(), len(content), executable=True)
    return BuiltRunner(folder, "a" * 32, "x86_64", (file,))


def test_pushing_the_runner_tells_its_bytes(tmp_path: Path) -> None:
    entry = DeviceEntry(name="local", kind="local", transport="local", workdir=str(tmp_path / "device"))
    reports: list[tuple[str, int, int]] = []
    with connect(entry, tmp_path / "locks") as device:
        deploy_runner(device, runner(tmp_path, bytes(3 << 20)), None, lambda *progress: reports.append(progress))
    assert reports[-1] == ("runner", 3 << 20, 3 << 20)


def test_transfer_on_a_terminal_shows_its_rate() -> None:
    text = io.StringIO()
    display = Display(Console(file=text, force_terminal=True, width=120))
    with display.bytes("pi: deploying") as on_progress:
        for done in range(5):
            on_progress("runner", done * 1_000_000, 5_000_000)
    assert "MB/s" in text.getvalue() or "GB/s" in text.getvalue()
    assert "4.0/5.0 MB" in text.getvalue()
