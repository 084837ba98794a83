"""`suite report` and `suite serve` as users type them."""

import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from suite.cli.main import run_command
from suite.exchange.openmetrics import CONTENT_TYPE
from tests.support.reports.synthetic_store import Shape, fill


@pytest.fixture
def nights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("SUITE_HOME", str(home))
    return fill(home / "store.sqlite", Shape(nights=3, devices=1, shapes=1, steps=3))


def test_report_prints_the_overview_or_the_page_of_the_night(
    nights: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(["report", "--out", str(tmp_path / "site")]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "site" / "index.html")
    assert run_command(["report", nights[-1]]) == 0
    assert capsys.readouterr().out.strip().endswith(f"reports/nights/{nights[-1]}/index.html")


def test_single_file_holds_the_page_of_the_run_or_the_one_that_is_named(nights: list[str], tmp_path: Path) -> None:
    target = tmp_path / "sent.html"
    assert run_command(["report", nights[-1], "--single-file", str(target)]) == 0
    text = target.read_text(encoding="utf-8")
    assert "Night of 2026-01-03" in text and "data:text/csv;base64," in text
    assert 'src="' not in text.split("<body>")[0] and '<link rel="stylesheet"' not in text
    assert run_command(["report", "--single-file", str(target), "--page", "devices/board-00/index.html"]) == 0
    assert "Device board-00" in target.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--page", "index.html"], "add --single-file"),
        (["--single-file", "x.html", "--page", "../store.sqlite"], "There is no page '../store.sqlite'"),
        (["no-such-run"], "there is no run or tag 'no-such-run'"),
    ],
)
def test_bad_words_are_one_sentence_and_exit_code_2(
    nights: list[str], capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert run_command(["report", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_nothing_measured_is_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SUITE_HOME", str(tmp_path))
    assert run_command(["serve", "--port", "0"]) == 2
    assert "measure first with `suite run --device local`" in capsys.readouterr().err


def test_serve_builds_prints_its_address_answers_and_ends_with_ctrl_c(nights: list[str]) -> None:
    command = [sys.executable, "-u", "-c", "import suite.cli.main; suite.cli.main.main()", "serve", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            url = process.stdout.readline().strip()
            assert url.startswith("http://127.0.0.1:")
            with urllib.request.urlopen(url, timeout=60) as answer:  # noqa: S310 - the address was just checked
                assert b"Overview" in answer.read()
            with urllib.request.urlopen(f"{url}metrics", timeout=60) as answer:  # noqa: S310 - likewise
                assert answer.headers["Content-Type"] == CONTENT_TYPE
                families = {family.name for family in text_string_to_metric_families(answer.read().decode())}
            assert {"edge_training_latency_seconds", "edge_training_night_verdicts"} <= families
            process.send_signal(signal.SIGINT)
            assert process.wait(timeout=60) == 0
        finally:
            process.kill()
