"""The command `suite`. Only here do errors become sentences and exit codes."""

from __future__ import annotations

import contextlib
import errno
import signal
import sys
from collections.abc import Sequence

import click

from devices.errors import DeviceError
from foundation.errors import UserError
from foundation.text import harmless, printable
from suite.cli.lazy import Later, LazyGroup
from suite.cli.streams import NobodyReads, flush_output, prepare_streams
from suite.errors import ExitCode, SuiteError

_KEPT = {
    "run": ("measured", ", `suite run --resume` continues"),
    "nightly": ("measured", ""),
    "bisect": ("measured", ""),
    "train": ("trained", ", `suite train --resume` continues"),
    "experiment": ("measured", ", `suite experiment --resume` continues"),
    "race": ("trained", ", `suite train --resume` continues"),
}
"""What an interrupted command leaves behind, and how to continue it."""


_COMMANDS = {
    "accept": Later("suite.cli.results.remarks", "accept", "Take the new level of a series as normal."),
    "adapters": Later("suite.cli.training.adapters", "adapters_group", "List and export what was trained."),
    "annotate": Later("suite.cli.results.remarks", "annotate", "Add a remark to a finding, a series or a run."),
    "bench": Later("suite.cli.measure.bench", "bench_group", "Compare the suite with other programs."),
    "bisect": Later("suite.cli.measure.bisect", "bisect", "Find the program with which a series changed."),
    "check": Later("suite.cli.measure.check", "check", "Check what the suite itself costs."),
    "compare": Later("suite.cli.results.compare", "compare", "Compare two runs, tags, dates or programs."),
    "data": Later("suite.cli.results.data", "data_group", "Export measurements from the store, or import them."),
    "devices": Later("suite.cli.devices.inventory", "devices_group", "List, add, check and calibrate devices."),
    "experiment": Later("suite.cli.measure.experiment", "experiment", "Answer a question about devices by measuring."),
    "export": Later("suite.cli.measure.export", "export", "Export programs without measuring them."),
    "findings": Later("suite.cli.results.findings", "findings", "List a night's findings, one line for each cause."),
    "gc": Later("suite.cli.results.gc", "gc", "Remove programs and runners that nobody needs."),
    "history": Later("suite.cli.results.history", "history", "List series and runs, or print one series in full."),
    "init": Later("suite.cli.init", "init", "Write an inventory and a plan to start from."),
    "mute": Later("suite.cli.results.findings", "mute", "Mute a finding or a device for some time."),
    "nightly": Later("suite.cli.measure.nightly", "nightly", "Measure, confirm suspects, and judge."),
    "plan": Later("suite.cli.measure.plan", "plan_group", "Check plan files before they are measured."),
    "plugins": Later(
        "suite.cli.plugins", "list_plugins", "List plugins of other packages, and what is wrong with them."
    ),
    "profile": Later("suite.cli.measure.profile", "profile", "Show where the time of a training step goes."),
    "race": Later("suite.cli.training.train", "race", "Train in several ways and report which is best."),
    "report": Later("suite.cli.results.report", "report", "Write the pages that have changed."),
    "run": Later("suite.cli.measure.run", "run", "Measure training steps and write the report."),
    "schedule": Later("suite.cli.measure.schedule", "schedule_group", "Run `suite nightly` every night."),
    "selftest": Later("suite.cli.measure.check", "selftest_group", "Test the suite's rules on simulated numbers."),
    "serve": Later("suite.cli.results.report", "serve", "Browse the reports on this machine."),
    "status": Later("suite.cli.results.status", "status", "Print the lab on one screen."),
    "store": Later("suite.cli.results.data", "store_group", "Rebuild a damaged or lost store."),
    "tag": Later("suite.cli.results.remarks", "tag", "List the tags, or tag a run."),
    "train": Later("suite.cli.training.train", "train", "Train on devices, with held-out accuracy and budgets."),
    "trace": Later("suite.cli.results.data", "trace", "Write a run as a trace for Perfetto."),
}


_SET_ELSEWHERE = {
    "--threads": "threads belong to a device: set `threads: 2` in its entry of inventory.yaml",
    "--cpus": "CPUs belong to a device: set `cpus: 0-3` in its entry of inventory.yaml",
    "--batch": "the rows of a batch are -b",
    "--queries": "the queries of a step are -q",
}
"""Options that people look for, and what to use instead."""


@click.group(
    cls=LazyGroup,
    later=_COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
@click.version_option(package_name="edge-training-suite")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def cli(debug: bool) -> None:
    """Measure what a P-RGE training step costs on phones and boards: latency, memory, energy.

    \b
    suite init                           write an inventory and a plan to start from
    suite run --device local --quick     a first look at this machine
    suite status                         devices, last night, what is interrupted
    suite devices check local            what can be measured there
    suite report                         write the pages of all runs
    suite serve                          browse them
    """
    del debug  # run_command reads it from the arguments, outside of click


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the console script and exits with its code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    for number in (signal.SIGTERM, signal.SIGHUP):
        # A signal from a timer, or from a terminal that closes (unless started by nohup), is treated like Ctrl-C.
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler)
    prepare_streams()
    sys.exit(run_command(given))


def run_command(arguments: Sequence[str]) -> int:
    """Runs one command line and returns its exit code. Only `--debug` lets an exception through."""
    debug = "--debug" in arguments
    try:
        result = cli.main(args=list(arguments), prog_name="suite", standalone_mode=False, obj=tuple(arguments))
        flush_output()
        return result if isinstance(result, int) else 0
    except (click.exceptions.Abort, KeyboardInterrupt):
        return _interrupted(arguments)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return ExitCode.USAGE
    except click.NoSuchOption as error:
        advice = _SET_ELSEWHERE.get(error.option_name)
        return _fail(
            f"No such option '{error.option_name}': {advice}" if advice else error.format_message(), ExitCode.USAGE
        )
    except click.ClickException as error:
        return _fail(error.format_message(), ExitCode.USAGE)
    except UserError as error:
        if debug:
            raise
        return _fail(str(error), ExitCode.USAGE)
    except (SuiteError, DeviceError) as error:
        if debug:
            raise
        return _fail(str(error), ExitCode.ERROR)
    except NobodyReads as error:
        return _unread(arguments, str(error))
    except OSError as error:
        if debug:
            raise
        return _unusable(arguments, error)


def _fail(sentence: str, code: int) -> int:
    with contextlib.suppress(OSError):  # nobody may be left to read it
        click.echo(f"suite: {harmless(sentence)}", err=True)
    return code


def _unread(arguments: Sequence[str], why: str) -> int:
    """Ends a command whose reader has gone. Most readers have seen enough by then, but not the results of a run."""
    kept = _result_word(arguments)
    if not kept:
        return ExitCode.ERROR
    return _fail(f"the output can't be written ({why}); what was {kept} is stored, see `suite history`", ExitCode.ERROR)


def _result_word(arguments: Sequence[str]) -> str:
    """Returns how a command's results came about, as a participle; empty for a command that stores none."""
    kept, _ = _KEPT.get(_command(arguments), ("", ""))
    return "" if "--dry-run" in arguments else kept


def _unusable(arguments: Sequence[str], error: OSError) -> int:
    if error.filename is None and _result_word(arguments):
        return _unread(arguments, f"{error.strerror}, error {error.errno}")
    what = f"{printable(str(error.filename or 'the output'), 200)} can't be read or written"
    reason = f"({error.strerror}, error {error.errno})"
    if error.errno in (errno.ENAMETOOLONG, errno.ELOOP):
        return _fail(f"{what} {reason}: no file can have this path, so give another", ExitCode.USAGE)
    advice = "check that it exists, that you have permission and that its disk has free space"
    return _fail(f"{what} {reason}: {advice}", ExitCode.ERROR)


def _interrupted(arguments: Sequence[str]) -> int:
    kept, further = _KEPT.get(_command(arguments), ("", ""))
    return _fail(f"interrupted; what was {kept} is stored{further}" if kept else "interrupted", ExitCode.INTERRUPTED)


def _command(arguments: Sequence[str]) -> str:
    return next((word for word in arguments if not word.startswith("-")), "")
