"""Commands that are imported when they are run: what one command needs, no other has to wait for.

The libraries behind some commands (database, SSH, tensors, templates) take longer to load than most commands take.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import click


@dataclass(frozen=True)
class Later:
    """Where a command is, and the first sentence of its help, so that a list of commands needs none of them."""

    module: str
    attribute: str
    help: str

    def load(self) -> click.Command:
        """The command itself."""
        command = getattr(import_module(self.module), self.attribute)
        if not isinstance(command, click.Command):
            raise TypeError(f"{self.module}.{self.attribute} is no command")
        return command


class LazyGroup(click.Group):
    """A group whose commands are `later`, by their names."""

    def __init__(self, *arguments: Any, later: Mapping[str, Later], **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.later = dict(later)
        for name, command in self.later.items():
            self.add_command(click.Command(name, help=command.help))  # stands for it in lists and suggestions

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name, imported now; None if there is none."""
        later = self.later.get(cmd_name)
        return super().get_command(ctx, cmd_name) if later is None else later.load()

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """As click writes them, but without importing any."""
        names = self.list_commands(ctx)
        limit = formatter.width - 6 - max(map(len, names))
        with formatter.section("Commands"):
            formatter.write_dl([(name, self.commands[name].get_short_help_str(limit)) for name in names])
