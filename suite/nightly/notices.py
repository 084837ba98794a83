"""Sends a night's outcome to people elsewhere: by mail, and as annotations on GitHub's pages.

The mail is the summary, sent by the system's sendmail. Sending never raises, so that no night fails because of it.
`$SUITE_MAIL_TO` has the addresses, `$SUITE_MAIL_FROM` the sender if it is not the user of this machine,
`$SUITE_SENDMAIL` the program if it is not the one on PATH or in /usr/sbin.

Annotations are `::error` and `::warning` lines on standard output. [GitHub, "Workflow commands for GitHub Actions":
what has to be escaped in messages and properties.]
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import formatdate, make_msgid
from pathlib import Path
from typing import Literal

from foundation.causes import cause_line
from foundation.text import decode, printable
from suite.nightly.judging import Night
from suite.nightly.summary import Posted

TO_VARIABLE, FROM_VARIABLE, PROGRAM_VARIABLE = "SUITE_MAIL_TO", "SUITE_MAIL_FROM", "SUITE_SENDMAIL"
_TIMEOUT_S = 60.0
_FOLDERS = ("/usr/sbin", "/usr/lib", "/sbin")
_MOST_ADDRESSES = 20
#: One plain address, without anything that a header or a command line would read as more than an address.
_ADDRESS = re.compile(r"[A-Za-z0-9][A-Za-z0-9._%+=-]{0,63}(@[A-Za-z0-9][A-Za-z0-9.-]{0,252})?")


def send_mail(
    subject: str, text: str, environ: Mapping[str, str] | None = None, *, timeout_s: float = _TIMEOUT_S
) -> Posted | None:
    """Hands a mail to sendmail. Returns whether it was accepted, or None if there are no addresses."""
    variables = os.environ if environ is None else environ
    to = [part.strip() for part in variables.get(TO_VARIABLE, "").split(",") if part.strip()]
    if not to:
        return None
    sender = variables.get(FROM_VARIABLE, "").strip()
    wrong = [address for address in (*to, *([sender] if sender else [])) if not _ADDRESS.fullmatch(address)]
    if wrong or len(to) > _MOST_ADDRESSES:
        why = f"{printable(wrong[0], 80)!r} is not an address" if wrong else f"{len(to)} addresses are too many"
        return _not_sent(f"{why}: correct ${TO_VARIABLE} or ${FROM_VARIABLE}, such as bench@example.org")
    program = _program(variables)
    if program is None:
        return _not_sent(f"there is no sendmail: install a mail transfer agent, or name one in ${PROGRAM_VARIABLE}")
    # Recipients are arguments after `--`; with -i, a line with a single dot does not end the mail.
    command = [program, "-i", *(["-f", sender] if sender else []), "--", *to]
    return _handed_over(command, bytes(mail_message(subject, text, to, sender)), timeout_s)


def mail_message(subject: str, text: str, to: Sequence[str], sender: str) -> EmailMessage:
    """Returns the mail. The subject becomes one printable line, so text from a device or file can't add headers."""
    mail = EmailMessage(policy=SMTP.clone(linesep="\n"))
    mail["Subject"] = printable(" ".join(subject.split()), 200)
    mail["To"] = ", ".join(to)
    if sender:
        mail["From"] = sender
    mail["Date"] = formatdate(localtime=True)
    mail["Message-ID"] = make_msgid(domain="edge-training-suite")
    mail["Auto-Submitted"] = "auto-generated"  # prevents vacation replies [RFC 3834]
    mail.set_content(text)
    return mail


def _program(variables: Mapping[str, str]) -> str | None:
    named = variables.get(PROGRAM_VARIABLE, "").strip()
    path = os.pathsep.join([variables.get("PATH", os.defpath), *_FOLDERS])
    if named:
        return named if Path(named).is_file() else None
    return shutil.which("sendmail", path=path)


def _handed_over(command: Sequence[str], content: bytes, timeout_s: float) -> Posted:
    try:
        done = subprocess.run(command, input=content, capture_output=True, timeout=timeout_s, check=False)
    except subprocess.TimeoutExpired:
        return _not_sent(f"{command[0]} did not accept it within {timeout_s:g} s")
    except OSError as error:
        return _not_sent(f"{command[0]} can't be started ({error.strerror})")
    if done.returncode != 0:
        cause = cause_line(decode(done.stderr), decode(done.stdout))
        return _not_sent(f"{command[0]} ended with exit code {done.returncode}{cause}")
    return Posted(True, "mailed")


def _not_sent(why: str) -> Posted:
    return Posted(False, f"the mail was not sent: {printable(why)}")


MOST_LINES = 50
"""GitHub displays at most 10 annotations of each level per step and 50 per job; more would be lost."""

_LEVELS: Mapping[str, Literal["error", "warning"]] = {
    **dict.fromkeys(("missing", "failed", "regressed"), "error"),
    **dict.fromkeys(("device", "inconclusive"), "warning"),
}
"""Levels of findings by category. Better numbers need no action, so they have none."""


@dataclass(frozen=True)
class Notice:
    """Something that needs attention: `title` names it in a few words, `text` explains it in a sentence or two."""

    level: Literal["error", "warning", "notice"]
    title: str
    text: str


def notices_of(night: Night) -> Iterator[Notice]:
    """Yields what a night found in the order of its findings, worst first."""
    for one in night.findings:
        if one.category in _LEVELS and one.is_open:
            again = [f"Measure it again: {command}" for command in one.commands[:1]]
            text = " ".join([*(f"{detail}." for detail in one.details), *again])
            yield Notice(_LEVELS[one.category], f"{one.category}: {one.id}", f"{one.headline}. {text}".strip())


def is_github_step(environ: Mapping[str, str] | None = None) -> bool:
    """Returns whether the process is a step of GitHub Actions."""
    return (os.environ if environ is None else environ).get("GITHUB_ACTIONS") == "true"


def annotation_lines(notices: Iterable[Notice]) -> list[str]:
    """Returns a line for each notice, at most MOST_LINES, and one that counts the others."""
    every = list(notices)
    lines = [_line(one) for one in every[:MOST_LINES]]
    if len(every) > MOST_LINES:
        lines.append(_line(Notice("notice", "more", f"{len(every) - MOST_LINES} more are in the summary of the night")))
    return lines


def _line(notice: Notice) -> str:
    return f"::{notice.level} title={_property(notice.title)}::{_message(notice.text)}"


def _message(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _message(text).replace(":", "%3A").replace(",", "%2C")
