"""A device that is missing, added as the error says, and then listed."""

from __future__ import annotations

import re

from suite_runs import RUN, Bench


def test_the_command_that_a_missing_device_is_answered_with_adds_it(empty_bench: Bench) -> None:
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
