"""`suite compare`: what workloads share is said once, and what changed is listed."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from suite.cli.main import run_command
from suite.cli.output import shared_parts
from suite.home import Home
from tests.support.suite.stored_run import begin, finish


def test_parts_that_all_workloads_share_are_named_once() -> None:
    shared, own = shared_parts(["tiny/prge/int8/q4", "tiny/prge/nf4/q4", "tiny/prge/int8/q4"])
    assert shared == "tiny/prge/q4"
    assert own == {"tiny/prge/int8/q4": "int8", "tiny/prge/nf4/q4": "nf4"}


def test_a_single_workload_and_those_of_unlike_form_stay_whole() -> None:
    assert shared_parts(["tiny/prge/int8"]) == ("", {"tiny/prge/int8": "tiny/prge/int8"})
    keys = ["tiny/prge/int8", "tiny/prge/int8/rank=2"]
    assert shared_parts(keys) == ("", {key: key for key in keys})


@pytest.fixture
def compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """Prints the comparison of two runs with sessions of these durations."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SUITE_HOME", raising=False)

    def compare(before: Sequence[float], after: Sequence[float], *options: str) -> list[str]:
        ids = []
        for medians in (before, after):
            begun = begin(Home.locate().store_path)
            finish(begun, *medians)
            begun.store.close()
            ids.append(begun.run_id)
        assert run_command(["compare", *ids, *options]) == 0
        return capsys.readouterr().out.splitlines()

    return compare


QUIET = (100.0, 100.5, 101.0, 101.5, 102.0)


def test_only_what_changed_is_listed_and_the_rest_is_counted(compared) -> None:
    slower = [1.2 * ms for ms in QUIET]
    lines = compared(QUIET, slower)
    assert [line.split()[:2] for line in lines if "latency_ms" in line] == [["✗", "worse"]]
    assert not any("peak_memory_kib" in line for line in lines)
    (counts,) = (line for line in lines if line.startswith("1 worse, "))
    assert "same" in counts and counts.endswith("; --all lists the 4 that are neither worse nor better")
    everything = compared(QUIET, slower, "--all")
    assert sum(line.strip().startswith(("✗", "=", "?")) for line in everything) == 5
    assert any("peak_memory_kib" in line for line in everything) and not any("--all" in line for line in everything)


def test_where_nothing_changed_no_table_is_printed(compared) -> None:
    lines = compared(QUIET, QUIET)
    assert not any("latency_ms" in line for line in lines)
    assert any(line.endswith("--all lists the 5 that are neither worse nor better") for line in lines)


def test_of_runs_too_short_for_a_test_everything_is_listed(compared) -> None:
    lines = compared(QUIET[:1], QUIET[1:2])
    assert any("latency_ms" in line and "insufficient" in line for line in lines)
    assert not any("--all" in line for line in lines)
