"""`suite nightly`: its files are there whatever becomes of its output."""

from __future__ import annotations

import errno
import json
from email import message_from_bytes, policy
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics

from suite.cli.main import run_command
from suite.errors import ExitCode
from tests.suite.nightly.test_finding_messages import finding, with_findings
from tests.support.reports.synthetic_store import Shape, fill
from tests.support.suite.nights_made import night, verdict_of

PLAN = """\
defaults: {devices: local, models: tiny}
plans:
  small: {quants: [fp32], shapes: [{q: 1, b: 1, T: 4}]}
"""


@pytest.mark.parametrize(
    ("step", "error", "code"),
    [("post", KeyboardInterrupt(), ExitCode.INTERRUPTED), ("_print", OSError(errno.ENOSPC, "full"), ExitCode.ERROR)],
)
def test_files_are_written_before_anything_waits_for_a_server_or_a_reader(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, error: BaseException, code: ExitCode
) -> None:
    def fail(*_: object) -> None:
        raise error

    found = night(verdict_of("regressed"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SUITE_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("suite.cli.measure.nightly.carry_out", lambda *_: found)
    monkeypatch.setattr(f"suite.cli.measure.nightly.{step}", fail)
    (tmp_path / "inventory.yaml").write_text("devices:\n  local: {kind: local}\n")
    (tmp_path / "nightly.yaml").write_text(PLAN)
    assert run_command(["nightly"]) == code
    folder = tmp_path / "home" / "nights" / found.run_id
    assert json.loads((folder / "night.json").read_text())["exit_code"] == ExitCode.REGRESSION
    assert {path.name for path in folder.iterdir()} == {"junit.xml", "summary.md", "night.json"}


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A night that regressed, and a sendmail that keeps what it gets."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SUITE_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("GITHUB_ACTIONS", raising=False)
    found = with_findings(finding(), words=("regressed",))
    monkeypatch.setattr("suite.cli.measure.nightly.carry_out", lambda *_: found)
    (tmp_path / "inventory.yaml").write_text("devices:\n  local: {kind: local}\n")
    (tmp_path / "nightly.yaml").write_text(PLAN)
    sendmail = tmp_path / "sendmail"
    sendmail.write_text(f'#!/bin/sh\ncat > "{tmp_path}/mail"\n')
    sendmail.chmod(0o755)
    monkeypatch.setenv("SUITE_SENDMAIL", str(sendmail))
    return tmp_path


def test_a_night_is_mailed_to_whom_the_environment_names(
    lab: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SUITE_MAIL_TO", "ada@example.org")
    assert run_command(["nightly"]) == ExitCode.REGRESSION
    mail = message_from_bytes((lab / "mail").read_bytes(), policy=policy.default)
    assert mail["Subject"] == "Night 2026-02-03T02-30-00-abcd: 1 finding, 1 new: 1 regressed; 1 series: 1 regressed"
    assert "mailed" in capsys.readouterr().err


def test_a_step_of_github_actions_prints_annotations(
    lab: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(["nightly"]) == ExitCode.REGRESSION
    assert "::error" not in capsys.readouterr().out
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    assert run_command(["nightly"]) == ExitCode.REGRESSION
    lines = capsys.readouterr().out.splitlines()
    (line,) = (line for line in lines if line.startswith("::"))
    assert line.startswith("::error title=regressed%3A F-000001::int8 on board-1: Latency of a step")
    assert run_command(["nightly", "--json"]) == ExitCode.REGRESSION
    output = capsys.readouterr()
    assert json.loads(output.out)["exit_code"] == ExitCode.REGRESSION
    assert "::error title=" in output.err


def test_metrics_are_written_where_the_environment_says(
    lab: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    home = lab / "home"
    home.mkdir()
    run_ids = fill(home / "store.sqlite", Shape(nights=1, devices=1, shapes=1, steps=1))
    monkeypatch.setenv("SUITE_METRICS_FILE", str(lab / "suite.prom"))
    assert run_command(["nightly"]) == ExitCode.REGRESSION
    assert f"metrics: {lab / 'suite.prom'}" in capsys.readouterr().out
    families = {family.name for family in parse_openmetrics((lab / "suite.prom").read_text())}
    assert {"edge_training_latency_seconds", "edge_training_night_verdicts"} <= families
    assert len(run_ids) == 1
    assert run_command(["nightly", "--metrics", str(lab / "nowhere" / "suite.prom")]) == ExitCode.REGRESSION
    assert "the metrics cannot be written to" in capsys.readouterr().err
    monkeypatch.delenv("SUITE_METRICS_FILE")
    assert run_command(["report", "--as", "openmetrics", "--out", str(lab / "again.prom")]) == ExitCode.OK
    assert (lab / "again.prom").read_bytes() == (lab / "suite.prom").read_bytes()
    assert run_command(["report", "--as", "openmetric"]) == ExitCode.USAGE
    assert "Unknown reporter 'openmetric': did you mean openmetrics?" in capsys.readouterr().err
