"""A shell of this host as a link: the tools of busybox or toybox alone, as on a small board or on a phone."""

from __future__ import annotations

import os
import select
import shutil
import subprocess
from pathlib import Path

from devices.errors import DeviceLost
from devices.transports.shell.link import Received


class ProcessLink:
    """Starts `shell` with nothing but `tools` on its search path."""

    def __init__(self, shell: list[str], tools: Path) -> None:
        self._shell, self._tools = shell, tools
        self.name = "process"
        self.opened: list[ProcessChannel] = []

    def open(self, *, timeout_s: float) -> ProcessChannel:
        process = subprocess.Popen(
            self._shell,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            env={"PATH": str(self._tools)},
            start_new_session=True,
        )
        self.opened.append(ProcessChannel(process))
        return self.opened[-1]

    def require_answer(self, *, timeout_s: float) -> None:
        """Does nothing, as this machine always answers."""

    def close(self) -> None:
        for channel in self.opened:
            channel.close()


class ProcessChannel:
    """A running shell."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        assert process.stdin and process.stdout and process.stderr
        self._input, self._outputs = process.stdin, [process.stdout, process.stderr]
        self._open = list(self._outputs)
        os.set_blocking(self._input.fileno(), False)

    def send(self, data: bytes, *, timeout_s: float) -> int:
        select.select([], [self._input], [], timeout_s)
        try:
            return os.write(self._input.fileno(), data)
        except (BlockingIOError, BrokenPipeError):
            return 0

    def finish(self) -> None:
        self._input.close()

    def receive(self, *, timeout_s: float) -> Received:
        if not self._open:
            return Received(ended=True)
        ready, _, _ = select.select(self._open, [], [], timeout_s)
        chunks = {pipe: os.read(pipe.fileno(), 65536) for pipe in ready}
        self._open = [pipe for pipe in self._open if chunks.get(pipe, b"-")]
        return Received(chunks.get(self._outputs[0], b""), chunks.get(self._outputs[1], b""))

    def close(self) -> None:
        for pipe in (self._input, *self._outputs):
            if not pipe.closed:
                pipe.close()
        try:
            self.process.wait(timeout=60)
        except subprocess.TimeoutExpired as error:
            raise DeviceLost("the shell outlived its input") from error


def busybox_link(folder: Path) -> ProcessLink:
    """A busybox and nothing else."""
    busybox = _needed("busybox", "busybox-static")
    folder.mkdir()
    subprocess.run([busybox, "--install", "-s", str(folder)], check=True, timeout=60)
    return ProcessLink([str(folder / "sh")], folder)


def android_link(folder: Path) -> ProcessLink:
    """The shell and the tools of Android: mksh and toybox, whose `dd` and `tr` Debian leaves out."""
    toybox = _needed("toybox", "toybox")
    folder.mkdir()
    applets = subprocess.run([toybox, "--long"], capture_output=True, text=True, check=True, timeout=60).stdout
    for name in applets.split():
        tool = folder / Path(name).name
        if not tool.exists() and tool.name != "sh":
            tool.symlink_to(toybox)
    for name in ("dd", "tr"):
        if not (folder / name).exists():
            (folder / name).symlink_to(_needed("busybox", "busybox-static"))
    (folder / "sh").symlink_to(_needed("mksh", "mksh"))
    return ProcessLink([str(folder / "sh")], folder)


def _needed(program: str, package: str) -> str:
    found = shutil.which(program)
    assert found is not None, f"{program} is needed: .ci/system-packages {package}"
    return found
