"""A night as people elsewhere get it: its mail, as a sendmail made for the tests gets it; and as GitHub reads it, one
line a notice, whatever a device or a file has put into its words.
"""

from __future__ import annotations

import email
import email.policy
import json
import re
import sys
from email.message import EmailMessage
from pathlib import Path

import pytest

from suite.nightly.notices import MOST_LINES, Notice, annotation_lines, is_github_step, notices_of, send_mail
from tests.suite.nightly.test_finding_messages import finding, with_findings

SENDMAIL = """\
#!{python}
import json, sys
from pathlib import Path
folder = Path({folder!r})
(folder / "arguments").write_text(json.dumps(sys.argv[1:]))
(folder / "mail").write_bytes(sys.stdin.buffer.read())
{end}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


def sendmail(folder: Path, end: str = "") -> dict[str, str]:
    """Makes the program; returns the environment that names it."""
    program = folder / "sendmail"
    program.write_text(SENDMAIL.format(python=sys.executable, folder=str(folder), end=end))
    program.chmod(0o755)
    return {"SUITE_MAIL_TO": "ada@example.org, bench", "SUITE_SENDMAIL": str(program)}


def received(folder: Path) -> EmailMessage:
    mail = email.message_from_bytes((folder / "mail").read_bytes(), policy=email.policy.default)
    assert isinstance(mail, EmailMessage)
    assert not mail.defects
    return mail


def test_a_mail_arrives_with_its_headers_and_its_text(folder: Path) -> None:
    text = "## Night\n\nint8 is 9 % slower: 12 °C warmer.\n.\nFrom here on\n" + "x" * 2000 + "\n"
    sent = send_mail("Night 7: 1 regressed", text, sendmail(folder) | {"SUITE_MAIL_FROM": "suite@example.org"})
    assert sent is not None and (sent.ok, sent.sentence) == (True, "mailed")
    assert json.loads((folder / "arguments").read_text()) == [
        *("-i", "-f", "suite@example.org", "--", "ada@example.org", "bench"),
    ]
    mail = received(folder)
    assert (mail["Subject"], mail["To"], mail["From"]) == (
        "Night 7: 1 regressed",
        "ada@example.org, bench",
        "suite@example.org",
    )
    assert mail.get_content() == text
    assert mail["Date"].datetime.tzinfo is not None
    assert all(len(line) <= 998 for line in (folder / "mail").read_bytes().split(b"\n"))


@pytest.mark.parametrize(
    "subject", ["a\nBcc: eve@example.org", "a\r\n\r\nbody", "a\rBcc: eve@example.org", "ü\u2028Bcc: e@x", "a" * 3000]
)
def test_nothing_in_a_subject_becomes_a_header_or_text(folder: Path, subject: str) -> None:
    sent = send_mail(subject, "text\n", sendmail(folder))
    assert sent is not None and sent.ok
    mail = received(folder)
    assert sorted(mail.keys()) == [
        *("Auto-Submitted", "Content-Transfer-Encoding", "Content-Type", "Date", "MIME-Version", "Message-ID"),
        *("Subject", "To"),
    ]
    assert mail.get_content() == "text\n"
    assert mail["Subject"].startswith(subject[0])


@pytest.mark.parametrize(
    "address",
    ["-Xlog", "-OQueueDirectory=/tmp@x", "a@x\nBcc: b@x", "|sh", "/etc/passwd", "a b", "a@-x", "a@x y", "<a@x>", "a;b"],
)
def test_what_is_no_plain_address_is_refused_and_nothing_is_started(folder: Path, address: str) -> None:
    for variable in ("SUITE_MAIL_TO", "SUITE_MAIL_FROM"):
        sent = send_mail("s", "t", sendmail(folder) | {variable: address})
        assert sent is not None and not sent.ok
        assert "is not an address: correct $SUITE_MAIL_TO or $SUITE_MAIL_FROM" in sent.sentence
        assert "\n" not in sent.sentence
    assert not (folder / "mail").exists()


def test_nobody_gets_a_mail_unless_somebody_is_named(folder: Path) -> None:
    assert send_mail("s", "t", {"SUITE_MAIL_TO": " , "}) is None


@pytest.mark.parametrize(
    ("end", "timeout_s", "sentence"),
    [
        (
            "sys.exit('sendmail: fatal: the queue is full')",
            60,
            "ended with exit code 1: sendmail: fatal: the queue is full",
        ),
        ("import time; time.sleep(60)", 2, "did not accept it within 2 s"),
    ],
)
def test_a_sendmail_that_refuses_or_hangs_is_a_sentence(
    folder: Path, end: str, timeout_s: float, sentence: str
) -> None:
    sent = send_mail("s", "t", sendmail(folder, end), timeout_s=timeout_s)
    assert sent is not None and not sent.ok
    assert sent.sentence.startswith("the mail was not sent: ") and sentence in sent.sentence


@pytest.mark.parametrize("program", ["", "/nowhere/sendmail"])
def test_without_a_sendmail_there_is_a_sentence(folder: Path, program: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("suite.nightly.notices._FOLDERS", ())
    sent = send_mail("s", "t", {"SUITE_MAIL_TO": "a@x", "SUITE_SENDMAIL": program, "PATH": str(folder)})
    assert sent is not None
    assert "there is no sendmail: install a mail transfer agent, or name one in $SUITE_SENDMAIL" in sent.sentence


def read(line: str) -> tuple[str, str, str]:
    """Returns level, title and message of a line as the runner of GitHub Actions reads it."""
    match = re.fullmatch(r"::(\w+) title=([^:,\r\n]*)::([^\r\n]*)", line)
    assert match is not None, line
    title, message = match[2], match[3]
    for code, character in (("%3A", ":"), ("%2C", ",")):
        title = title.replace(code, character)
    for code, character in (("%0D", "\r"), ("%0A", "\n"), ("%25", "%")):
        title, message = title.replace(code, character), message.replace(code, character)
    return match[1], title, message


def test_findings_that_are_open_are_errors_or_warnings_with_the_command_that_measures_again():
    found = with_findings(
        finding(1, commands=("suite run --device board-1",)),
        finding(2, category="missing", members=(), reason="not reached since Monday"),
        finding(3, category="inconclusive", members=(), reason="too few pairs"),
        finding(4, category="improved"),
        finding(5, muted="muted by ada: known"),
        finding(6, state="accepted"),
    )
    lines = [read(line) for line in annotation_lines(notices_of(found))]
    assert [(level, title) for level, title, _ in lines] == [
        ("error", "regressed: F-000001"),
        ("error", "missing: F-000002"),
        ("warning", "inconclusive: F-000003"),
    ]
    assert lines[0][2].startswith("int8 on board-1: Latency of a step")
    assert lines[0][2].endswith("Measure it again: suite run --device board-1")
    assert "not reached since Monday" in lines[1][2]


@pytest.mark.parametrize("text", ["100 % of it", "a\r\nb", "a\n::error::x", "%0A", "a:b,c", "::stop-commands::x"])
def test_text_of_any_kind_stays_within_its_line(text):
    (line,) = annotation_lines([Notice("error", text, text)])
    assert read(line) == ("error", text, text)


def test_notices_beyond_the_limit_are_counted():
    lines = annotation_lines(Notice("error", f"{number}", "x") for number in range(MOST_LINES + 7))
    assert len(lines) == MOST_LINES + 1
    assert read(lines[-1]) == ("notice", "more", "7 more are in the summary of the night")


@pytest.mark.parametrize(
    ("environ", "wanted"), [({"GITHUB_ACTIONS": "true"}, True), ({"GITHUB_ACTIONS": ""}, False), ({}, False)]
)
def test_steps_of_github_actions_are_recognised(environ, wanted):
    assert is_github_step(environ) is wanted
