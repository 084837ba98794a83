"""Records what people decide: `suite accept` a new level, `suite annotate` with a remark, `suite tag` a run."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import click

from foundation.errors import UserError
from foundation.text import printable
from suite.cli.completion import complete_remarkable, complete_run, complete_series_or_run, complete_tag
from suite.cli.options import inventory_option, open_store
from suite.cli.output import print_json, print_line
from suite.errors import ExitCode
from suite.results.findings import add_note, find_finding, is_finding
from suite.store.finding import LATEST, find_run, find_series_or_run
from suite.store.identity import author, checked_tag
from suite.store.series import Series, accept_points, newest_point, regressed_points
from suite.store.tags import tag_list, tag_run, take_away

_LONGEST = 2000


@click.command()
@click.argument("target", metavar="SERIES|RUN", shell_complete=complete_series_or_run)
@click.option("--why", required=True, metavar="TEXT", help="The reason, for those who read the history later.")
@click.option(
    "--run",
    "run_text",
    metavar="RUN",
    shell_complete=complete_run,
    help="Accept a series from this run on, instead of from its newest point.",
)
@inventory_option
def accept(target: str, why: str, run_text: str | None, inventory_path: Path) -> int:
    """Accept a new level: from now on, a series is compared only with its newest point and later ones.

    If a run is named, all its regressed series are accepted. Names may be shortened as long as they are unique.

    \b
    suite accept int8/latency_ms --why "the new kernel trades latency for memory"
    suite accept latest --why "new thermal paste"
    """
    reason = _check_remark(why, "--why")
    with open_store(inventory_path, read_only=False) as store:
        found = find_series_or_run(store, target)
        if isinstance(found, Series):
            points = [newest_point(store, found, None if run_text is None else find_run(store, run_text))]
        elif run_text is not None:
            raise UserError("--run is for a series: leave it out, as a run is named already.")
        else:
            points = regressed_points(store, found)
            if not points:
                known = len(regressed_points(store, found, accepted=True))
                what = f"All {known} series that regressed" if known else "Nothing regressed"
                already = " are accepted already" if known else ""
                raise UserError(
                    f"{what} in run {found}{already}: name a series from `suite history` to accept its level."
                )
        accept_points(store, points, author(), reason)
    for point in points:
        print_line(f"accepted {point.series} from run {point.run_id} on")
    return ExitCode.OK


@click.command()
@click.argument("target", metavar="FINDING|SERIES|RUN", shell_complete=complete_remarkable)
@click.argument("text", required=False)
@click.option("--note", metavar="TEXT", help="The remark, instead of TEXT after the name.")
@click.option("--link", metavar="URL", help="Where a finding is tracked, such as an issue.")
@inventory_option
def annotate(target: str, text: str | None, note: str | None, link: str | None, inventory_path: Path) -> int:
    """Add a remark to a finding, a series or a run; `suite findings`, `suite history` and the reports print it.

    \b
    suite annotate F-1a2b3c --link https://bugs.example/17 --note "the new kernel"
    suite annotate 2026-11-22 "the lab had 31 degC"
    suite annotate jetson/int8/power_mw "meter replaced"
    """
    if text is not None and note is not None:
        raise UserError("TEXT and --note are both given: leave out one of them.")
    given = note if text is None else text
    if given is None and link is None:
        raise UserError("The remark is missing: write it after the name, or give --link.")
    remark = None if given is None else _check_remark(given, "TEXT" if note is None else "--note")
    with open_store(inventory_path, read_only=False) as store:
        if is_finding(target):
            key = find_finding(store, target)
            for kind, words in (("link", link and _check_link(link)), ("note", remark)):
                if words:
                    add_note(store, kind, author(), words, finding=key)
            print_line(f"noted on {key}")
            return ExitCode.OK
        if link is not None or remark is None:
            raise UserError("--link is only for findings (see `suite findings`): put the address into TEXT.")
        found = find_series_or_run(store, target)
        if isinstance(found, Series):
            store.annotate(author(), remark, series_id=newest_point(store, found).series_id)
        else:
            store.annotate(author(), remark, run_id=found)
    print_line(f"noted on {found.name if isinstance(found, Series) else f'run {found}'}")
    return ExitCode.OK


def _check_link(link: str) -> str:
    if not re.fullmatch(r"https?://[^\s/]+(/\S*)?", link) or len(link) > _LONGEST or not link.isprintable():
        raise UserError("--link is not an address: give one that begins with https:// and a host.")
    return link


def _check_remark(text: str, where: str) -> str:
    if not text.strip():
        raise UserError(f"{where} is empty: write a few words.")
    if len(text) > _LONGEST:
        raise UserError(f"{where} has {len(text)} characters, but at most {_LONGEST} are kept: shorten it.")
    return printable(text, _LONGEST)


@click.command()
@click.argument("name", required=False, shell_complete=complete_tag)
@click.argument("run_text", metavar="[RUN]", required=False, shell_complete=complete_run)
@click.option("--move", is_flag=True, help="Move a tag that another run has to this one.")
@click.option("--delete", is_flag=True, help="Delete the tag.")
@click.option("--json", "as_json", is_flag=True, help="Print the tags as one JSON document.")
@inventory_option
def tag(name: str | None, run_text: str | None, move: bool, delete: bool, as_json: bool, inventory_path: Path) -> int:
    """List the tags, or tag a run (by default the newest) with a name that `suite compare` and others take.

    \b
    suite tag before-upgrade
    suite tag v1.2 2026-11-20
    suite compare v1.2 latest
    suite tag
    """
    if name is None:
        return _list_tags(inventory_path, as_json, changes=move or delete)
    if as_json:
        raise UserError("--json lists the tags: leave NAME out.")
    if delete:
        if run_text is not None or move:
            raise UserError("--delete takes the name alone: leave out RUN and --move.")
        with open_store(inventory_path, read_only=False) as store:
            freed = take_away(store, name, author())
        print_line(f"deleted tag {freed.name}, which was run {freed.run_id}")
        return ExitCode.OK
    checked_tag(name)
    with open_store(inventory_path, read_only=False) as store:
        run_id = find_run(store, run_text or LATEST)
        new = tag_run(store, name, run_id, author(), move=move)
    print_line(f"tag {name} is run {run_id}{'' if new else ' already'}")
    return ExitCode.OK


def _list_tags(inventory_path: Path, as_json: bool, *, changes: bool) -> int:
    if changes:
        raise UserError("NAME is missing: name the tag for --move or --delete.")
    with open_store(inventory_path) as store:
        tags = tag_list(store)
    if as_json:
        print_json([dataclasses.asdict(item) for item in tags])
        return ExitCode.OK
    for item in tags:
        print_line(f"{item.name}  {item.run_id}  {item.at} by {item.author}")
    if not tags:
        print_line("no run has a tag: `suite tag NAME` gives the newest one a name")
    return ExitCode.OK
