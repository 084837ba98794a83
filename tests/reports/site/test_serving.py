"""The server: files of the site and nothing else, with headers that keep a browser from doing more than show them."""

import http.client
import socket
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from reports.files import ServerNotStarted
from reports.site import serving
from reports.site.serving import NotNow, SiteServer


@pytest.fixture
def server(tmp_path: Path) -> Iterator[SiteServer]:
    site = tmp_path / "site"
    (site / "runs" / "a").mkdir(parents=True)
    (site / "assets").mkdir()
    (site / "index.html").write_text("overview", encoding="utf-8")
    (site / "runs" / "a" / "index.html").write_text("run a", encoding="utf-8")
    (site / "assets" / "page-0a.js").write_text("1", encoding="utf-8")
    (site / ".hidden.html").write_text("hidden", encoding="utf-8")
    (site / ".git").mkdir()
    (site / ".git" / "index.html").write_text("hidden", encoding="utf-8")
    (site / "store.sqlite").write_text("database", encoding="utf-8")
    (tmp_path / "secret.html").write_text("secret", encoding="utf-8")
    (site / "link.html").symlink_to(tmp_path / "secret.html")
    with SiteServer(site) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def _ask(server: SiteServer, target: str, method: str = "GET", host: str = "") -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=10)
    connection.putrequest(method, target, skip_host=True)
    connection.putheader("Host", host or f"127.0.0.1:{server.server_port}")
    connection.endheaders()
    answer = connection.getresponse()
    found = answer.status, dict(answer.getheaders()), answer.read()
    connection.close()
    return found


def test_pages_are_served_and_a_folder_is_its_index(server: SiteServer) -> None:
    assert _ask(server, "/")[2] == b"overview"
    status, headers, body = _ask(server, "/runs/a/index.html?x=1")
    assert (status, headers["Content-Type"], body) == (200, "text/html; charset=utf-8", b"run a")


@pytest.mark.parametrize(
    "target",
    [
        "/../secret.html", "/%2e%2e/secret.html", "/..%2fsecret.html", "/runs/../../secret.html", "/link.html",
        "/.hidden.html", "/.git/index.html", "/.git/", "/runs/.././.git/index.html",
        "/store.sqlite", "/runs", "/runs/", "//etc/passwd", "/%00", "/a%5c..%5csecret.html",
        "/%ff.html", "http://127.0.0.1/../secret.html", "/" + "a" * 5000,
    ],
)  # fmt: skip
def test_whatever_is_not_a_page_of_the_site_is_not_found(server: SiteServer, target: str) -> None:
    status, _, body = _ask(server, target)
    assert status == 404
    assert b"secret" not in body and b"database" not in body and b"hidden" not in body


def test_every_answer_has_the_security_headers(server: SiteServer) -> None:
    for target in ("/", "/nothing.html"):
        _, headers, _ = _ask(server, target)
        policy = headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy and "script-src 'self';" in policy and "frame-ancestors 'none'" in policy
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["X-Frame-Options"] == "DENY"
        assert headers["Referrer-Policy"] == "no-referrer"
        assert headers["Cross-Origin-Opener-Policy"] == headers["Cross-Origin-Resource-Policy"] == "same-origin"
        assert headers["Permissions-Policy"] == "camera=(), microphone=(), geolocation=()"
        assert "base-uri 'none'; form-action 'none'" in policy
        assert "Python" not in headers["Server"]


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "10.0.0.1", "127.0.0.1.evil.example"])
def test_request_for_another_name_is_refused(server: SiteServer, host: str) -> None:
    status, _, body = _ask(server, "/", host=host)
    assert status == 421 and b"overview" not in body


@pytest.mark.parametrize("host", ["localhost", "localhost:1234", "[::1]:80", "127.0.0.1"])
def test_every_name_of_this_machine_is_served(server: SiteServer, host: str) -> None:
    assert _ask(server, "/", host=host)[0] == 200


def test_head_has_no_body_and_other_methods_are_refused(server: SiteServer) -> None:
    status, headers, body = _ask(server, "/", "HEAD")
    assert (status, headers["Content-Length"], body) == (200, "8", b"")
    assert _ask(server, "/", "POST")[0] == 501
    assert _ask(server, "/", "PUT")[0] == 501


def test_assets_are_kept_by_the_browser_and_pages_are_asked_for_again(server: SiteServer) -> None:
    assert "immutable" in _ask(server, "/assets/page-0a.js")[1]["Cache-Control"]
    assert _ask(server, "/")[1]["Cache-Control"] == "no-cache"


def test_server_listens_on_this_machine_alone_by_default(server: SiteServer) -> None:
    assert server.server_address[0] == "127.0.0.1"
    assert server.is_local and server.url == f"http://127.0.0.1:{server.server_port}/"


def test_port_that_is_taken_is_one_sentence(server: SiteServer, tmp_path: Path) -> None:
    with pytest.raises(ServerNotStarted, match=rf"port {server.server_port} \(.*choose another with --port"):
        SiteServer(tmp_path, port=server.server_port)


def test_a_connection_that_says_nothing_does_not_stop_the_others(server: SiteServer) -> None:
    with socket.create_connection(("127.0.0.1", server.server_port)):
        assert _ask(server, "/")[0] == 200


@pytest.mark.parametrize("host", ["[", "]", "[::1", "127.0.0.1:x:[", "[]", "a@[", "\xff"])
def test_a_host_that_is_no_address_is_refused(server: SiteServer, capfd: pytest.CaptureFixture[str], host: str) -> None:
    assert _ask(server, "/", host=host)[0] == 421
    assert capfd.readouterr().err == ""


def test_a_loop_of_links_is_not_found(server: SiteServer, capfd: pytest.CaptureFixture[str]) -> None:
    (server.folder / "a.html").symlink_to("b.html")
    (server.folder / "b.html").symlink_to("a.html")
    assert _ask(server, "/a.html")[0] == 404
    assert capfd.readouterr().err == ""


def test_a_client_that_leaves_is_no_traceback(server: SiteServer, capfd: pytest.CaptureFixture[str]) -> None:
    (server.folder / "large.html").write_bytes(b"x" * (8 << 20))
    for request in (b"GET /large.html HTTP/1.1\r\nHost: localhost\r\n\r\n", b"GET /large", b""):
        client = socket.create_connection(("127.0.0.1", server.server_port), timeout=10)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # a reset instead of an end
        client.sendall(request)
        if request.endswith(b"\r\n\r\n"):
            client.recv(1)
        client.close()
    assert _ask(server, "/")[0] == 200  # is accepted after the others, whose threads have then started
    for thread in threading.enumerate():
        if "process_request_thread" in thread.name:
            thread.join(timeout=30)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("start", [b"", b"GET / HTTP/1.1\r\nHost: localhost\r\n"])
def test_a_request_that_never_ends_is_ended(
    server: SiteServer, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], start: bytes
) -> None:
    """Although a byte arrives more often than any silence would be noticed."""
    monkeypatch.setattr(serving, "_REQUEST_S", 0.5)
    with socket.create_connection(("127.0.0.1", server.server_port), timeout=0.05) as client:
        client.sendall(start)
        while True:
            try:
                client.sendall(b"x")
                if client.recv(100) == b"":
                    break
            except TimeoutError:
                continue
            except ConnectionError:
                break
    assert capfd.readouterr().err == ""


def test_an_answer_that_nobody_takes_is_ended(
    server: SiteServer, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(serving, "_ANSWER_S", 0.5)
    (server.folder / "large.html").write_bytes(b"x" * (32 << 20))
    with socket.create_connection(("127.0.0.1", server.server_port), timeout=30) as client:
        client.sendall(b"GET /large.html HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert client.recv(1) == b"H"  # by now its thread is there
        (answering,) = (thread for thread in threading.enumerate() if "process_request_thread" in thread.name)
        answering.join(timeout=30)
        assert not answering.is_alive()
    assert capfd.readouterr().err == ""


def test_connections_beyond_the_limit_are_refused_with_503_and_free_places_are_used_again(
    server: SiteServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server._free = threading.BoundedSemaphore(3)
    held = [socket.create_connection(("127.0.0.1", server.server_port), timeout=10) for _ in range(3)]
    with socket.create_connection(("127.0.0.1", server.server_port), timeout=10) as extra:
        assert extra.recv(100).startswith(b"HTTP/1.0 503 ")
    for connection in held:
        connection.close()
    for _ in range(200):
        with socket.create_connection(("127.0.0.1", server.server_port), timeout=10) as again:
            again.sendall(b"GET / HTTP/1.0\r\nHost: localhost\r\n\r\n")
            answer = again.recv(100)
        if b" 200 " in answer:
            break
    assert answer.startswith(b"HTTP/1.1 200 ")


def _unreadable() -> tuple[str, bytes]:
    raise NotNow("the store is locked")


def test_what_is_computed_is_made_anew_for_every_request(tmp_path: Path) -> None:
    numbers = iter(range(10))
    computed = {"/metrics": lambda: ("text/x; version=1", b"%d" % next(numbers)), "/broken": _unreadable}
    with SiteServer(tmp_path, computed=computed) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        answers = [_ask(running, target) for target in ("/metrics", "/metrics?x=1", "/broken", "/metric", "/metrics/")]
        head = _ask(running, "/metrics", "HEAD")
        strange = _ask(running, "/metrics", host="evil.example")
        running.shutdown()
        thread.join()
    assert [(status, body) for status, _, body in answers[:2]] == [(200, b"0"), (200, b"1")]
    assert (answers[0][1]["Content-Type"], answers[0][1]["Content-Length"]) == ("text/x; version=1", "1")
    assert answers[0][1]["Content-Security-Policy"] == serving.POLICY
    assert answers[2][0] == 503 and b"the store is locked" in answers[2][2]
    assert [status for status, _, _ in answers[3:]] == [404, 404]
    assert (head[0], head[2]) == (200, b"")
    assert strange[0] == 421
