"""Sends a night's outcome to people elsewhere: posts the JSON to a webhook, and mails the summary.

Sending never raises, so that no night fails because of it. The webhook's URL in `$SUITE_WEBHOOK_URL` is a secret, so it
is neither printed nor stored; messages have only its host, and reasons that cannot contain it. The mail is sent by the
system's sendmail. `$SUITE_MAIL_TO` has the addresses, `$SUITE_MAIL_FROM` the sender if it is not the user of this
machine, `$SUITE_SENDMAIL` the program if it is not the one on PATH or in /usr/sbin.
"""

from __future__ import annotations

import http.client
import os
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import formatdate, make_msgid
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import SplitResult, urlsplit
from urllib.request import HTTPRedirectHandler, OpenerDirector, ProxyHandler, Request, build_opener

from tenacity import RetryError, Retrying, retry_if_exception_type, stop_after_attempt, wait_exponential_jitter

from foundation.causes import cause_line
from foundation.text import decode, printable
from reports.site.serving import is_loopback

URL_VARIABLE = "SUITE_WEBHOOK_URL"
HTTP_VARIABLE = "SUITE_WEBHOOK_ALLOW_HTTP"
ATTEMPTS = 4
#: Limit of one wait for the server.
_POST_TIMEOUT_S = 10.0
#: Limit of all attempts together: a server that answers byte by byte never exceeds the other limit.
_TOTAL_S = 90.0
_TRY_AGAIN = (408, 425, 429)
TO_VARIABLE, FROM_VARIABLE, PROGRAM_VARIABLE = "SUITE_MAIL_TO", "SUITE_MAIL_FROM", "SUITE_SENDMAIL"
_MAIL_TIMEOUT_S = 60.0
_FOLDERS = ("/usr/sbin", "/usr/lib", "/sbin")
_MOST_ADDRESSES = 20
#: One plain address, without anything that a header or a command line would read as more than an address.
_ADDRESS = re.compile(r"[A-Za-z0-9][A-Za-z0-9._%+=-]{0,63}(@[A-Za-z0-9][A-Za-z0-9.-]{0,252})?")


@dataclass(frozen=True)
class Sent:
    """Whether the night was accepted, and a sentence for the user, without the webhook's URL."""

    ok: bool
    sentence: str


class _RefusedError(Exception):
    """The server or the connection refused, in words without the URL."""


class _BusyError(_RefusedError):
    """Another attempt may succeed."""


class _Stay(HTTPRedirectHandler):
    """Refuses redirects, which would send a night's numbers to a host that nobody named."""

    def redirect_request(self, *_: Any) -> None:
        return None


def post(
    content: bytes,
    environ: Mapping[str, str] | None = None,
    *,
    sleep: Callable[[float], None] = time.sleep,
    timeout_s: float = _POST_TIMEOUT_S,
    total_s: float = _TOTAL_S,
) -> Sent | None:
    """Posts `content` (JSON, UTF-8), retrying while the host is busy or unreachable. Returns None without a URL.

    `sleep` waits between attempts: about 1, 2 and 4 seconds.
    """
    variables = os.environ if environ is None else environ
    url = variables.get(URL_VARIABLE, "").strip()
    if not url:
        return None
    target = _target(url, allow_http=variables.get(HTTP_VARIABLE, "") == "1")
    if isinstance(target, str):
        return Sent(False, f"the webhook was not called: {target}")
    host = _host(target)
    request = Request(url, data=content, method="POST", headers={"Content-Type": "application/json"})  # noqa: S310
    found: list[Sent] = []
    worker = threading.Thread(
        target=lambda: found.append(_with_retries(_opener(target), request, host, sleep, timeout_s)),
        name="webhook",
        daemon=True,
    )
    worker.start()
    worker.join(total_s)
    late = f"the webhook at {host} did not accept the night within {total_s:g} s"
    return found[0] if found else Sent(False, late)


def _target(url: str, *, allow_http: bool) -> SplitResult | str:
    """Returns the parts of a URL, or why nothing may be posted to it."""
    name = f"${URL_VARIABLE}"
    if any(not 0x21 <= ord(character) <= 0x7E for character in url):
        return f"{name} has spaces or other characters that a URL can't have"
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return f"{name} is not a URL"
    if parts.scheme not in ("https", "http") or not host:
        return f"{name} does not begin with https:// and a host"
    if parts.username is not None or parts.password is not None:
        return f"{name} has a user name: use a URL without one"
    if parts.scheme == "http" and not allow_http and not is_loopback(host):
        return f"{name} uses http to another host: use https, or set {HTTP_VARIABLE}=1"
    return parts


def _host(parts: SplitResult) -> str:
    name = printable(parts.hostname or "", 100)
    return name if parts.port is None else f"{name}:{parts.port}"


def _opener(parts: SplitResult) -> OpenerDirector:
    direct = [ProxyHandler({})] if is_loopback(parts.hostname or "") else []
    return build_opener(_Stay(), *direct)


def _with_retries(
    opener: OpenerDirector, request: Request, host: str, sleep: Callable[[float], None], timeout_s: float
) -> Sent:
    attempts = Retrying(
        stop=stop_after_attempt(ATTEMPTS),
        wait=wait_exponential_jitter(initial=1, max=30, jitter=0.5),
        retry=retry_if_exception_type(_BusyError),
        sleep=sleep,
    )
    try:
        attempts(_once, opener, request, timeout_s)
    except _RefusedError as error:
        return Sent(False, f"the webhook at {host} did not accept the night: {error}")
    except RetryError as error:
        why = error.last_attempt.exception()
        return Sent(False, f"the webhook at {host} did not accept the night in {ATTEMPTS} attempts: {why}")
    return Sent(True, f"posted to {host}")


def _once(opener: OpenerDirector, request: Request, timeout_s: float) -> None:
    try:
        with opener.open(request, timeout=timeout_s):
            pass
    except HTTPError as error:
        error.close()
        answer = f"it answered {error.code}"
        raise _BusyError(answer) if error.code >= 500 or error.code in _TRY_AGAIN else _RefusedError(answer) from None
    except URLError as error:
        raise _BusyError(_cause(error.reason)) from None
    except (OSError, http.client.HTTPException) as error:
        raise _BusyError(_cause(error)) from None
    except ValueError as error:  # a host name that can't be looked up
        raise _RefusedError(_cause(error)) from None


def _cause(reason: object) -> str:
    """Returns the system's reason, as the library's text may contain the URL."""
    if isinstance(reason, TimeoutError):
        return "no answer in time"
    if isinstance(reason, OSError) and reason.strerror:
        return printable(reason.strerror, 120)
    return type(reason).__name__


def send_mail(
    subject: str, text: str, environ: Mapping[str, str] | None = None, *, timeout_s: float = _MAIL_TIMEOUT_S
) -> Sent | None:
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


def _handed_over(command: Sequence[str], content: bytes, timeout_s: float) -> Sent:
    try:
        done = subprocess.run(command, input=content, capture_output=True, timeout=timeout_s, check=False)
    except subprocess.TimeoutExpired:
        return _not_sent(f"{command[0]} did not accept it within {timeout_s:g} s")
    except OSError as error:
        return _not_sent(f"{command[0]} can't be started ({error.strerror})")
    if done.returncode != 0:
        cause = cause_line(decode(done.stderr), decode(done.stdout))
        return _not_sent(f"{command[0]} ended with exit code {done.returncode}{cause}")
    return Sent(True, "mailed")


def _not_sent(why: str) -> Sent:
    return Sent(False, f"the mail was not sent: {printable(why)}")
