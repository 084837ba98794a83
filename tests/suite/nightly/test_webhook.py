"""The webhook against a real server: what it takes, refuses, delays, and what of the URL may be seen."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from suite.nightly.sending import ATTEMPTS, HTTP_VARIABLE, URL_VARIABLE, Sent, post

SECRET = "T0KEN-that-nobody-may-see"  # noqa: S105 - not one


@dataclass
class Hook:
    """A server that answers as `answers` say, the last one for ever; None hangs until the test is over."""

    port: int = 0
    answers: list[int | None] = field(default_factory=lambda: [200])
    bodies: list[bytes] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/{SECRET}"


@pytest.fixture
def hook() -> Iterator[Hook]:
    found = Hook()

    class Answer(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            found.bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
            found.paths.append(self.path)
            code = found.answers.pop(0) if len(found.answers) > 1 else found.answers[0]
            if code is None:
                found.over.wait()
                return
            self.send_response(code)
            if code == 302:
                self.send_header("Location", f"http://127.0.0.1:{found.port}/elsewhere")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    found.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield found
    found.over.set()
    server.shutdown()
    thread.join()
    server.server_close()


def posted(url: str, waits: list[float] | None = None, timeout_s: float = 10.0, total_s: float = 60.0) -> Sent:
    kept = [] if waits is None else waits
    found = post(b'{"text": "a night"}', {URL_VARIABLE: url}, sleep=kept.append, timeout_s=timeout_s, total_s=total_s)
    assert found is not None
    assert SECRET not in found.sentence
    return found


def test_without_a_url_nothing_is_posted() -> None:
    assert post(b"{}", {}) is None


def test_the_line_is_posted_as_it_is_and_only_the_host_is_named(hook: Hook) -> None:
    assert posted(hook.url) == Sent(True, f"posted to 127.0.0.1:{hook.port}")
    assert hook.bodies == [b'{"text": "a night"}']
    assert hook.paths == [f"/{SECRET}"]


def test_a_busy_server_is_asked_again_with_longer_and_longer_waits(hook: Hook) -> None:
    hook.answers = [500, 429, 503, 200]
    waits: list[float] = []
    assert posted(hook.url, waits).ok
    assert len(hook.bodies) == 4
    assert [int(wait) for wait in waits] == [1, 2, 4]


@pytest.mark.parametrize(
    ("code", "requests"), [(408, 2), (425, 2), (429, 2), (500, 2), (503, 2), (400, 1), (401, 1), (403, 1), (410, 1)]
)
def test_only_what_another_attempt_may_change_is_tried_again(hook: Hook, code: int, requests: int) -> None:
    hook.answers = [code, 200]
    assert posted(hook.url).ok is (requests == 2)
    assert len(hook.bodies) == requests


def test_a_proxy_is_not_asked_for_what_is_on_this_machine(hook: Hook, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    assert posted(hook.url).ok


@pytest.mark.parametrize("setting", ["", "0", "no", "true"])
def test_http_to_another_host_takes_a_1_and_nothing_else(setting: str) -> None:
    found = post(b"{}", {URL_VARIABLE: f"http://hooks.example/{SECRET}", HTTP_VARIABLE: setting}, sleep=lambda _: None)
    assert found is not None
    assert "uses http to another host" in found.sentence


def test_a_server_that_stays_broken_is_given_up(hook: Hook) -> None:
    hook.answers = [500]
    found = posted(hook.url)
    assert not found.ok
    assert found.sentence.endswith(f"in {ATTEMPTS} attempts: it answered 500")
    assert len(hook.bodies) == ATTEMPTS


@pytest.mark.parametrize("code", [404, 302])
def test_a_refusal_or_redirect_is_not_tried_again(hook: Hook, code: int) -> None:
    hook.answers = [code]
    assert posted(hook.url).sentence.endswith(f"did not accept the night: it answered {code}")
    assert hook.paths == [f"/{SECRET}"]


def test_a_server_that_hangs_is_given_up(hook: Hook) -> None:
    hook.answers = [None]
    found = posted(hook.url, timeout_s=0.2)
    assert not found.ok
    assert found.sentence.endswith("no answer in time")


def test_the_whole_of_it_is_bounded_too(hook: Hook) -> None:
    hook.answers = [None]
    assert posted(hook.url, total_s=0.2).sentence.endswith("did not accept the night within 0.2 s")


def test_a_closed_port_is_a_failure_with_its_cause() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))  # bound, but nobody listens
        found = posted(f"http://127.0.0.1:{free.getsockname()[1]}/{SECRET}")
    assert not found.ok
    assert "Connection refused" in found.sentence


@pytest.mark.parametrize(
    ("url", "why"),
    [
        (f"http://hooks.example/{SECRET}", f"set {HTTP_VARIABLE}=1"),
        (f"ftp://hooks.example/{SECRET}", "does not begin with https://"),
        (f"file:///{SECRET}", "does not begin with https://"),
        (f"https://user:{SECRET}@hooks.example/", "has a user name"),
        (f"https://{SECRET}@hooks.example/", "has a user name"),
        (f"https://:{SECRET}@hooks.example/", "has a user name"),
        (f"https://hooks.example/{SECRET} x", "has spaces"),
        (f"https://hooks.example:99999/{SECRET}", "is not a URL"),
        (f"https://[{SECRET}/", "is not a URL"),
    ],
)
def test_what_may_not_be_posted_to_is_refused_without_telling_the_url(url: str, why: str) -> None:
    found = posted(url)
    assert not found.ok
    assert why in found.sentence


def test_a_host_that_no_name_service_can_know_is_a_failure() -> None:
    found = post(b"{}", {URL_VARIABLE: f"http://{'a' * 70}/{SECRET}", HTTP_VARIABLE: "1"}, sleep=lambda _: None)
    assert found is not None
    assert not found.ok
    assert SECRET not in found.sentence
