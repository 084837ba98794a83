"""The command line: `suite`. Parse, act, print; the one place where errors become sentences and exit codes."""

from __future__ import annotations

import contextlib
import errno
import io
import signal
import sys
from collections.abc import Sequence

import click

from devices.errors import DeviceError
from devices.errors import UserError as DeviceUserError
from reports.errors import UserError as ReportUserError
from suite.cli.accept import accept, annotate
from suite.cli.check import check
from suite.cli.compare import compare
from suite.cli.data import data_group
from suite.cli.devices import devices_group
from suite.cli.devices_add import add, schema
from suite.cli.devices_calibrate import calibrate_device
from suite.cli.devices_enroll import enroll
from suite.cli.export import export
from suite.cli.gc import gc
from suite.cli.history import history
from suite.cli.nightly import nightly
from suite.cli.plan import plan_group
from suite.cli.report import report
from suite.cli.run import run
from suite.cli.schedule import schedule_group
from suite.cli.selftest import selftest_group
from suite.cli.serve import serve
from suite.cli.tag import tag
from suite.cli.trace import trace
from suite.errors import SuiteError
from suite.errors import UserError as SuiteUserError
from suite.exit_codes import ERROR, INTERRUPTED, USAGE
from workloads.errors import UserError as WorkloadUserError

_USER_ERRORS = (DeviceUserError, ReportUserError, SuiteUserError, WorkloadUserError)
_OTHER_ERRORS = (SuiteError, DeviceError)

_KEPT = {
    "run": "interrupted; what was measured is stored, `suite run --resume` goes on",
    "nightly": "interrupted; what was measured is stored",
}
"""What an interrupted command says where it leaves something."""


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="edge-training-suite")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def cli(debug: bool) -> None:
    """Measure what a P-RGE training step costs on phones and boards: latency, memory, energy.

    \b
    suite run --device local --quick     a first look at this machine
    suite devices check local            what can be measured there
    suite report                         write the pages of all runs
    suite serve                          browse them
    """
    del debug  # read from the arguments by main, which is outside of click


for command in (run, nightly, plan_group, export, devices_group, report, serve, history, check, selftest_group):
    cli.add_command(command)
for command in (schedule_group, compare, accept, annotate, tag, data_group, trace, gc):
    cli.add_command(command)
for command in (add, schema, enroll, calibrate_device):
    devices_group.add_command(command)


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of the console script; leaves with the exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    for number in (signal.SIGTERM, signal.SIGHUP):
        # A timer that stops us, or a terminal that is closed, is no other thing than Ctrl-C; unless started by nohup.
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # the table comes out in any encoding
    sys.exit(run_command(given))


def run_command(arguments: Sequence[str]) -> int:
    """Run one command line -> its exit code. Only `--debug` lets an exception through."""
    debug = "--debug" in arguments
    try:
        result = cli.main(args=list(arguments), prog_name="suite", standalone_mode=False, obj=tuple(arguments))
        if sys.stdout is not None:
            sys.stdout.flush()
        return result if isinstance(result, int) else 0
    except (click.exceptions.Abort, KeyboardInterrupt):
        return _interrupted(arguments)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return USAGE
    except click.ClickException as error:
        return _fail(error.format_message(), USAGE)
    except _USER_ERRORS as error:
        if debug:
            raise
        return _fail(str(error), USAGE)
    except _OTHER_ERRORS as error:
        if debug:
            raise
        return _fail(str(error), ERROR)
    except OSError as error:
        if debug:
            raise
        return _unusable(error)


def _fail(sentence: str, code: int) -> int:
    with contextlib.suppress(OSError):  # nobody is there to read it any more
        click.echo(f"suite: {sentence}", err=True)
    return code


def _unusable(error: OSError) -> int:
    if error.errno == errno.EPIPE:  # the reader of a pipe has seen enough
        return ERROR
    return _fail(
        f"{error.filename or 'the output'} can't be read or written ({error.strerror}, error {error.errno}): "
        "check that it is there, that it is permitted and that its disk has room",
        ERROR,
    )


def _interrupted(arguments: Sequence[str]) -> int:
    command = next((word for word in arguments if not word.startswith("-")), "")
    return _fail(_KEPT.get(command, "interrupted"), INTERRUPTED)
