"""The mail of a night, as a sendmail made for the tests gets it."""

from __future__ import annotations

import email
import email.policy
import json
import sys
from email.message import EmailMessage
from pathlib import Path

import pytest

from suite.nightly.sending import send_mail

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
    monkeypatch.setattr("suite.nightly.sending._FOLDERS", ())
    sent = send_mail("s", "t", {"SUITE_MAIL_TO": "a@x", "SUITE_SENDMAIL": program, "PATH": str(folder)})
    assert sent is not None
    assert "there is no sendmail: install a mail transfer agent, or name one in $SUITE_SENDMAIL" in sent.sentence
