"""Pages of the docs' site that are no files of docs/: the top folder's own, all commands as `--help` has them, and the
pages of the experiments in docs/examples.

A hook of mkdocs (mkdocs.yml).
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import click
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from reports.model.experiment import Experiment
from reports.pages.experiment import experiment_page
from reports.site.writing import Site
from suite.cli.main import cli

_ROOT = Path(__file__).parents[1]
_TOP = {"README.md": "index.md", "CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}
_LICENSE = "license.md"
_WIDTH = 110
_EXAMPLES = "examples"


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the pages."""
    pages = {page: _linked((_ROOT / name).read_text(encoding="utf-8")) for name, page in _TOP.items()}
    pages[_LICENSE] = f"# Licence\n\n{_block((_ROOT / 'LICENSE').read_text(encoding='utf-8'))}"
    pages["commands.md"] = "# Commands\n\nWhat `--help` says of each.\n\n" + "\n".join(_sections("suite", cli))
    for page, content in pages.items():
        files.append(File.generated(config, page, content=content))
    for example in _examples(config):
        files.append(example)
    return files


def _examples(config: MkDocsConfig) -> Iterator[File]:
    """Builds a page from each document of an experiment; yields the pages and the assets that they share."""
    folder = _ROOT / "build" / _EXAMPLES
    shutil.rmtree(folder, ignore_errors=True)  # pages of documents that are gone
    site = Site(folder)
    for path in sorted((_ROOT / "docs" / _EXAMPLES).glob("*.json")):
        document = json.loads(path.read_text(encoding="utf-8"))
        site.write_page(f"{path.stem}.html", experiment_page(Experiment.from_document(document)))
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            yield File.generated(config, f"{_EXAMPLES}/{path.relative_to(folder)}", abs_src_path=str(path))


def _linked(text: str) -> str:
    """Returns the text with links as they are between pages of the site."""
    for name, page in {**_TOP, "LICENSE": _LICENSE}.items():
        text = text.replace(f"]({name})", f"]({page})")
    return re.sub(r"\]\(docs/", "](", text)


def _sections(name: str, command: click.Command, parent: click.Context | None = None) -> Iterator[str]:
    """Yields a section for a command, and those of the commands below it."""
    context = click.Context(
        command, info_name=name.rpartition(" ")[2], parent=parent, terminal_width=_WIDTH, max_content_width=_WIDTH
    )
    yield f"## {name}\n\n{_block(command.get_help(context))}"
    if isinstance(command, click.Group):
        for sub in command.list_commands(context):
            found = command.get_command(context, sub)
            if found is not None and not found.hidden:
                yield from _sections(f"{name} {sub}", found, context)


def _block(text: str) -> str:
    """Returns text as it stands."""
    return "".join(f"    {line}\n" if line.strip() else "\n" for line in text.splitlines())
