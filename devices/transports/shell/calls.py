"""Calls over a link: file operations by our scripts, and supervised programs."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from devices.errors import CommandError, FileError
from devices.processes import Deadline, ProcessEnd
from devices.transports.lines import OutputBudget
from devices.transports.shell.conversation import Conversation, Patience
from devices.transports.shell.link import Link
from devices.transports.shell.refusals import error_number, file_error, missing_tool
from devices.transports.shell.scripts import operation_script, plain_path, program_script
from foundation.text import printable

_CANNOT_START = (126, 127)


@dataclass(frozen=True)
class Calls:
    """Runs scripts and programs on the device.

    `require_hold` is called during every call, and raises when the device is not ours any more.
    """

    link: Link
    patience: Patience
    require_hold: Callable[[], None] = lambda: None

    def operate(
        self,
        body: str,
        arguments: Sequence[str],
        *,
        what: str,
        deadline: Deadline,
        on_output: Callable[[bytes], None],
        feed: Iterator[bytes] | None = None,
    ) -> ProcessEnd:
        """Runs one of our scripts. Raises `CommandError` if the device lacks a tool for it."""
        token = secrets.token_hex(16)
        script = operation_script(token, body, arguments)
        self.require_hold()
        talk = Conversation(self.link, token, what, deadline, self.patience, on_output, self.require_hold)
        end = talk.hold(script, feed)
        self.require_hold()
        missing = missing_tool(end)
        if missing is not None:
            raise missing
        return end

    def collect(
        self, action: str, path: str, body: str, arguments: Sequence[str] = (), *, timeout_s: float, limit_bytes: int
    ) -> bytes:
        """Returns the output of a script about `path`, its first argument. Raises `FileError` if it fails."""
        content = bytearray()
        budget = OutputBudget(limit_bytes)

        def take(chunk: bytes) -> None:
            budget.spend(len(chunk))
            content.extend(chunk)

        deadline = Deadline(timeout_s)
        what = f"the attempt to {action} {printable(path)!r}"
        end = self.operate(
            body, (path_argument(action, path), *arguments), what=what, deadline=deadline, on_output=take
        )
        if end.rc:
            raise file_error(action, path, end.stderr_tail)
        return bytes(content)

    def watch(
        self,
        argv: Sequence[str],
        *,
        deadline: Deadline,
        cwd: str | None,
        on_output: Callable[[bytes], None],
        pid_file: str | None = None,
        while_waiting: Callable[[], None] = lambda: None,
    ) -> ProcessEnd:
        """Runs a program in its own session. Raises `CommandError` if it can't be started."""
        if isinstance(argv, str) or not argv:
            raise ValueError(f"a command is a list of at least one argument, not {argv!r}")
        token = secrets.token_hex(16)
        command = printable(argv[0])
        try:
            script = program_script(
                token,
                argv,
                cwd=plain_path(cwd) if cwd else None,
                pid_file=plain_path(pid_file) if pid_file else None,
                grace_s=self.patience.grace_s,
            )
        except ValueError as error:
            raise CommandError(f"the command {command!r} can't be started: {error}; correct its arguments.") from error
        watch = _Watch(on_output)
        what = f"the command {command!r}"

        def meanwhile() -> None:
            self.require_hold()
            while_waiting()

        self.require_hold()
        talk = Conversation(self.link, token, what, deadline, self.patience, watch, meanwhile)
        end = talk.hold(script)
        self.require_hold()
        refusal = _refusal(end, talk.failed_stage, argv[0], cwd, pid_file, printed=watch.any)
        if refusal is not None:
            raise refusal
        return end


def path_argument(action: str, path: str) -> str:
    """Returns a path as an argument of a script. Raises `FileError` for a path that is invalid everywhere."""
    try:
        return plain_path(path)
    except ValueError as error:
        raise file_error(action, path, str(error)) from error


@dataclass
class _Watch:
    """Passes output on and remembers whether there was any."""

    on_output: Callable[[bytes], None]
    any: bool = False

    def __call__(self, chunk: bytes) -> None:
        self.any = True
        self.on_output(chunk)


def _refusal(
    end: ProcessEnd, stage: str | None, program: str, cwd: str | None, pid_file: str | None, *, printed: bool
) -> CommandError | FileError | None:
    """Returns the error if the program was never started.

    bash skips its exit trap when it can't start a file: the signs are the shell's exit code for that, a message that
    names the program and ends with the system's reason, and no output.
    """
    message = end.stderr_tail
    missing = missing_tool(end)
    if stage is None and missing is not None and not printed and not _names(program, message):
        return missing
    if stage == "pid" and pid_file:
        return file_error("write", pid_file, message)
    unstarted = end.rc in _CANNOT_START and not printed and _names(program, message)
    if stage is None and not (unstarted and error_number(message)):
        return None
    place = f" in {printable(cwd)!r}" if cwd else ""
    return CommandError(
        f"the command {printable(program)!r} can't be started{place} because "
        f"{file_error('start', program, message).reason}; "
        "check that it is installed, executable and built for this machine."
    )


def _names(program: str, message: str) -> bool:
    return f"{program}:" in message
