"""A plan file that multiplies without end is refused before it is expanded."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from devices.inventory.inventory_file import load
from foundation.errors import UserError
from suite.planning import plan_file
from suite.planning.plan_file import load_plan_file


@pytest.mark.parametrize(
    "entry",
    [
        "models: [" + "tiny, " * 1000 + "tiny], shapes: [" + "{}, " * 1000 + "{}]",
        "models: [" + "tiny, " * 400 + "tiny], methods: [" + "prge, " * 400 + "prge]",
    ],
)
def test_models_times_shapes_are_counted_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, entry: str) -> None:
    (tmp_path / "inventory.yaml").write_text("devices: {local: {kind: local}}")
    (tmp_path / "plan.yaml").write_text(f"plans:\n  small: {{models: tiny}}\n  large: {{{entry}}}")
    built: list[object] = []
    monkeypatch.setattr(plan_file, "product", lambda *lists: (built.append(lists), itertools.product(*lists))[1])
    with pytest.raises(
        UserError, match=r"plan.yaml:3: \d+ measurements are planned up to here, but the limit is 50000"
    ):
        load_plan_file(tmp_path / "plan.yaml", load(tmp_path / "inventory.yaml"))
    assert len(built) == 1


def test_only_a_file_is_a_plan(tmp_path: Path) -> None:
    (tmp_path / "inventory.yaml").write_text("devices: {local: {kind: local}}")
    with pytest.raises(UserError, match="is a device, and a plan file must be a file"):
        load_plan_file(Path("/dev/zero"), load(tmp_path / "inventory.yaml"))
