"""The cache of a device: what was used longest ago is removed first, and the manifests stay correct."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from devices.deployment.cache import Cached, Places, cached, make_room, mark_used, overflow, remove
from devices.deployment.deploy import MANIFEST, deploy
from devices.errors import DeployError
from devices.transports.local.transport import LocalTransport
from tests.support.devices.made_files import MakeFile

DAY = datetime(2026, 11, 1, tzinfo=UTC)
MB = 10**6


@pytest.fixture
def places(tmp_path: Path) -> Places:
    return Places(str(tmp_path / "device"))


@pytest.fixture
def put(transport: LocalTransport, places: Places, make_file: MakeFile):
    """Deploys a program or runner of `size` bytes, used `days` after the first."""

    def deployed(name: str, size: int, day: int | None = None) -> None:
        file = make_file("program.pte", bytes(size))
        deploy(transport, [file], f"{places.workdir}/{name}")
        if day is not None:
            mark_used(transport, places, [name], DAY + timedelta(days=day))

    return deployed


def names(transport: LocalTransport, places: Places) -> list[str]:
    return [item.name for item in cached(transport, places)]


def test_empty_device_has_an_empty_cache(transport, places):
    assert cached(transport, places) == []


def test_longest_unused_comes_first_and_what_has_no_record_before_all(transport, places, put):
    put("artifacts/a", 100, day=3)
    put("runner/r", 200, day=1)
    put("artifacts/b", 300)
    assert [(item.name, item.size_bytes) for item in cached(transport, places)] == [
        ("artifacts/b", 300),
        ("runner/r", 200),
        ("artifacts/a", 100),
    ]


def test_room_is_made_by_removing_what_was_used_longest_ago(transport, places, put):
    for day, name in enumerate("abc"):
        put(f"artifacts/{name}", 400_000, day)
    gone = make_room(transport, places, 1, "artifacts/new", 300_000, {"artifacts/new"})
    assert [item.name for item in gone] == ["artifacts/a", "artifacts/b"]
    assert names(transport, places) == ["artifacts/c"]


def test_what_the_run_needs_is_never_removed_for_it(transport, places, put):
    for day, name in enumerate("abc"):
        put(f"artifacts/{name}", 300_000, day)
    make_room(transport, places, 1, "artifacts/new", 300_000, {"artifacts/a", "artifacts/new"})
    assert names(transport, places) == ["artifacts/a", "artifacts/c"]


def test_program_that_is_there_needs_no_further_room(transport, places, put):
    put("artifacts/a", 600_000, 1)
    put("artifacts/b", 300_000, 2)
    assert make_room(transport, places, 1, "artifacts/b", 300_000, ()) == []


def test_without_a_limit_nothing_goes(transport, places, put):
    put("artifacts/a", 100)
    assert make_room(transport, places, None, "artifacts/b", 10**12, ()) == []


def test_more_than_the_limit_at_once_is_refused_and_removes_nothing(transport, places, put):
    put("artifacts/a", 700_000, 1)
    put("artifacts/old", 100_000, 0)
    with pytest.raises(DeployError, match=r"2 MB of programs .* `cache_limit_mb` is 1: raise it"):
        make_room(transport, places, 1, "artifacts/b", 900_000, {"artifacts/a"})
    assert names(transport, places) == ["artifacts/old", "artifacts/a"]


def test_removed_program_is_pushed_whole_again(transport, places, put, make_file):
    put("artifacts/a", 1000, 1)
    remove(transport, places, cached(transport, places))
    again = deploy(transport, [make_file("program.pte", bytes(1000))], f"{places.workdir}/artifacts/a")
    assert again.pushed == ("program.pte",)
    manifest = json.loads((Path(places.workdir) / "artifacts/a" / MANIFEST).read_text())
    assert manifest["files"]["program.pte"]["size_bytes"] == 1000


def test_interrupted_removal_leaves_no_manifest(transport, places, put, monkeypatch):
    put("artifacts/a", 1000, 1)
    whole = LocalTransport.remove

    def broken(self, path, *, recursive=False, **how):
        if recursive:
            raise KeyboardInterrupt
        whole(self, path, recursive=recursive, **how)

    monkeypatch.setattr(LocalTransport, "remove", broken)
    with pytest.raises(KeyboardInterrupt):
        remove(transport, places, cached(transport, places))
    assert not (Path(places.workdir) / "artifacts/a" / MANIFEST).exists()
    assert [item.size_bytes for item in cached(transport, places)] == [1000]


def test_uses_of_what_is_gone_are_forgotten(transport, places, put):
    put("artifacts/a", 10, 1)
    remove(transport, places, cached(transport, places))
    put("artifacts/b", 10, 2)
    assert list(json.loads((Path(places.workdir) / "cache.json").read_text())["used"]) == ["artifacts/b"]


@pytest.mark.parametrize(
    "content", ["", "[]", '{"schema": 2, "used": {}}', '{"schema": 1, "used": {"artifacts/a": "2026"}}', "[" * 5000]
)
def test_damaged_record_of_uses_counts_as_none(transport, places, put, content):
    put("artifacts/a", 10, 1)
    (Path(places.workdir) / "cache.json").write_text(content)
    assert [item.used for item in cached(transport, places)] in ([None], [datetime(2026, 1, 1, tzinfo=UTC)])
    mark_used(transport, places, ["artifacts/a"], DAY)
    assert [item.used for item in cached(transport, places)] == [DAY]


def test_folder_with_a_damaged_manifest_has_the_size_of_its_files(transport, places, put):
    put("artifacts/a", 1000, 1)
    (Path(places.workdir) / "artifacts/a" / MANIFEST).write_text("{")
    assert [item.size_bytes for item in cached(transport, places)] == [1001]


def test_a_foreign_folder_is_never_touched(transport, places, put):
    put("artifacts/a", 10, 1)
    strange = Path(places.workdir) / "artifacts" / "two words"
    strange.mkdir()
    remove(transport, places, cached(transport, places))
    assert strange.is_dir()


def test_overflow_takes_no_more_than_needed():
    present = [Cached(name, 10, None) for name in "abc"]
    assert [item.name for item in overflow(present, 30, 0, ())] == []
    assert [item.name for item in overflow(present, 29, 0, ())] == ["a"]
    assert [item.name for item in overflow(present, 0, 0, ())] == ["a", "b", "c"]
