"""Posts the result of a night to the URL in `$SUITE_WEBHOOK_URL`. Never raises, so that no night fails for it.

The URL is a secret: it is neither printed nor stored; messages name only its host, and reasons that cannot contain it.
"""

from __future__ import annotations

import http.client
import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import SplitResult, urlsplit
from urllib.request import HTTPRedirectHandler, OpenerDirector, ProxyHandler, Request, build_opener

from tenacity import RetryError, Retrying, retry_if_exception_type, stop_after_attempt, wait_exponential_jitter

from foundation.text import printable
from reports.site.serving import is_loopback

URL_VARIABLE = "SUITE_WEBHOOK_URL"
HTTP_VARIABLE = "SUITE_WEBHOOK_ALLOW_HTTP"
ATTEMPTS = 4
#: Limit of one wait for the server.
TIMEOUT_S = 10.0
#: Limit of everything: a server that answers byte by byte never exceeds the other one.
TOTAL_S = 90.0
_TRY_AGAIN = (408, 425, 429)


@dataclass(frozen=True)
class Posted:
    """Whether the host accepted it, and a sentence for the user without the URL."""

    ok: bool
    sentence: str


class _RefusedError(Exception):
    """The server or the connection refused, in words without the URL."""


class _BusyError(_RefusedError):
    """Another attempt may succeed."""


class _Stay(HTTPRedirectHandler):
    """Refuses redirects, which would carry a night's numbers to a host that nobody named."""

    def redirect_request(self, *_: Any) -> None:
        return None


def post(
    content: bytes,
    environ: Mapping[str, str] | None = None,
    *,
    sleep: Callable[[float], None] = time.sleep,
    timeout_s: float = TIMEOUT_S,
    total_s: float = TOTAL_S,
) -> Posted | None:
    """Posts `content` (JSON, UTF-8), retrying while the host is busy or unreachable; None without a URL.

    `sleep` waits between attempts: about 1, 2 and 4 seconds.
    """
    variables = os.environ if environ is None else environ
    url = variables.get(URL_VARIABLE, "").strip()
    if not url:
        return None
    target = _target(url, allow_http=variables.get(HTTP_VARIABLE, "") == "1")
    if isinstance(target, str):
        return Posted(False, f"the webhook was not called: {target}")
    host = _host(target)
    request = Request(url, data=content, method="POST", headers={"Content-Type": "application/json"})  # noqa: S310
    found: list[Posted] = []
    worker = threading.Thread(
        target=lambda: found.append(_with_retries(_opener(target), request, host, sleep, timeout_s)),
        name="webhook",
        daemon=True,
    )
    worker.start()
    worker.join(total_s)
    late = f"the webhook at {host} did not take the night within {total_s:g} s"
    return found[0] if found else Posted(False, late)


def _target(url: str, *, allow_http: bool) -> SplitResult | str:
    """Returns the parts of a URL that may be posted to, else why it may not."""
    name = f"${URL_VARIABLE}"
    if any(not 0x21 <= ord(character) <= 0x7E for character in url):
        return f"{name} holds blanks or characters that a URL has not"
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return f"{name} is not a URL"
    if parts.scheme not in ("https", "http") or not host:
        return f"{name} does not begin with https:// and a host"
    if parts.username is not None or parts.password is not None:
        return f"{name} holds a user name: use a URL without"
    if parts.scheme == "http" and not allow_http and not is_loopback(host):
        return f"{name} is http to another host: use https, or set {HTTP_VARIABLE}=1"
    return parts


def _host(parts: SplitResult) -> str:
    name = printable(parts.hostname or "", 100)
    return name if parts.port is None else f"{name}:{parts.port}"


def _opener(parts: SplitResult) -> OpenerDirector:
    direct = [ProxyHandler({})] if is_loopback(parts.hostname or "") else []
    return build_opener(_Stay(), *direct)


def _with_retries(
    opener: OpenerDirector, request: Request, host: str, sleep: Callable[[float], None], timeout_s: float
) -> Posted:
    attempts = Retrying(
        stop=stop_after_attempt(ATTEMPTS),
        wait=wait_exponential_jitter(initial=1, max=30, jitter=0.5),
        retry=retry_if_exception_type(_BusyError),
        sleep=sleep,
    )
    try:
        attempts(_once, opener, request, timeout_s)
    except _RefusedError as error:
        return Posted(False, f"the webhook at {host} did not take the night: {error}")
    except RetryError as error:
        why = error.last_attempt.exception()
        return Posted(False, f"the webhook at {host} did not take the night in {ATTEMPTS} attempts: {why}")
    return Posted(True, f"told {host}")


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
    except ValueError as error:  # a host that the name service can't be asked for
        raise _RefusedError(_cause(error)) from None


def _cause(reason: object) -> str:
    """Returns the system's words: those of the library may contain the URL."""
    if isinstance(reason, TimeoutError):
        return "no answer in time"
    if isinstance(reason, OSError) and reason.strerror:
        return printable(reason.strerror, 120)
    return type(reason).__name__
