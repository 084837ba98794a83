"""What goes from the host: only what nobody needs, and nothing that was measured."""

from __future__ import annotations

import gzip
import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from filelock import FileLock
from sqlalchemy import update

from suite.home import Home, alone, in_use
from suite.results.measurement import Subject, measure
from suite.retention import survey as carrying_out
from suite.retention.survey import Rules, carry_out, compress, spare, survey
from suite.store import schema
from suite.store.store import Store, VerdictRow
from tests.support.suite.stored_run import HARDWARE, WORKLOAD, session

NOW = datetime(2026, 11, 22, tzinfo=UTC)
RULES = Rules(30.0, NOW)


def name(number: int) -> str:
    return f"{number:032x}"


class Lab:
    """A home whose nights are `days` old, each with a program and a runner of its own."""

    def __init__(self, root: Path) -> None:
        self.home = Home(root)
        self.store = Store.open(self.home.store_path)

    def make(self, folder: Path, number: int, days: float = 400, size: int = 1000) -> Path:
        path = folder / name(number)
        path.mkdir()
        (path / "content").write_bytes(bytes(size))
        stamp = (NOW - timedelta(days=days)).timestamp()
        os.utime(path, (stamp, stamp))
        return path

    def night(self, number: int, days: float, *, device: str = "local", os_build: str = "Debian", ms: float = 100.0,
              status: str = "finished") -> tuple[str, int]:  # fmt: skip
        """A night measured with program and runner `number`."""
        at = (NOW - timedelta(days=days)).isoformat(timespec="milliseconds")
        run_id = self.store.begin_run({}, ["suite", "nightly"], {}, purpose="nightly")
        device_id = self.store.record_device(device, "local", False, HARDWARE)
        self.store.record_device_state(run_id, device_id, os_build, {})
        self.store.record_artifact(name(number), WORKLOAD, {})
        key = self.store.begin_measurement(
            run_id, device_id, WORKLOAD, planned_sessions=2, artifact_hash=name(number), runner_hash=name(number)
        )
        with self.store.database.writing() as connection:
            chosen = schema.measurement.c.id == key
            connection.execute(update(schema.measurement).where(chosen).values(started_at=at))
        for ordinal in range(2):
            self.store.add_session(key, session(run_id, ordinal, ms=ms))
        subject = Subject(device, "local", False, WORKLOAD, planned_sessions=2)
        self.store.finish_measurement(key, measure(subject, self.store.sessions_of(key)))
        self.store.finish_run(run_id, status)
        return run_id, key

    def actions(self, *, rules: Rules = RULES) -> dict[str, tuple[str, str]]:
        """Hash as a small number -> action on program and runner."""
        found: dict[str, list[str]] = {}
        for item in survey(self.home, self.store, rules):
            if item.what in ("program", "runner"):
                found.setdefault(item.path.name.lstrip("0"), []).append(item.action)
        return {number: (actions[0], actions[-1]) for number, actions in found.items()}


@pytest.fixture
def lab(tmp_path: Path):
    made = Lab(tmp_path / "home")
    yield made
    made.store.close()


def both(lab: Lab, *numbers: int, days: float = 400) -> None:
    for number in numbers:
        lab.make(lab.home.artifacts, number, days)
        lab.make(lab.home.runner, number, days)


KEPT, GONE = ("keep", "keep"), ("remove", "remove")


def test_what_nobody_used_lately_goes_and_the_rest_stays(lab):
    both(lab, 1, days=31)
    both(lab, 2, days=29)
    both(lab, 3, days=30)
    assert lab.actions() == {"1": GONE, "2": KEPT, "3": KEPT}


def test_use_counts_not_only_the_making(lab):
    both(lab, 1, 2)
    lab.night(2, days=29, device="a")
    lab.night(3, days=1, device="a", os_build="new")  # the series went on without 2
    assert lab.actions() == {"1": GONE, "2": KEPT}


def test_the_last_use_counts_in_whatever_order_uses_were_stored(lab):
    both(lab, 1)
    lab.night(1, days=3, device="a")
    lab.night(1, days=300, device="a", os_build="older")
    lab.night(2, days=1, device="a", os_build="new")
    assert lab.actions() == {"1": KEPT}


def test_what_was_made_again_lately_stays_though_its_last_use_is_old(lab):
    both(lab, 1, days=2)
    lab.night(1, days=300, device="a")
    lab.night(2, days=1, device="a", os_build="new")
    assert lab.actions() == {"1": KEPT}


def test_comparison_window_of_a_series_stays_however_old(lab):
    both(lab, *range(1, 41))
    for number in range(1, 41):
        lab.night(number, days=500 - number)
    taken = lab.actions()
    kept = {number for number, actions in taken.items() if actions == KEPT}
    # 30 compared, the 4 newest besides, and the segment's first one for drift.
    assert kept == {f"{number:x}" for number in [1, *range(7, 41)]}


def test_nights_that_regressed_take_no_place_in_the_comparison_window(lab):
    both(lab, *range(1, 51))
    for number in range(1, 51):
        _, key = lab.night(number, days=500 - number)
        if number > 40:
            judge(lab, key, "regressed")
    kept = {number for number, actions in lab.actions().items() if actions == KEPT}
    assert kept == {f"{number:x}" for number in [1, *range(7, 41)]}


def judge(lab: Lab, key: int, verdict: str) -> None:
    with lab.store.database.reading() as connection:
        ids = connection.execute(schema.point.select().where(schema.point.c.measurement_id == key)).all()
    for row in ids:
        lab.store.add_verdicts([VerdictRow(row.series_id, key, verdict, "nightly 2", {}, {})])


def test_the_last_verdict_on_a_point_decides_whether_it_counts(lab):
    both(lab, *range(1, 37))
    for number in range(1, 37):
        _, key = lab.night(number, days=500 - number)
        if number == 36:
            judge(lab, key, "regressed")
            judge(lab, key, "unchanged")
    assert lab.actions()["2"] == GONE


def test_newest_usable_point_stays_when_the_window_has_lost_its_programs(lab):
    for number in range(1, 41):
        lab.night(number, days=500 - number)
    both(lab, 2, 3, 4)
    assert lab.actions() == {"2": KEPT, "3": GONE, "4": KEPT}


def test_program_whose_runner_is_gone_is_not_the_newest_usable_one(lab):
    for number in range(1, 41):
        lab.night(number, days=500 - number)
    both(lab, 3)
    lab.make(lab.home.artifacts, 4)
    actions = {(item.what, item.path.name.lstrip("0")): item.action for item in survey(lab.home, lab.store, RULES)}
    assert actions == {("program", "3"): "keep", ("runner", "3"): "keep", ("program", "4"): "remove"}


def test_segment_before_a_change_of_the_device_is_no_baseline(lab):
    both(lab, 1, 2)
    lab.night(1, days=90)
    lab.night(2, days=80, os_build="new")
    assert lab.actions() == {"1": GONE, "2": KEPT}


def test_accepted_point_opens_the_segment_whose_baselines_stay(lab):
    both(lab, 1, 2)
    lab.night(1, days=90)
    _, key = lab.night(2, days=80)
    with lab.store.database.reading() as connection:
        ids = connection.execute(schema.point.select().where(schema.point.c.measurement_id == key)).all()
    for row in ids:
        lab.store.accept(row.series_id, key, "me", "new kernel")
    assert lab.actions() == {"1": GONE, "2": KEPT}


def test_imported_series_keep_nothing(lab):
    both(lab, 1)
    lab.night(1, days=90, device="bonn:local")
    assert lab.actions() == {"1": GONE}


@pytest.mark.parametrize("status", ["interrupted", "running"])
def test_programs_of_a_run_that_can_be_resumed_stay(lab, status):
    lab.make(lab.home.artifacts, 1)
    lab.night(1, days=90)
    run_id, _ = lab.night(1, days=89, os_build="other", status=status)
    lab.night(2, days=80, os_build="new")
    assert run_id
    (item,) = [item for item in survey(lab.home, lab.store, RULES) if item.what == "program"]
    assert (item.action, item.why) == ("keep", "a run that can be resumed needs it")


def test_program_that_is_being_exported_stays(lab):
    lab.make(lab.home.artifacts, 1)
    with FileLock(lab.home.artifacts / f".{name(1)}.lock"):
        (item,) = survey(lab.home, lab.store, RULES)
        assert (item.action, item.why) == ("keep", "it is being made")
    assert survey(lab.home, lab.store, RULES)[0].action == "remove"


def test_left_overs_go_but_not_those_under_way(lab):
    stage = lab.home.artifacts / f".exporting-{name(1)}"
    stage.mkdir()
    (lab.home.runner / ".building-x").mkdir()
    with FileLock(lab.home.artifacts / f".{name(1)}.lock"), FileLock(lab.home.runner / f".{name(2)}.lock"):
        assert survey(lab.home, lab.store, RULES) == []
    assert {item.path.name for item in survey(lab.home, lab.store, RULES)} == {stage.name, ".building-x"}


def test_while_a_run_goes_on_programs_and_runners_stay(lab):
    both(lab, 1)
    with in_use(lab.home), alone(lab.home) as free:
        assert not free
    with alone(lab.home) as free:
        assert free
    items = spare(survey(lab.home, lab.store, RULES))
    assert {(item.action, item.why) for item in items} == {("keep", "a run in progress may need it")}


def test_two_runs_share_the_home(lab):
    with in_use(lab.home), in_use(lab.home), alone(lab.home) as free:
        assert not free


def test_what_was_surveyed_is_removed_and_the_rest_is_left(lab):
    both(lab, 1)
    both(lab, 2, days=1)
    done = carry_out(item for item in survey(lab.home, lab.store, RULES) if item.action != "keep")
    assert (done.freed_bytes, done.failures) == (2000, ())
    assert [path.name for path in lab.home.artifacts.iterdir()] == [name(2)]
    assert [path.name for path in lab.home.runner.iterdir()] == [name(2)]


def test_removal_that_was_broken_off_is_finished_the_next_time(lab, monkeypatch):
    both(lab, 1)
    items = [item for item in survey(lab.home, lab.store, RULES) if item.what == "program"]

    def fail(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(carrying_out.shutil, "rmtree", fail)
        with pytest.raises(KeyboardInterrupt):
            carry_out(items)
    assert not items[0].path.exists()
    carry_out(item for item in survey(lab.home, lab.store, RULES) if item.what == "left over")
    assert list(lab.home.artifacts.iterdir()) == []


def raw(lab: Lab, run_id: str, text: bytes = b"line\n" * 1000) -> Path:
    path = lab.home.session_log(run_id, f"{run_id}.s0.a0")
    path.write_bytes(text)
    return path


def test_raw_output_of_ended_runs_is_compressed_and_never_lost(lab):
    ended, _ = lab.night(1, days=1)
    going_on, _ = lab.night(1, days=0, status="running")
    packed, plain = raw(lab, ended), raw(lab, going_on)
    done = carry_out(survey(lab.home, lab.store, RULES))
    target = packed.with_name(packed.name + ".gz")
    assert gzip.decompress(target.read_bytes()) == b"line\n" * 1000
    assert (packed.exists(), plain.exists()) == (False, True)
    assert done.freed_bytes == 5000 - target.stat().st_size


@pytest.mark.parametrize(("status", "action"), [
    ("finished", ["compress"]), ("partial", ["compress"]), ("failed", ["compress"]),
    ("interrupted", []), ("running", []),
])  # fmt: skip
def test_raw_output_stays_as_it_is_while_its_run_can_go_on(lab, status, action):
    raw(lab, lab.night(1, days=200, status=status)[0])
    assert [item.action for item in survey(lab.home, lab.store, RULES) if item.what == "raw output"] == action


def test_raw_output_that_came_back_changed_stays(lab, monkeypatch):
    path = raw(lab, lab.night(1, days=1)[0])
    sums = iter([(1, 2), (1, 3)])
    monkeypatch.setattr(carrying_out, "_checksum", lambda _read: next(sums))
    done = carry_out(survey(lab.home, lab.store, RULES))
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]
    assert "changed when it was compressed" in done.failures[0]


def test_compressed_output_has_the_time_of_the_plain_one(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"x")
    os.utime(path, (1000, 1000))
    compress(path)
    assert (tmp_path / "a.jsonl.gz").stat().st_mtime == 1000


def test_one_item_that_cannot_go_does_not_stop_the_others(lab, monkeypatch):
    both(lab, 1)
    whole = carrying_out._remove

    def refuse(path: Path) -> None:
        if path.parent == lab.home.artifacts:
            raise PermissionError(13, "Permission denied")
        whole(path)

    monkeypatch.setattr(carrying_out, "_remove", refuse)
    done = carry_out(survey(lab.home, lab.store, RULES))
    assert len(done.failures) == 1
    assert "Permission denied, error 13" in done.failures[0]
    assert list(lab.home.runner.iterdir()) == []


def test_without_a_store_only_age_counts(lab):
    both(lab, 1)
    assert {item.action for item in survey(lab.home, None, RULES)} == {"remove"}


def data_file(lab: Lab, number: int, programs: list[Path], days: float = 400) -> Path:
    """A data file that `programs` name."""
    folder = lab.home.artifacts / "weights"
    folder.mkdir(exist_ok=True)
    path = lab.make(folder, number, days)
    entry = {"name": "weights.ptd", "sha256": path.name * 2, "bytes": 1000}
    for program in programs:
        (program / "artifact.json").write_text(json.dumps({"hash": program.name, "data": [entry]}))
        stamp = (NOW - timedelta(days=400)).timestamp()
        os.utime(program, (stamp, stamp))
    return path


def weights_actions(lab: Lab) -> dict[str, tuple[str, str]]:
    found = survey(lab.home, lab.store, RULES)
    return {item.path.name: (item.action, item.why) for item in found if item.what == "weights"}


def test_weights_stay_as_long_as_a_program_that_stays_needs_them(lab: Lab) -> None:
    lab.night(1, 1)  # the newest: a baseline
    kept, going = (lab.make(lab.home.artifacts, number) for number in (1, 2))
    lab.make(lab.home.runner, 1)
    shared = data_file(lab, 10, [kept])
    lonely, orphan, new = data_file(lab, 11, [going]), data_file(lab, 12, []), data_file(lab, 13, [], days=1)
    assert weights_actions(lab) == {
        shared.name: ("keep", "1 program that stays needs it"),
        lonely.name: ("remove", "made 400 days ago, not the baseline of any series"),
        orphan.name: ("remove", "made 400 days ago, not the baseline of any series"),
        new.name: ("keep", "made 1 days ago"),
    }
    carry_out(survey(lab.home, lab.store, RULES))
    assert sorted(path.name for path in (lab.home.artifacts / "weights").iterdir()) == [shared.name, new.name]
    assert kept.is_dir() and not going.exists()


def test_weights_stay_while_a_run_is_going_on(lab: Lab) -> None:
    data_file(lab, 10, [])
    assert [item.action for item in spare(survey(lab.home, lab.store, RULES))] == ["keep"]


def test_half_written_weights_go_unless_they_are_being_written(lab: Lab) -> None:
    folder = lab.home.artifacts / "weights"
    for recipe in ("dead", "alive"):
        (folder / f".exporting-{recipe}").mkdir(parents=True)
    with FileLock(folder / ".alive.lock"):
        found = survey(lab.home, lab.store, RULES)
    assert [item.path.name for item in found if item.action == "remove"] == [".exporting-dead"]
