"""What a state stands for: the adapter with its pending update, as the program itself would apply it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save

from foundation.errors import UserError
from suite.measuring.job import write_state
from suite.training.checkpoints import Checkpoint, Checkpoints, adapter_of
from workloads.method import METHOD_TABLE
from workloads.methods import operators  # registers them  # noqa: F401

ADAPTER = np.linspace(-1.0, 1.0, 50, dtype=np.float32)
GRADIENTS = np.array([0.5, -2.0, 1.0], np.float32)
KEY = np.array([7, 41], np.int64)


def state(folder: Path, **tensors: np.ndarray) -> Checkpoint:
    path = folder / "state.safetensors"
    path.write_bytes(save({"adapter": ADAPTER} | tensors))
    return Checkpoint(42, path)


@pytest.mark.parametrize(("method", "operator"), [("prge", "update"), ("rademacher", "update_rademacher")])
def test_the_pending_update_is_that_of_the_programs_operator(method: str, operator: str, tmp_path: Path) -> None:
    found = adapter_of(
        state(tmp_path, projected_gradient=GRADIENTS, pending_key=KEY), METHOD_TABLE[method], 0.25, ADAPTER.size, 3
    )
    arrays = (torch.from_numpy(array) for array in (ADAPTER, GRADIENTS, KEY))
    expected = getattr(torch.ops.prge, operator)(*arrays, torch.tensor(0.25)).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-7)
    assert np.abs(found - ADAPTER).max() > 0.1


def test_a_method_without_noise_and_a_start_leave_nothing_pending(tmp_path: Path) -> None:
    assert np.array_equal(adapter_of(state(tmp_path), METHOD_TABLE["fo-lora-fa"], 0.25, ADAPTER.size, 3), ADAPTER)
    write_state(ADAPTER, tmp_path / "start.safetensors")
    start = Checkpoint(0, tmp_path / "start.safetensors")
    assert np.array_equal(adapter_of(start, METHOD_TABLE["prge"], 0.25, ADAPTER.size, 3), ADAPTER)
    assert list(load_file(start.path)) == ["adapter"]


def test_a_state_that_is_damaged_or_gone_is_a_sentence(tmp_path: Path) -> None:
    for content in (b"", b"\xff" * 100, save({"other": ADAPTER})):
        (tmp_path / "broken").write_bytes(content)
        with pytest.raises(UserError, match="can't be read"):
            adapter_of(Checkpoint(1, tmp_path / "broken"), METHOD_TABLE["prge"], 0.25, ADAPTER.size, 3)
    with pytest.raises(UserError, match="can't be read"):
        adapter_of(Checkpoint(1, tmp_path / "absent"), METHOD_TABLE["prge"], 0.25, ADAPTER.size, 3)


def test_the_two_newest_states_stay(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    for step in (100, 20, 1000, 5):
        checkpoints.place(step).touch()
    checkpoints.remove_old()
    assert sorted(tmp_path.iterdir()) == [checkpoints.place(100), checkpoints.place(1000)]


def test_room_is_needed_for_three_states_less_those_that_are_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _folder: SimpleNamespace(free=25))
    checkpoints = Checkpoints(tmp_path)
    with pytest.raises(UserError, match=r"free space there or set SUITE_HOME"):
        checkpoints.require_room(10)
    checkpoints.place(5).write_bytes(bytes(10))
    checkpoints.require_room(10)


@pytest.mark.parametrize(("change", "reason"), [
    ({"adapter": ADAPTER[:-1]}, r"adapter is float32 \[49\] instead of float32 \[50\]"),
    ({"adapter": ADAPTER.astype(np.float64)}, "adapter is float64"),
    ({"adapter": np.full(50, np.nan, np.float32)}, "adapter has values that are not finite"),
    ({"pending_key": np.array([7], np.int64)}, r"pending_key is int64 \[1\]"),
    ({"projected_gradient": np.zeros(4, np.float32)}, r"projected_gradient is float32 \[4\] instead of float32 \[3\]"),
    ({"projected_gradient": np.zeros((2, 2), np.float32)}, "projected_gradient is float32"),
    ({"direction": np.zeros(3, np.float32)}, "direction is float32"),
])  # fmt: skip
def test_a_state_of_another_form_is_refused_before_it_is_used(
    change: dict[str, np.ndarray], reason: str, tmp_path: Path
) -> None:
    tensors: dict[str, Any] = {"projected_gradient": GRADIENTS, "pending_key": KEY} | change
    with pytest.raises(UserError, match=reason):
        adapter_of(state(tmp_path, **tensors), METHOD_TABLE["prge"], 0.25, ADAPTER.size, 3)
