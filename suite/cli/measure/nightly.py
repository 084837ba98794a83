"""`suite nightly`: the command that the timer runs. Its exit code reports whether something regressed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import click

from foundation.atomic import write_atomic
from foundation.errors import UserError
from foundation.unavailable import Unavailable
from reports.files import page_or_reason
from suite.cli.options import inventory_option, label_option, night_plan_option, open_inventory, open_store
from suite.cli.output import print_line, print_plain, typeable
from suite.display import Display
from suite.errors import ExitCode
from suite.home import Home
from suite.nightly.judging import Night
from suite.nightly.night import carry_out
from suite.nightly.sending import post, send_mail
from suite.nightly.summary import (
    annotation_lines,
    banner,
    document,
    finding_line,
    is_github_step,
    junit,
    markdown,
    notices_of,
)
from suite.planning.plan_file import load_plan_file

_MOST_ROWS = 10


@click.command()
@night_plan_option
@click.option(
    "--quick", is_flag=True, help="One short session for each workload: for trying the plan, not for verdicts."
)
@label_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON line.")
@click.option(
    "--annotate",
    is_flag=True,
    help="Print annotations for GitHub Actions; with --json, on standard error.",
)
@click.option(
    "--metrics",
    "metrics_path",
    type=click.Path(path_type=Path),
    metavar="FILE",
    envvar="SUITE_METRICS_FILE",
    help="Write the newest numbers for Prometheus to this file; default: $SUITE_METRICS_FILE, if set.",
)
@inventory_option
def nightly(
    plan_path: Path,
    quick: bool,
    label: str | None,
    as_json: bool,
    annotate: bool,
    metrics_path: Path | None,
    inventory_path: Path,
) -> int:
    """Measure the plan, screen every series, confirm suspects in turn with their baseline, and judge.

    Writes junit.xml, summary.md and night.json to nights/RUN/ of the suite home. The exit code is 3 if something
    regressed, 4 if something is inconclusive or failed. An interrupted night is resumed. What --json prints is also
    posted to the URL in $SUITE_WEBHOOK_URL, if set, and the summary is mailed to $SUITE_MAIL_TO.

    \b
    suite nightly --plan nightly.yaml
    """
    inventory, home = open_inventory(inventory_path)
    plan = load_plan_file(plan_path, inventory, check_inputs=False)
    words: Sequence[str] = click.get_current_context().find_object(tuple) or ()
    display = Display()
    night = carry_out(plan.quick() if quick else plan, inventory, home, display, ["suite", *words], label)
    line = json.dumps(document(night), allow_nan=False)
    # Before printing: the reader of the output may stop reading. Posting takes up to 90 s.
    summary = page_or_reason(lambda: _write(night, line, home) / "summary.md")
    metrics = None if metrics_path is None else page_or_reason(lambda: _write_metrics(metrics_path, inventory_path))
    _send(night, line, display)
    if as_json:
        print_plain(line)
    else:
        _print(night)
    if annotate or is_github_step():
        for annotation in annotation_lines(notices_of(night)):
            print_plain(annotation, err=as_json)
    code = night.exit_code
    pages = {"summary": summary, "report": night.report} | ({} if metrics is None else {"metrics": metrics})
    for name, page in pages.items():
        if isinstance(page, Unavailable):
            display.note(page.reason)
            code = code or ExitCode.USAGE
        elif not as_json:
            print_plain(f"{name}: {page}")
    return code


def _send(night: Night, line: str, display: Display) -> None:
    """Posts and mails the night to the addresses in the environment, and prints how that went."""
    for sent in (post(line.encode()), send_mail(f"Night {night.run_id}: {banner(night)}", markdown(night))):
        if sent is not None:
            display.note(sent.sentence)


def _write_metrics(path: Path, inventory_path: Path) -> Path:
    from suite.exchange.openmetrics import openmetrics  # loads what reads the store for reports
    from suite.report_data.source import StoreSource

    with open_store(inventory_path) as store:
        text = openmetrics(StoreSource(store))
    try:
        write_atomic(path, text.encode())
    except OSError as error:
        raise UserError(
            f"the metrics cannot be written to {path} ({error.strerror}, error {error.errno}): name a file in a "
            "writable folder"
        ) from error
    return path


def _print(night: Night) -> None:
    """Prints the findings, the first rows behind them (the summary has all), the gaps and the totals."""
    for one in night.findings:
        print_line(typeable(finding_line(one)))
        for detail in one.details:
            print_line(typeable(f"  {detail}"))
        for command in one.commands[:1]:
            print_plain(f"  {command}")
    changed = [*night.of("regressed"), *night.of("inconclusive"), *night.of("improved")]
    rows = [f"{item.verdict.verdict}: {item.verdict.series}: {item.verdict.sentence}" for item in changed]
    rows += [f"{error.status}: {error.device} {error.setting}: {error.reason}" for error in night.errors]
    for row in rows[:_MOST_ROWS] if night.findings else rows:
        print_line(row)
    if night.findings and len(rows) > _MOST_ROWS:
        print_line(f"and {len(rows) - _MOST_ROWS} more series and measurements, listed in the summary")
    for gap in night.gaps:
        print_line(f"{gap.what}: {gap.device}: {gap.sentence}")
    print_line(typeable(banner(night)))


def _write(night: Night, line: str, home: Home) -> Path:
    folder = home.night_folder(night.run_id)
    files = {
        "junit.xml": junit(night),
        "summary.md": markdown(night).encode(),
        "night.json": line.encode() + b"\n",
    }
    try:
        for name, content in files.items():
            write_atomic(folder / name, content)
    except OSError as error:
        raise UserError(
            f"the summary cannot be written to {folder} ({error.strerror}, error {error.errno}): "
            "free space there; the verdicts are stored"
        ) from error
    return folder
