"""A device that is missing, added as the error says, and then listed."""

from __future__ import annotations

import re

from tests.support.end_to_end.suite_runs import RUN, Bench


def test_the_command_in_the_error_for_a_missing_device_adds_it(empty_bench: Bench) -> None:
    refused = empty_bench("run", "--device", "jetson", *RUN[3:])
    assert refused.code == 2
    offered = re.search(r"`suite (devices add [^`]*)`", refused.sentence)
    assert offered is not None
    added = empty_bench(*offered[1].replace("HOST", "10.0.0.7").split())
    assert added.code == 0, added.err
    assert "next: suite devices enroll jetson" in added.out
    assert "jetson" in empty_bench("devices", "list").out
    text = (empty_bench.folder / "inventory.yaml").read_text()
    assert "  jetson:\n    kind: jetson\n    host: 10.0.0.7\n" in text


def test_a_login_is_written_with_the_names_of_its_secrets(empty_bench: Bench) -> None:
    login = ("--user", "me", "--key-file", "~/.ssh/lab", "--password-env", "NANO_PASSWORD")
    assert empty_bench("devices", "add", "nano", "--kind", "jetson", "--host", "10.0.0.7", *login).code == 0
    text = (empty_bench.folder / "inventory.yaml").read_text()
    assert "    key_file: ~/.ssh/lab\n    password_env: NANO_PASSWORD\n" in text


def test_a_password_in_place_of_its_variable_is_refused_and_not_repeated(empty_bench: Bench) -> None:
    before = (empty_bench.folder / "inventory.yaml").read_text()
    given = ("--kind", "jetson", "--host", "10.0.0.7", "--password-env", "correct horse")
    ran = empty_bench("devices", "add", "nano", *given)
    assert (ran.code, "correct horse" in ran.sentence) == (2, False)
    assert "must name an environment variable" in ran.sentence
    assert (empty_bench.folder / "inventory.yaml").read_text() == before


def test_an_invalid_new_entry_is_refused_without_a_line_number(empty_bench: Bench) -> None:
    ran = empty_bench("devices", "add", "box", "--kind", "linux", "--transport", "adb", "--serial", "S")
    assert ran.code == 2
    assert ran.sentence.startswith("suite: inventory.yaml was not changed: device 'box': `workdir` is")
