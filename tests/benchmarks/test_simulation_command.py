import dataclasses
import json

import pytest

from benchmarks.regression import selftest, speed
from benchmarks.regression.__main__ import main
from benchmarks.regression.results import share
from suite.cli.main import run_command
from suite.cli.measure import check as command
from suite.errors import ExitCode

pytestmark = pytest.mark.slow

SMALL = ["--series", "500"]


@pytest.fixture(scope="module")
def small():
    return selftest.run(seed=3, series=500)


def with_rate(found, count, total):
    """The self-test with other false alerts in its first bound."""
    checks = [dataclasses.replace(check, word="kept") for check in found.checks]
    results = dataclasses.replace(found.results[0], false_alerts=share(count, total))
    checks[0] = selftest.check_bound(checks[0].bound, results)
    return dataclasses.replace(found, checks=tuple(checks))


def test_every_part_is_reported_once():
    seen = []
    selftest.run(seed=3, series=500, on_part=seen.append)
    assert len(seen) == selftest.parts()


def test_all_rules_are_compared_on_the_same_scenarios(small):
    assert small.rules[0].rule == "this suite"
    assert len({row.rule for row in small.rules}) == len(small.rules) == 7
    assert len({tuple(row.false_alerts) for row in small.rules}) == 1


def test_few_series_leave_bounds_undecided_and_say_what_to_do(capsys):
    assert main(SMALL) == ExitCode.INCOMPLETE
    printed = capsys.readouterr().out
    assert "undecided" in printed
    assert "--series 2000" in printed
    for name in ("Hunter / otava", "asv", "Perfherder", "PyTorch HUD", "bencher t test", "device drift", "/1000"):
        assert name in printed


def test_the_document_has_everything_the_tables_have(capsys):
    main([*SMALL, "--seed", "3", "--json"])
    document = json.loads(capsys.readouterr().out)
    assert (document["seed"], document["series"], document["passed"]) == (3, 500, False)
    assert {"results", "rules", "checks"} <= set(document)
    assert document["results"][0]["false_alerts"]["total"] > 0


@pytest.mark.parametrize(
    ("count", "total", "code"),
    [(0, 100_000, ExitCode.OK), (0, 1_000, ExitCode.INCOMPLETE), (90, 100_000, ExitCode.ERROR)],
)
def test_the_exit_code_says_whether_the_bounds_are_kept(small, monkeypatch, capsys, count, total, code):
    monkeypatch.setattr(selftest, "run", lambda *_: with_rate(small, count, total))
    assert main([]) == code
    assert "Outcome" in capsys.readouterr().out


def test_the_same_seed_prints_the_same(capsys):
    main([*SMALL, "--seed", "8"])
    first = capsys.readouterr().out
    main([*SMALL, "--seed", "8"])
    assert capsys.readouterr().out == first


def test_too_few_series_are_bad_usage(capsys):
    assert main(["--series", "10"]) == ExitCode.USAGE
    assert "500" in capsys.readouterr().err


def test_speed_judges_every_series_and_finds_the_steps():
    found = speed.measure(seed=1, series=40, nights=100)
    assert (found.series, found.nights) == (40, 100)
    assert 3 <= found.found <= 14  # a fifth of them step
    assert found.total_s == found.screen_s + found.drift_s + found.change_points_s


@pytest.mark.parametrize(("seconds", "code", "word"), [(2.0, ExitCode.OK, "kept"), (9.0, ExitCode.ERROR, "broken")])
def test_speed_says_whether_its_bound_is_kept(monkeypatch, capsys, seconds, code, word):
    monkeypatch.setattr(speed, "measure", lambda *_, **__: speed.Speed(10_000, 365, 1.0, 1.0, seconds, 12.0, 5))
    assert main(["--speed"]) == code
    assert word in capsys.readouterr().out
    main(["--speed", "--json"])
    assert json.loads(capsys.readouterr().out)["total_s"] == seconds + 2


def test_the_command_of_the_suite_is_the_same_simulation(capfd):
    assert run_command(["selftest", "regression", *SMALL, "--json"]) == ExitCode.INCOMPLETE
    assert json.loads(capfd.readouterr().out)["series"] == 500


def test_without_a_checkout_the_command_says_where_the_simulation_is(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(command, "_CHECKOUT", tmp_path)
    assert run_command(["selftest", "regression"]) == ExitCode.USAGE
    assert "python -m benchmarks.regression" in capsys.readouterr().err
