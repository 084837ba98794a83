import errno
import fcntl
import os
import subprocess

import pytest

from foundation.errors import UserError
from suite.home import Home, alone, commit, in_use


def test_suite_home_variable_wins_over_the_inventory(tmp_path):
    home = Home.locate(tmp_path / "inventory.yaml", {"SUITE_HOME": str(tmp_path / "elsewhere")})
    assert home.root == tmp_path / "elsewhere"


def test_home_lies_beside_the_inventory_otherwise(tmp_path):
    assert Home.locate(tmp_path / "inventory.yaml", {}).root == tmp_path / ".suite"
    assert Home.locate(tmp_path / "inventory.yaml", {"SUITE_HOME": " "}).root == tmp_path / ".suite"


def test_folders_are_made_when_they_are_asked_for(tmp_path):
    home = Home(tmp_path / "h")
    assert not home.root.exists()
    assert home.store_path == home.root / "store.sqlite"
    for folder in (home.artifacts, home.runner, home.reports, home.locks, home.run_folder("2026-11-22T14-03-22-ab12")):
        assert folder.is_dir()
    assert not home.store_path.exists()


def test_session_log_lies_in_the_folder_of_its_run(tmp_path):
    log = Home(tmp_path).session_log("run-1", "run-1.local.s0.a0")
    assert log == tmp_path / "runs" / "run-1" / "run-1.local.s0.a0.jsonl"


@pytest.mark.parametrize("name", ["../up", "a/b", "", ".", "..", ".hidden", "x" * 300, "a\nb", "a\x00"])
def test_a_run_id_cannot_leave_its_folder(tmp_path, name):
    with pytest.raises(UserError):
        Home(tmp_path).run_folder(name)


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match=r"cannot be created .*error 20.*set SUITE_HOME"):
        _ = Home(tmp_path / "file").artifacts


@pytest.mark.parametrize("lock", [in_use, alone])
def test_a_home_on_a_file_system_without_locks_is_one_sentence(tmp_path, monkeypatch, lock):
    def refuse(_descriptor, _how):
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(UserError, match=r"lock .* cannot be created .*error 38.*set SUITE_HOME"), lock(Home(tmp_path)):
        pytest.fail("nothing is locked")


def test_the_commit_of_a_checkout_is_marked_where_its_files_differ(tmp_path):
    def git(*words):
        who = ["-c", "user.name=a", "-c", "user.email=a@b.example"]
        return subprocess.run(["git", "-C", tmp_path, *who, *words], check=True, capture_output=True, text=True).stdout

    assert commit(tmp_path) == ""
    git("init", "-q")
    (tmp_path / "file").write_text("1")
    git("add", "file")
    git("commit", "-qm", "first")
    clean = commit(tmp_path)
    assert git("rev-parse", "HEAD").startswith(clean) and len(clean) == 12
    (tmp_path / "file").write_text("2")
    assert commit(tmp_path) == f"{clean}+"
