"""The trained state out of a program and back into one."""

from __future__ import annotations

import json
import os

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from tests.support.runner import runner_programs as programs

STATE = {"state_out": "state.safetensors"}


def test_state_out_holds_every_named_buffer_after_the_last_step(run, job, tmp_path):
    run(job | STATE)
    state = load_file(tmp_path / "state.safetensors")
    # Four times the first batch and three times the second, halved.
    assert torch.equal(state["adapter"], 0.5 * (4 * torch.arange(6.0) + 3 * torch.arange(6.0, 12.0)))
    assert torch.equal(state["pending_key"], torch.tensor([7, 6]))
    assert set(state) == {"adapter", "pending_key"}


def test_state_out_says_where_it_comes_from(run, job, tmp_path):
    run(job | STATE)
    with safe_open(tmp_path / "state.safetensors", "pt") as file:
        assert file.metadata() == {"session": "s-1", "steps": "7"}


def test_state_in_continues_where_state_out_ended(run, job):
    whole = run(job | {"steps": 11}).losses
    first = run(job | STATE | {"steps": 3})  # six steps: the batches begin anew after it
    second = run(job | {"state_in": "state.safetensors", "steps": 5})
    assert [losses[0] for losses in first.losses + second.losses] == [losses[0] for losses in whole]


def test_state_in_may_name_some_buffers_only(run, job, tmp_path):
    save_file({"adapter": torch.full((6,), 100.0)}, tmp_path / "warm.safetensors")
    assert run(job | {"state_in": "warm.safetensors"}).losses[0][0] == 607.5


def test_an_existing_state_is_replaced_as_a_whole(run, job, tmp_path):
    (tmp_path / "state.safetensors").write_bytes(b"x" * 10000)
    run(job | STATE)
    assert load_file(tmp_path / "state.safetensors")["adapter"].numel() == 6
    assert not list(tmp_path.glob("*.tmp"))


@pytest.mark.slow
def test_state_moves_between_programs_with_another_layout_of_buffers(run, job, tmp_path):
    whole, shorter = (
        programs.export(
            programs.Counters(names), (torch.zeros(1, T, dtype=torch.int64), torch.zeros(1, dtype=torch.int64)),
            tmp_path / f"{names}.pte",
        )
        for names, T in (("abcd", 4), ("cadb", 2))
    )  # fmt: skip
    assert sorted(places_of(whole).values()) == sorted(places_of(shorter).values())
    assert all(place != places_of(shorter)[name] for name, place in places_of(whole).items())
    (tmp_path / "rows.bin").write_bytes(torch.tensor([1, 1, 1, 1, 1, 1, 1, 1, 0, 2]).numpy().tobytes())
    rows = {"dtype": "int64", "file": "rows.bin", "batches": 2}
    inputs = [
        {"name": "tokens", "shape": [1, 4], "offset": 0, **rows}, {"name": "first", "shape": [1], "offset": 64, **rows},
    ]  # fmt: skip
    outcome = run(job | {"program": str(whole), "shorter": [str(shorter)], "inputs": inputs})
    assert [step["length"] for step in outcome.of("step")] == [4, 2, 4, 2, 4, 2, 4]
    assert outcome.losses == [[steps, 2 * steps, 3 * steps, 4 * steps] for steps in range(1, 8)]


def places_of(program):
    """Where the mutable buffers of a program lie, by name."""
    from executorch.exir._serialize._program import deserialize_pte_binary
    from executorch.exir.schema import Tensor

    values = [value.val for value in deserialize_pte_binary(program.read_bytes()).program.execution_plan[0].values]
    named = (value for value in values if isinstance(value, Tensor) and value.extra_tensor_info is not None)
    return {one.extra_tensor_info.fully_qualified_name: one.allocation_info.memory_offset_low for one in named}


@pytest.mark.parametrize(("state", "complaint"), [
    ({"adapter": torch.zeros(5)}, "has adapter as F32 [5], but the program as float32 [6]"),
    ({"adapter": torch.zeros(6, dtype=torch.float64)}, "has adapter as F64 [6], but the program as float32 [6]"),
    ({"adaptor": torch.zeros(6)}, "has a tensor adaptor, but the program has no such buffer"),
])  # fmt: skip
def test_a_state_that_does_not_fit_is_refused(run, job, tmp_path, state, complaint):
    save_file(state, tmp_path / "odd.safetensors")
    outcome = run(job | {"state_in": "odd.safetensors"})
    assert (outcome.returncode, outcome.footer["stage"], outcome.of("step")) == (1, "state", [])
    assert complaint in outcome.footer["reason"]


def truncated(path):
    path.write_bytes(path.read_bytes()[:-4])


def not_a_state(path):
    path.write_bytes(b"text that goes on for a while")


@pytest.mark.parametrize("damage", [truncated, not_a_state, os.unlink])
def test_a_damaged_state_is_refused(run, job, tmp_path, damage):
    run(job | STATE)
    damage(tmp_path / "state.safetensors")
    outcome = run(job | {"state_in": "state.safetensors"})
    assert (outcome.returncode, outcome.footer["stage"], outcome.of("step")) == (1, "state", [])


def test_a_state_that_can_not_be_written_fails_the_session_but_not_its_steps(run, job):
    outcome = run(job | {"state_out": "nowhere/state.safetensors"})
    assert (outcome.returncode, outcome.footer["stage"], len(outcome.of("step"))) == (1, "state", 7)
    assert "No such file" in outcome.footer["reason"]


def test_a_full_disk_fails_the_state(run, job, tmp_path):
    (tmp_path / "state.safetensors.tmp").symlink_to("/dev/full")
    outcome = run(job | STATE)
    assert (outcome.returncode, outcome.footer["stage"]) == (1, "state")
    assert "No space left on device" in outcome.footer["reason"]
    assert not (tmp_path / "state.safetensors").exists()


def with_header(path, change):
    """Writes `path` again with another header."""
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.dumps(change(json.loads(data[8 : 8 + length]))).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header + data[8 + length :])


def moved(bytes_):
    def change(header):
        begin, end = header["adapter"]["data_offsets"]
        return header | {"adapter": header["adapter"] | {"data_offsets": [begin + bytes_, end + bytes_]}}

    return change


@pytest.mark.parametrize(("change", "complaint"), [
    (moved(-100), "lies outside of its 40 bytes of values"),
    (moved(24), "lies outside of its 40 bytes of values"),
    (moved(2**62), "lies outside of its 40 bytes of values"),
    (lambda header: [header], "its header is not an object"),
    (lambda header: None, "its header is not an object"),
    (lambda header: {"adapter": 5}, "entry adapter is incomplete"),
])  # fmt: skip
def test_a_state_with_an_odd_header_is_refused(run, job, tmp_path, change, complaint):
    run(job | STATE)
    with_header(tmp_path / "state.safetensors", change)
    outcome = run(job | {"state_in": "state.safetensors"})
    assert (outcome.returncode, outcome.footer["stage"], outcome.of("step")) == (1, "state", [])
    assert complaint in outcome.footer["reason"]


def test_what_is_not_a_file_is_never_replaced_by_a_state(run, job, tmp_path):
    """As root, a device's name would become that of a file."""
    os.mkfifo(tmp_path / "state.safetensors")
    outcome = run(job | STATE)
    assert (outcome.returncode, outcome.footer["stage"], len(outcome.of("step"))) == (1, "state", 7)
    assert "not a regular file" in outcome.footer["reason"]
    assert [(path.name, path.is_fifo()) for path in tmp_path.glob("state*")] == [("state.safetensors", True)]
