"""Imports commands only when they run, so that no command waits for the libraries of another.

The libraries behind some commands (database, SSH, tensors, templates) take longer to load than most commands take.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import click
from click.shell_completion import CompletionItem

from suite.cli.streams import NobodyReads


@dataclass(frozen=True)
class Later:
    """Where a command is defined and the first sentence of its help, so that listing commands imports none of them."""

    module: str
    attribute: str
    help: str

    def load(self) -> click.Command:
        """Imports and returns the command."""
        command = getattr(import_module(self.module), self.attribute)
        if not isinstance(command, click.Command):
            raise TypeError(f"{self.module}.{self.attribute} is not a command")
        return command


class LazyGroup(click.Group):
    """A group of commands, some of which are imported when they are needed."""

    def __init__(self, *arguments: Any, later: Mapping[str, Later], **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.later = dict(later)
        for name, command in self.later.items():
            self.add_command(click.Command(name, help=command.help))  # represents it in lists and suggestions

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Imports and returns the command of that name, or None if there is none."""
        later = self.later.get(cmd_name)
        return super().get_command(ctx, cmd_name) if later is None else later.load()

    def invoke(self, ctx: click.Context) -> Any:
        """Invokes the command. Raises NobodyReads where click would end the process silently."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError as error:
            raise NobodyReads(f"{error.strerror}, error {error.errno}") from error

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Offers commands and options without importing any command."""
        commands = [
            CompletionItem(name, help=self.commands[name].get_short_help_str())
            for name in self.list_commands(ctx)
            if name.startswith(incomplete)
        ]
        return [*commands, *click.Command.shell_complete(self, ctx, incomplete)]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Lists the commands as click does, but without importing any."""
        names = self.list_commands(ctx)
        limit = formatter.width - 6 - max(map(len, names))
        with formatter.section("Commands"):
            formatter.write_dl([(name, self.commands[name].get_short_help_str(limit)) for name in names])
